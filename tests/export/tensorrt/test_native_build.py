"""The way of full TensorRT, which builds for the GPU of this machine, walked with TensorRT-RTX in its
clothes.

TensorRT itself needs a GPU. What sets it apart, as our code asks for it: no compute capabilities to choose,
and a timing cache. All else here is real: parser, builder, log, proof, files.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from engine_bundles import engine_files
from saliency_edge.export.tensorrt import build as build_engine
from saliency_edge.export.tensorrt.build import build_engines
from saliency_edge.export.tensorrt.library import TensorRt
from saliency_edge.runtime.backends.tensorrt.receipt import BuildOptions, receipt_path
from saliency_edge.runtime.errors import BuildError, UsageError
from saliency_edge.runtime.machine import Gpu, find_gpu, this_machine

VERSION = "10.3.0"
GPU = Gpu(name="NVIDIA Jetson Orin", compute_capability="8.7", integrated=True, driver="540.4.0, CUDA 12.6")
# TensorRT-RTX says that it times nothing, wherever its timing cache is touched.
pytestmark = pytest.mark.filterwarnings("ignore:Use Deprecated in TensorRT-RTX:DeprecationWarning")


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> TensorRt:
    """TensorRT-RTX without its compute capabilities, on a machine with a GPU."""
    rtx = pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX here: pip install 'saliency-edge[rtx]'")
    module = ModuleType("tensorrt")
    vars(module).update(vars(rtx), __version__=VERSION, IBuilderConfig=object)
    api = TensorRt("tensorrt", module)
    machine = replace(this_machine(), gpu=GPU, power_mode="MAXN")
    monkeypatch.setattr(build_engine, "choose", lambda _flavour: api)
    monkeypatch.setattr(build_engine, "this_machine", lambda: machine)
    return api


def test_the_engine_is_the_gpus_own(bundle: Path) -> None:
    (report,) = build_engines(bundle, "fp16", "tensorrt")
    receipt = json.loads(receipt_path(report.path).read_text(encoding="utf-8"))

    assert report.path.name == "nvidia-jetson-orin-tensorrt10.3.0-fp16.engine"
    found = {
        key: receipt[key] for key in ("flavour", "version", "targets", "gpu", "compute_capability", "driver")
    }
    assert found == {
        "flavour": "tensorrt",
        "version": VERSION,
        "targets": [],
        "gpu": GPU.name,
        "compute_capability": "8.7",
        "driver": GPU.driver,
    }
    assert (receipt["power_mode"], receipt["convolutions"]) == ("MAXN", {"Half": 3})


def test_timings_are_kept_and_used_again(
    bundle: Path, native: TensorRt, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bytes] = []
    use = native.use_timing_cache
    monkeypatch.setattr(
        native, "use_timing_cache", lambda config, known: (given.append(known), use(config, known))
    )
    for precision in ("fp32", "fp16"):
        build_engines(bundle, precision, "tensorrt")  # type: ignore[arg-type]
    kept = (bundle / "engines" / "nvidia-jetson-orin-tensorrt10.3.0.timing").read_bytes()

    assert kept
    assert given == [b"", kept]


def test_a_damaged_timing_cache_is_no_obstacle(bundle: Path) -> None:
    (bundle / "engines").mkdir()
    timings = bundle / "engines" / "nvidia-jetson-orin-tensorrt10.3.0.timing"
    timings.write_bytes(b"not a cache")
    build_engines(bundle, "fp16", "tensorrt")

    assert timings.read_bytes() != b"not a cache"


def test_no_other_gpu_can_be_built_for(bundle: Path) -> None:
    with pytest.raises(
        UsageError, match="TensorRT builds for the GPU of this machine only: leave --target out"
    ):
        build_engines(bundle, "fp16", "tensorrt", ["sm86"])


def test_hardware_compatibility_is_an_option(bundle: Path) -> None:
    (report,) = build_engines(bundle, "fp16", "tensorrt", options=BuildOptions(hardware_compatible=True))

    assert report.receipt.options.hardware_compatible


def test_a_build_that_fails_says_why_and_leaves_no_engine(bundle: Path) -> None:
    """A version-compatible engine carries the lean runtime, which TensorRT-RTX does not bring."""
    with pytest.raises(
        BuildError, match=r"TensorRT 10\.3\.0 builds no engine: .*libnvinfer_lean.*use another"
    ):
        build_engines(bundle, "fp16", "tensorrt", options=BuildOptions(version_compatible=True))

    assert engine_files(bundle) == []


@pytest.mark.skipif(find_gpu() is not None, reason="the engine can be loaded, and describes itself")
def test_without_layers_in_the_log_the_engine_is_asked(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a version would do whose log describes no layers; without a GPU the engine cannot say either."""
    monkeypatch.setattr("saliency_edge.export.tensorrt.library._KEPT_FACTS", ("Memory: ",))
    with pytest.raises(BuildError, match="conv1 asked Half, built unknown"):
        build_engines(bundle, "fp16", "tensorrt")

    assert [name for name in engine_files(bundle) if name.endswith(".engine")] == []
