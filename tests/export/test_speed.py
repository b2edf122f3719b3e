"""Whether int8 pays: measured through the runtime's own engines, in turn, and told from chance."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine_bundles import tiny_bundle
from saliency_edge.export.speed import Speed, measure_speed
from saliency_edge.runtime.bench.statistics import Interval
from saliency_edge.runtime.engines.ort_engine import OrtEngine

SLOWER_S = 0.004


def speed_with_slow(precision: str, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Speed:
    """Measure a bundle one of whose models is held up."""
    infer = OrtEngine.infer

    def held_up(engine: OrtEngine, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        if engine.contract.precision == precision:
            time.sleep(SLOWER_S)
        return infer(engine, frames)

    monkeypatch.setattr(OrtEngine, "infer", held_up)
    return measure_speed(bundle)


def test_slow_int8_does_not_pay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speed = speed_with_slow("int8", tiny_bundle(tmp_path / "toy"), monkeypatch)

    assert not speed.pays
    assert speed.int8_ms > SLOWER_S * 1e3
    assert speed.int8_over_fp16.estimate > 1.5, speed
    assert "no faster, so fp16 stays" in speed.sentence()
    assert "ONNX Runtime" in speed.engine


def test_int8_that_is_faster_pays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speed = speed_with_slow("fp16", tiny_bundle(tmp_path / "toy"), monkeypatch)

    assert speed.pays, speed
    assert speed.fp16_ms > SLOWER_S * 1e3
    assert "no faster" not in speed.sentence()


def test_times_are_said_as_people_write_them() -> None:
    ratio = Interval(estimate=1.6, low=1.5, high=1.7)
    speed = Speed(engine="ONNX Runtime", fp16_ms=0.081234, int8_ms=2243.6, int8_over_fp16=ratio)

    assert "(2240 and 0.0812 ms)" in speed.sentence()
