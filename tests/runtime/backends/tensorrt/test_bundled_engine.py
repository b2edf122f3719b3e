"""Which engine of a bundle runs, what is refused before it is loaded, and what steps into its place."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engine_files import ORIN, save_engine_bundle, save_toy_engine, write_golden
from saliency_edge.runtime.backends import select
from saliency_edge.runtime.backends.backend import LoadOptions, Model
from saliency_edge.runtime.backends.records import RECORDS_NAME
from saliency_edge.runtime.backends.select import load_model
from saliency_edge.runtime.backends.tensorrt import tensorrt_backend
from saliency_edge.runtime.backends.tensorrt.receipt import BuildOptions
from saliency_edge.runtime.errors import (
    BackendError,
    BuildError,
    ContractError,
)
from saliency_edge.runtime.machine import Machine
from tensorrt_double import Install
from toy_models import SIZE_HW, noise, save_toy_bundle, toy_contract, toy_map

assert ORIN.gpu is not None
HERE = {
    "another version": {"version": "10.13.2"},
    "another GPU": {"gpu": "NVIDIA H100", "compute_capability": "9.0"},
    "another GPU of the same capability": {"gpu": "Orin Nano"},
    "another processor": {"architecture": "x86_64"},
    "another system": {"system": "Windows"},
    "another model": {"onnx_sha256": "12ab34cd" * 8},
}


IN_ONNX_RUNTIME = f"ONNX Runtime {onnxruntime.__version__} CPU, fp16"
GPU_UNUSED = (
    f"{IN_ONNX_RUNTIME}: the GPU stays unused. "
    "Install onnxruntime-gpu for the CUDA version here, or see saliency-doctor"
)


@pytest.fixture
def said() -> list[str]:
    """Lines for people."""
    return []


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """The engine of a bundle, built for this Orin."""
    return save_engine_bundle(tmp_path / "toy")


@pytest.fixture(autouse=True)
def orin(monkeypatch: pytest.MonkeyPatch, install: Install) -> None:
    """An Orin with TensorRT 10.3 and without OpenVINO; what builds engines there writes the double's."""
    install()
    monkeypatch.setitem(sys.modules, "openvino", None)
    be_on(monkeypatch, ORIN)
    monkeypatch.setattr(tensorrt_backend, "_BUILDER", "engine_builder_double")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]), prepend=os.pathsep)


def be_on(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    monkeypatch.setattr(tensorrt_backend, "this_machine", lambda: machine)
    monkeypatch.setattr(select, "find_gpu", lambda: machine.gpu)


def load_saying(model: Path, said: list[str], *, rebuild: bool = False, strict: bool = False) -> Model:
    """Load a model; the lines for people land in `said`."""
    return load_model(model, None, LoadOptions(rebuild=rebuild, strict=strict, say=said.append))


def bundle_of(engine: Path) -> Path:
    return engine.parent.parent


def assert_runs(engine: Model, description: str) -> None:
    frame = noise(SIZE_HW, 3)
    with closing(engine):
        assert engine.description == description
        np.testing.assert_allclose(engine.infer(frame[np.newaxis])[0], toy_map(frame), atol=1e-6)


def test_the_engine_that_fits_is_taken(engine: Path, said: list[str]) -> None:
    for name, changed in HERE.items():
        save_toy_engine(engine.with_name(f"{name}-fp16.engine"), **changed)  # type: ignore[arg-type]
    save_toy_engine(engine.with_name("fp32.engine"), toy_contract())
    engine.with_name("no-receipt.engine").write_bytes(b"")

    assert_runs(load_saying(bundle_of(engine), said), "TensorRT 10.3.0, fp16")
    assert said == []


def test_an_engine_runs_by_its_name(engine: Path) -> None:
    assert_runs(load_model(engine), "TensorRT 10.3.0, fp16")


def test_a_zipped_bundles_engine_runs(engine: Path, tmp_path: Path, said: list[str]) -> None:
    archive = shutil.make_archive(str(tmp_path / "zipped"), "zip", bundle_of(engine))

    assert_runs(load_saying(Path(archive), said), "TensorRT 10.3.0, fp16")
    assert said == []


@pytest.mark.parametrize("what", HERE)
def test_an_engine_for_another_place_is_refused(tmp_path: Path, said: list[str], what: str) -> None:
    engine = save_engine_bundle(tmp_path / "toy", **HERE[what])  # type: ignore[arg-type]
    found = next(iter(HERE[what].values()))
    for model, options in ((engine, LoadOptions()), (bundle_of(engine), LoadOptions(strict=True))):
        with pytest.raises(ContractError) as refused:
            load_model(model, None, options)
        message = str(refused.value)
        assert message.startswith(f"{engine} was built")
        assert found[:8] in message
        assert message.endswith(f"Rebuild it: saliency-export {bundle_of(engine)} --fp16")

    assert_runs(load_saying(bundle_of(engine), said), IN_ONNX_RUNTIME)
    assert said[0] == f"{message}. ONNX Runtime runs fp16.onnx in its place"
    assert said[1:] == [GPU_UNUSED]


@pytest.mark.parametrize("what", HERE)
def test_it_is_built_anew_if_asked(tmp_path: Path, said: list[str], what: str) -> None:
    engine = save_engine_bundle(tmp_path / "toy", **HERE[what])  # type: ignore[arg-type]

    for model in (bundle_of(engine), engine):
        assert_runs(load_saying(model, said, rebuild=True), "TensorRT 10.3.0, fp16")
    assert len(said) == 3
    assert said[1:] == [
        f"building the fp16 engine of {bundle_of(engine)} for this machine",
        "toy fp16: 50%",
    ]


def test_what_is_missing_is_built_if_asked(tmp_path: Path, said: list[str]) -> None:
    folder = save_toy_bundle(tmp_path / "toy")
    write_golden(folder, scale=1.0)

    assert_runs(load_saying(folder, said, rebuild=True), "TensorRT 10.3.0, fp16")
    assert said[0] == f"{folder} holds no fp16 engine. Build one here: saliency-export {folder} --fp16"


def test_a_rebuild_that_fails_says_why(engine: Path, said: list[str]) -> None:
    (bundle_of(engine) / "cannot be built").touch()
    engine.unlink()
    with pytest.raises(BuildError, match=r"^the toy network cannot be built\. Try another$"):
        load_saying(bundle_of(engine), said, rebuild=True, strict=True)

    assert_runs(load_saying(bundle_of(engine), said, rebuild=True), IN_ONNX_RUNTIME)


@pytest.mark.parametrize(
    ("version", "compatible", "fits"),
    [
        ("10.3.0", True, True),
        ("10.16.1", True, True),
        ("10.1.0", True, False),
        ("11.4.0", True, False),
        ("10.16.1", False, False),
    ],
)
def test_version_compatible_engines_run_on_later_versions(
    tmp_path: Path, install: Install, version: str, compatible: bool, fits: bool
) -> None:
    options = BuildOptions(version_compatible=compatible)
    engine = save_engine_bundle(tmp_path / "toy", options=options)
    install(version=version)
    if fits:
        assert_runs(load_model(engine), f"TensorRT {version}, fp16")
    else:
        with pytest.raises(ContractError, match=rf"by TensorRT 10\.3\.0; this is {version}"):
            load_model(engine)


@pytest.mark.parametrize("compatible", [True, False])
def test_the_lean_runtime_takes_version_compatible_engines_only(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch, compatible: bool
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    install(name="tensorrt_lean", version="10.3.0")
    engine = save_engine_bundle(tmp_path / "toy", options=BuildOptions(version_compatible=compatible))
    if compatible:
        assert_runs(load_model(engine), "TensorRT lean 10.3.0, fp16")
    else:
        with pytest.raises(ContractError, match="lean, which runs version-compatible engines only"):
            load_model(engine)


@pytest.mark.parametrize(("capability", "fits"), [("8.6", True), ("12.0", True), ("7.5", False)])
def test_hardware_compatible_engines_run_from_ampere_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: str, fits: bool
) -> None:
    assert ORIN.gpu is not None
    engine = save_engine_bundle(tmp_path / "toy", options=BuildOptions(hardware_compatible=True))
    be_on(monkeypatch, replace(ORIN, gpu=replace(ORIN.gpu, name="Other", compute_capability=capability)))
    if fits:
        load_model(engine).close()
    else:
        with pytest.raises(ContractError, match=r"this is Other of 7\.5"):
            load_model(engine)


def test_an_engine_built_ahead_runs_on_every_gpu_of_its_capability(tmp_path: Path, install: Install) -> None:
    """As TensorRT-RTX builds them, on whatever system."""
    install(name="tensorrt_rtx", version="1.7.1.116")
    rtx: dict[str, Any] = {"flavour": "rtx", "version": "1.7.1.116", "gpu": None, "system": "Windows"}
    engine = save_engine_bundle(tmp_path / "toy", targets=("sm87",), **rtx)

    assert_runs(load_model(engine), "TensorRT-RTX 1.7.1.116, fp16")


def test_without_a_gpu_nothing_is_said_about_tensorrt(
    engine: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    be_on(monkeypatch, replace(ORIN, gpu=None))

    assert_runs(load_saying(bundle_of(engine), said, rebuild=True), IN_ONNX_RUNTIME)
    assert said == []
    for model in (bundle_of(engine), bundle_of(engine) / "fp16.onnx"):
        with pytest.raises(BackendError):
            load_model(model, None, LoadOptions(strict=True))


def test_a_bundle_without_engines_is_quiet_where_there_is_no_gpu(
    engine: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    shutil.rmtree(engine.parent)
    be_on(monkeypatch, replace(ORIN, gpu=None))
    load_saying(bundle_of(engine), said).close()
    assert said == []


def test_a_gpu_that_stays_unused_is_said(engine: Path, said: list[str]) -> None:
    shutil.rmtree(engine.parent)
    load_saying(bundle_of(engine), said).close()

    assert said[0].startswith(f"{bundle_of(engine)} holds no fp16 engine. Build one here: saliency-export")
    assert said[1] == GPU_UNUSED
    with pytest.raises(BackendError, match="--strict forbids the CPU"):
        load_model(bundle_of(engine) / "fp16.onnx", None, LoadOptions(strict=True))


def test_the_golden_check_is_made_once_for_each_driver(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ORIN.gpu is not None
    load_model(engine).close()
    proofs = bundle_of(engine) / RECORDS_NAME
    (proof,) = json.loads(proofs.read_text(encoding="utf-8"))["proofs"]
    assert (proof["label"], proof["verdict"], proof["max_abs"], proof["cc"]) == (
        "TensorRT fp16",
        "passed",
        0,
        1,
    )

    def not_again(*_: object, **__: object) -> None:
        raise AssertionError("checked again")

    with monkeypatch.context() as patch:
        patch.setattr(select, "check_golden", not_again)
        load_model(engine).close()
        load_model(bundle_of(engine)).close()
    be_on(monkeypatch, replace(ORIN, gpu=replace(ORIN.gpu, driver="580.1, CUDA 13.0")))
    load_model(engine).close()
    assert len(json.loads(proofs.read_text(encoding="utf-8"))["proofs"]) == 2
