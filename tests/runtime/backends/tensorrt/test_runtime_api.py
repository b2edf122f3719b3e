"""What the runtime calls of TensorRT and of CUDA, held against the real packages; none needs a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from api_use import (
    Members,
    UsedNames,
    documented_arity,
    in_stubs,
    package_folder,
    protocols_in,
    real_members,
    resolves,
    stub_members,
    used_names,
    wrong_calls,
)
from cuda_double import CudaDouble
from saliency_edge.runtime.backends import tensorrt

ENGINES = Path(str(tensorrt.__file__)).parent
# Asked for with hasattr: only TensorRT-RTX has it.
RTX_ONLY = "IExecutionContext.is_stream_capturable"
DESCRIBE = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
asked = json.loads(sys.argv[2])
found = {}
for name in asked:
    value = module
    for part in name.split("."):
        value = getattr(value, part, None)
    found[name] = None if value is None else value.__doc__ or ""
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def called() -> Members:
    """What our protocols, and so our calls, expect of TensorRT's classes."""
    members = protocols_in((ENGINES / "libraries.py").read_text(encoding="utf-8"))
    del members["DataType"]["name"]  # every enumeration's
    return members


@pytest.fixture(scope="module")
def of_tensorrt() -> UsedNames:
    """What our sources use on TensorRT's module."""
    return used_names(ENGINES.glob("*.py"))


@pytest.fixture(scope="module")
def of_cuda() -> UsedNames:
    """What our sources use on `cuda.bindings.driver`."""
    return used_names(ENGINES.glob("*.py"), root="cuda")


def described(folder: Path | None, module: str, names: list[str]) -> dict[str, str | None]:
    """Give the documentation of what a package has by some names, None where it lacks one."""
    done = subprocess.run(
        [sys.executable, "-c", DESCRIBE, module, json.dumps(names)],
        env={"PYTHONPATH": str(folder)} if folder else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if "requires" in done.stderr and "GLIBC" in done.stderr:
        pytest.skip(f"{module} is for a later glibc")
    assert done.returncode == 0, done.stderr
    found: dict[str, str | None] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("version", ["10.16", "11.4"])
def test_the_lean_runtime_has_all_that_is_used(version: str, called: Members, of_tensorrt: UsedNames) -> None:
    folder = package_folder(f"tensorrt-lean-{version}")
    members = [f"{kind}.{name}" for kind, names in called.items() for name in names]
    documents = described(folder, "tensorrt_lean_bindings", [*members, *of_tensorrt.names])
    real: Members = {}
    for kind, names in called.items():
        there = {name: documents[f"{kind}.{name}"] for name in names}
        real[kind] = {
            name: None if names[name] is None else documented_arity(document, name)
            for name, document in there.items()
            if document is not None
        }

    assert [name for name in of_tensorrt.names - of_tensorrt.asked_for if documents[name] is None] == []
    assert wrong_calls(called, real) == [f"{RTX_ONLY} is missing"]


def test_tensorrt_rtx_has_all_that_is_used(called: Members, of_tensorrt: UsedNames) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX here: pip install 'saliency-edge[rtx]'")

    assert [name for name in of_tensorrt.names if not resolves(trt, name)] == []
    assert wrong_calls(called, real_members(trt, called)) == []


def test_the_stubs_of_tensorrt_have_all_that_is_used(called: Members, of_tensorrt: UsedNames) -> None:
    real = stub_members()

    assert [name for name in of_tensorrt.names - {"__version__"} if not in_stubs(name, real)] == []
    assert wrong_calls(called, real) == [f"{RTX_ONLY} is missing"]


@pytest.mark.parametrize("package", ["cuda-python-12.6", "installed"])
def test_cuda_python_has_all_that_is_used(package: str, of_cuda: UsedNames) -> None:
    if package == "installed":
        pytest.importorskip("cuda.bindings", reason="no cuda-python here")
    elif sys.version_info >= (3, 13):
        pytest.skip("cuda-python 12.6 is not made for this Python")
    folder = None if package == "installed" else package_folder(package)
    documents = described(folder, "cuda.bindings.driver", sorted(of_cuda.names))
    arguments = {
        name: len(list(filter(None, str(documents[name]).split("\n")[0].partition("(")[2][:-1].split(","))))
        for name in of_cuda.calls
    }

    assert [name for name, document in documents.items() if document is None] == []
    assert {name: {count} for name, count in arguments.items()} == of_cuda.calls


def test_the_double_of_cuda_has_what_is_used_and_nothing_else(of_cuda: UsedNames) -> None:
    double = CudaDouble().module()
    own = {name for name in vars(double) if name.startswith("cu")}

    assert [name for name in of_cuda.names if not resolves(double, name)] == []
    assert own == {name for name in of_cuda.names if name.startswith("cu")}


def test_the_check_itself_finds_names(of_cuda: UsedNames, of_tensorrt: UsedNames) -> None:
    assert {"Runtime", "ILogger", "__version__"} <= of_tensorrt.names
    assert {
        "cuGraphLaunch",
        "CUstream_flags.CU_STREAM_NON_BLOCKING",
        "CUresult.CUDA_SUCCESS",
    } <= of_cuda.names
    assert of_cuda.calls["cuMemcpyHtoDAsync"] == {4}
