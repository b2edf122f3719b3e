"""Whether int8 pays: measured through the runtime's own engines, in turn, and told from chance."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from engine_bundles import TINY, engine_files, tiny_bundle, tiny_model
from saliency_edge.export.speed import Speed, measure_speed, rival_bundles
from saliency_edge.export.tensorrt.build import EnginePlan
from saliency_edge.runtime.backends.onnxruntime_backend import OnnxRuntimeModel
from saliency_edge.runtime.bench.statistics import Interval
from saliency_edge.runtime.contract import Contract
from saliency_edge.runtime.machine import Gpu

SLOWER_S = 0.004
SLOW_SHA256 = "ef" * 32
ORIN = Gpu(name="Orin", compute_capability="8.7", integrated=True, driver="540.4.0, CUDA 12.6")
NO_ENGINES = EnginePlan(flavour="none", targets=())


def hold_up(monkeypatch: pytest.MonkeyPatch, is_slow: Callable[[Contract], bool]) -> None:
    """Let some models take longer than they do."""
    infer = OnnxRuntimeModel.infer

    def held_up(engine: OnnxRuntimeModel, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        if is_slow(engine.contract):
            time.sleep(SLOWER_S)
        return infer(engine, frames)

    monkeypatch.setattr(OnnxRuntimeModel, "infer", held_up)
    monkeypatch.setitem(sys.modules, "openvino", None)


def test_slow_int8_does_not_pay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_up(monkeypatch, lambda contract: contract.precision == "int8")

    speed = measure_speed(tiny_bundle(tmp_path / "toy"), {})

    assert not speed.pays
    assert speed.int8_ms > SLOWER_S * 1e3
    assert speed.int8_over_fp16.estimate > 1.5, speed
    assert "no faster, so fp16 stays" in speed.sentence()
    assert "ONNX Runtime" in speed.engine


def test_int8_that_is_faster_pays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_up(monkeypatch, lambda contract: contract.precision == "fp16")

    speed = measure_speed(tiny_bundle(tmp_path / "toy"), {})

    assert speed.pays, speed
    assert speed.fp16_ms > SLOWER_S * 1e3
    assert "no faster" not in speed.sentence()


def test_times_are_said_as_people_write_them() -> None:
    ratio = Interval(estimate=1.6, low=1.5, high=1.7)
    speed = Speed(engine="ONNX Runtime", fp16_ms=0.081234, int8_ms=2243.6, int8_over_fp16=ratio)

    assert "(2240 and 0.0812 ms)" in speed.sentence()


def test_other_sets_of_the_front_are_timed_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle(tmp_path / "toy")
    quick = onnx.load(bundle / "int8.onnx")
    slow = tiny_model(replace(TINY, precision="int8", weights_sha256=SLOW_SHA256))
    hold_up(monkeypatch, lambda contract: contract.weights_sha256 == SLOW_SHA256)

    with rival_bundles(bundle, {0: slow, 3: quick}, NO_ENGINES, pytest.fail) as rivals:
        folders = list(rivals.values())
        speed = measure_speed(bundle, rivals)

    times_ms = speed.sets_ms(taken=1)
    assert set(times_ms) == {0, 1, 3}
    assert times_ms[0] > SLOWER_S * 1e3 > max(times_ms[1], times_ms[3]), times_ms
    assert times_ms[1] == pytest.approx(speed.int8_ms, rel=1e-3)
    assert [folder for folder in folders if folder.exists()] == []


def test_a_set_that_something_else_runs_has_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle(tmp_path / "toy")
    other = tiny_model(replace(TINY, precision="int8", weights_sha256=SLOW_SHA256))
    load = OnnxRuntimeModel.load

    def elsewhere(path: Path, **options: int | None) -> OnnxRuntimeModel:
        engine = load(path, **options)
        if engine.contract.weights_sha256 == SLOW_SHA256:
            engine.description = "another backend, int8"
        return engine

    monkeypatch.setattr(OnnxRuntimeModel, "load", elsewhere)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with rival_bundles(
        bundle, {0: other, 1: onnx.load(bundle / "int8.onnx")}, NO_ENGINES, pytest.fail
    ) as rivals:
        speed = measure_speed(bundle, rivals)

    assert set(speed.rivals_ms) == {1}


@pytest.mark.parametrize(("target", "timed"), [("sm86", True), ("sm75", False)])
def test_a_rival_gets_an_engine_where_a_gpu_is_or_is_left_out(
    target: str, timed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX here: pip install 'saliency-edge[rtx]'")
    monkeypatch.setattr("saliency_edge.export.speed.find_gpu", lambda: ORIN)
    bundle = tiny_bundle(tmp_path / "toy")
    plan = EnginePlan(flavour="rtx", targets=(target,))
    lines: list[str] = []

    with rival_bundles(bundle, {1: onnx.load(bundle / "int8.onnx")}, plan, lines.append) as rivals:
        engines = [name for folder in rivals.values() for name in engine_files(folder)]

    assert list(rivals) == ([1] if timed else [])
    assert any(name.startswith("sm86") and name.endswith(".engine") for name in engines) == timed, engines
    assert [line.partition(": ")[0] for line in lines] == ([] if timed else ["set 2 is not timed"])
