"""Our calls through cuda-python's real bindings, to a driver of our own where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from api_use import package_folder

USE = """
import ctypes
import numpy as np
from saliency_edge.runtime.backends.tensorrt.cuda import CudaStream, SharedBuffer, open_device

device = open_device()
stream = CudaStream(device)
buffer = SharedBuffer(device, (3, 4), np.float32)
buffer.array[:] = np.arange(12, dtype=np.float32).reshape(3, 4)
buffer.copy_in(stream, 2)
on_device = (ctypes.c_float * 12).from_address(buffer.address)
print(device.integrated, list(on_device))
on_device[0] = 100
buffer.copy_out(stream, 1)
stream.synchronize()
print(buffer.array[0].tolist())
graph = stream.record(lambda: buffer.copy_in(stream, 3))
graph.launch()
graph.close()
buffer.close()
stream.close()
device.close()
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a `libcuda.so.1`."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.mktemp("driver")
    source = Path(__file__).with_name("libcuda.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libcuda.so.1", source, "-ldl"], check=True)
    return folder


@pytest.fixture(scope="module", params=["cuda-python-12.6", "installed"])
def bindings(request: pytest.FixtureRequest) -> str:
    """Where cuda-python lies; nothing for the one that is installed."""
    if request.param == "installed":
        pytest.importorskip("cuda.bindings", reason="no cuda-python here")
        return ""
    if sys.version_info >= (3, 13):
        pytest.skip("cuda-python 12.6 is not made for this Python")
    return str(package_folder(request.param))


def used(driver: Path, bindings: str, **environment: str) -> tuple[str, str]:
    """Give what `USE` prints."""
    paths = {
        "LD_LIBRARY_PATH": str(driver),
        "PYTHONPATH": os.pathsep.join(filter(None, [bindings, os.environ.get("PYTHONPATH")])),
    }
    done = subprocess.run(
        [sys.executable, "-c", USE],
        env={**os.environ, **paths, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout, done.stderr


def test_a_discrete_gpu_gets_copies(driver: Path, bindings: str) -> None:
    out, err = used(driver, bindings)

    assert err == ""
    assert out.splitlines() == [
        "False [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 0.0, 0.0, 0.0, 0.0]",
        "[100.0, 1.0, 2.0, 3.0]",
    ]


def test_an_integrated_gpu_shares_memory(driver: Path, bindings: str) -> None:
    out, err = used(driver, bindings, CUDA_INTEGRATED="1")

    assert err == ""
    assert out.splitlines() == [f"True {[float(i) for i in range(12)]}", "[100.0, 1.0, 2.0, 3.0]"]


def test_errors_have_names(driver: Path, bindings: str) -> None:
    out, err = used(driver, bindings, CUDA_FAILS="1")
    assert "BackendError: the GPU is out of memory (5 of 9 MiB are free). Close other programs" in err

    out, err = used(driver, bindings, CUDA_FAILS="1", CUDA_INTEGRATED="1")
    assert out.startswith("True")
    assert "BackendError: CUDA refuses: ERROR_ONE, error one. " in err
