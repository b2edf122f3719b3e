"""Faults at the device: `saliency-run` says each in one line, leaves nothing, and the bundle still works."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuda_double import MIB, CudaDouble
from cuda_parts import CUresult
from engine_files import ORIN, save_engine_bundle, write_golden
from saliency_edge.runtime import cli
from saliency_edge.runtime.backends import select
from saliency_edge.runtime.backends.backend import LoadOptions
from saliency_edge.runtime.backends.records import RECORDS_NAME
from saliency_edge.runtime.backends.select import load_model
from saliency_edge.runtime.backends.tensorrt import libraries, tensorrt_backend
from saliency_edge.runtime.backends.tensorrt.receipt import read_receipt, receipt_path, write_receipt
from saliency_edge.runtime.errors import BackendError
from saliency_edge.runtime.machine import Machine
from tensorrt_double import Context, Engine, Install
from toy_models import SIZE_HW, noise, toy_contract, toy_map


@dataclass
class Device:
    """What a fault may spoil: the engine's file and receipt, the machine, and the packages on it."""

    engine: Path
    install: Install
    monkeypatch: pytest.MonkeyPatch

    @property
    def bundle(self) -> Path:
        return self.engine.parent.parent

    def becomes(self, machine: Machine) -> None:
        self.monkeypatch.setattr(tensorrt_backend, "this_machine", lambda: machine)
        self.monkeypatch.setattr(select, "find_gpu", lambda: machine.gpu)

    def lacks(self, *packages: str) -> None:
        for package in packages:
            self.monkeypatch.setitem(sys.modules, package, None)

    def receipt_says(self, **changed: Any) -> None:
        write_receipt(self.engine, replace(read_receipt(self.engine), **changed))

    def engine_is(self, content: bytes) -> None:
        """Put other bytes in the engine's place; its receipt still speaks of the old ones."""
        self.engine.write_bytes(content)

    def engine_and_receipt_are(self, content: bytes) -> None:
        self.engine_is(content)
        self.receipt_says(bytes=len(content), sha256=sha256(content).hexdigest())

    def receipt_is(self, text: str) -> None:
        receipt_path(self.engine).write_text(text, encoding="utf-8")

    def driver_answers(self, answer: Callable[[int], tuple[object, ...]]) -> None:
        self.monkeypatch.setattr(sys.modules["cuda.bindings.driver"], "cuInit", answer)

    def has_memory(self, size_bytes: int) -> None:
        self.install(CudaDouble(memory_bytes=size_bytes), context_bytes=MIB)

    def gives(self, factor: float) -> None:
        run = Engine.run
        self.monkeypatch.setattr(Engine, "run", lambda self, frames: run(self, frames) * np.float32(factor))

    def refuses_to_run(self) -> None:
        self.monkeypatch.setattr(
            Context, "execute_async_v3", lambda self, _stream: self.refuse("it does not want to")
        )


def no_library(_flags: int) -> tuple[object, ...]:
    raise RuntimeError("Failed to dlopen libcuda.so.1")


@pytest.fixture
def device(tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """An Orin with TensorRT 10.3 and a bundle whose engine fits."""
    install()
    for package in ("openvino", "torch"):  # torch would take the double of CUDA for the real one
        monkeypatch.setitem(sys.modules, package, None)
    device = Device(save_engine_bundle(tmp_path / "toy"), install, monkeypatch)
    device.becomes(ORIN)
    handler = signal.getsignal(signal.SIGTERM)
    yield device
    signal.signal(signal.SIGTERM, handler)


FAULTS: dict[str, tuple[Callable[[Device], object], str]] = {
    "engine truncated": (
        lambda device: device.engine_is(device.engine.read_bytes()[:100]),
        "fp16.engine is damaged: 100 bytes, its receipt says",
    ),
    "one byte flipped": (
        lambda device: device.engine_is(device.engine.read_bytes()[:-1] + b"\0"),
        "fp16.engine is damaged: sha256",
    ),
    "receipt of another engine": (
        lambda device: device.receipt_says(sha256="12ab34cd" * 8),
        "is not the receipt's 12ab34cd…. Rebuild it: saliency-export",
    ),
    "no receipt": (
        lambda device: receipt_path(device.engine).unlink(),
        "has no orin-tensorrt10.3.0-fp16.receipt.json beside it. Rebuild it",
    ),
    "receipt cut off": (lambda device: device.receipt_is('{"sha256":'), "receipt.json is not JSON"),
    "receipt of another schema": (
        lambda device: device.receipt_says(schema=1),
        "of this version: schema is 1, expected 2. Rebuild it",
    ),
    "another version": (
        lambda device: device.receipt_says(version="10.13.2"),
        "was built by TensorRT 10.13.2; this is 10.3.0. Rebuild it: saliency-export",
    ),
    "another compute capability": (
        lambda device: device.receipt_says(gpu="NVIDIA H100", compute_capability="9.0"),
        "was built for NVIDIA H100 of compute capability 9.0; this is Orin of 8.7. Rebuild it",
    ),
    "another processor": (
        lambda device: device.receipt_says(architecture="x86_64"),
        "was built on x86_64; this is aarch64. Rebuild it",
    ),
    "another system": (
        lambda device: device.receipt_says(system="Windows"),
        "was built on Windows; this is Linux. Rebuild it",
    ),
    "ONNX swapped": (
        lambda device: device.receipt_says(onnx_sha256="12ab34cd" * 8),
        "was built from another fp16.onnx (sha256 12ab34cd…; this one is",
    ),
    "no GPU": (lambda device: device.becomes(replace(ORIN, gpu=None)), "need an NVIDIA GPU and its driver"),
    "no CUDA driver": (
        lambda device: device.driver_answers(no_library),
        "no CUDA driver here (Failed to dlopen libcuda.so.1). Install NVIDIA's driver",
    ),
    "CUDA finds no device": (
        lambda device: device.driver_answers(lambda _flags: (CUresult.CUDA_ERROR_NO_DEVICE,)),
        "CUDA refuses: CUDA_ERROR_NO_DEVICE",
    ),
    "no cuda-python": (
        lambda device: device.lacks("cuda.bindings.driver"),
        "cuda-python, which is not installed",
    ),
    "no TensorRT": (
        lambda device: device.lacks("tensorrt", "tensorrt_lean", "tensorrt_lean_bindings"),
        "Install it: pip install 'saliency-edge[tensorrt]'",
    ),
    "no memory for the context": (
        lambda device: device.has_memory(MIB - 1),
        "makes no execution context: Requested amount of GPU memory could not be allocated. Close other",
    ),
    "no memory for the buffers": (
        lambda device: device.has_memory(MIB + 100),
        "the GPU is out of memory (0 of 1 MiB are free). Close other programs",
    ),
    "engine of another format": (
        lambda device: device.engine_and_receipt_are(b"what another TensorRT calls an engine"),
        "TensorRT 10.3.0 does not load orin-tensorrt10.3.0-fp16.engine: Serialization assertion failed",
    ),
    "engine of another network": (
        lambda device: device.receipt_says(contract=toy_contract((48, 64), precision="fp16")),
        "its receipt says {'frame': ('UINT8', (1, 48, 64, 3))",
    ),
    "engine that does not run": (
        Device.refuses_to_run,
        "refuses the inference: IExecutionContext: it does not want to. Build the engine again",
    ),
    "NaN": (
        lambda device: device.gives(float("nan")),
        "differs from PyTorch on 3 of 3 golden frames, most on a: max abs inf",
    ),
    "maps of another engine": (
        lambda device: device.gives(0.5),
        "differs from PyTorch on 3 of 3 golden frames, most on",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_the_bundle_still_works(
    device: Device, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, expected = FAULTS[fault]
    spoil(device)
    before = sorted(device.bundle.rglob("*"))
    for model in (device.engine, device.bundle):
        device.monkeypatch.setattr(sys, "argv", ["saliency-run", str(model), "--check", "--strict"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert ended.value.code == 1
        assert "taken" not in out
        assert err.count("\n") == 1
        assert err.startswith("error: ")
        assert expected in err, err
    assert [path for path in sorted(device.bundle.rglob("*")) if path.name != RECORDS_NAME] == before
    said = assert_works(device)
    if fault == "no GPU":
        assert said == []  # nobody expects TensorRT there
    else:
        assert said[0].endswith("ONNX Runtime runs fp16.onnx in its place")


def assert_works(device: Device) -> list[str]:
    """ONNX Runtime runs the bundle; return what it says."""
    frame, said = noise(SIZE_HW, 5), list[str]()
    with closing(load_model(device.bundle, None, LoadOptions(say=said.append))) as engine:
        assert engine.description.startswith("ONNX Runtime")
        np.testing.assert_allclose(engine.infer(frame[np.newaxis])[0], toy_map(frame), atol=1e-6)
    return said


def test_golden_maps_of_another_network_are_said(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    """Then the bundle itself is wrong, and no backend can keep it."""
    write_golden(device.bundle, scale=0.5)
    device.monkeypatch.setattr(sys, "argv", ["saliency-run", str(device.bundle), "--check"])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    out, err = capsys.readouterr()

    assert out.count("refused") == 3  # TensorRT fp16, ONNX Runtime fp16 and fp32
    assert err.count("\n") == 1
    assert err.startswith("error: TensorRT 10.3.0, fp16 differs from PyTorch on 3 of 3 golden frames")


def test_without_a_fault_the_check_passes(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    device.monkeypatch.setattr(sys, "argv", ["saliency-run", str(device.bundle), "--check", "--strict"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()

    assert (ended.value.code, err) == (0, "")
    assert "passes, taken" in out


def test_on_arm_a_missing_tensorrt_is_jetpacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    for name in ("tensorrt", "tensorrt_lean", "tensorrt_lean_bindings"):
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(BackendError, match="/usr/bin/python3 -m venv --system-site-packages") as caught:
        libraries.find_runtime.__wrapped__("tensorrt")  # past the cache
    assert "pip" not in str(caught.value)
