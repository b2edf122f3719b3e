"""The parts of a measurement: a graph's cost, what stages allocate, what an install weighs, cold starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine_bundles import tiny_bundle
from saliency_edge.runtime.backends.select import load_model
from saliency_edge.runtime.bench.accuracy import odd_sized_frames
from saliency_edge.runtime.bench.footprint import ModelSpec, base_install_mb, start_cold
from saliency_edge.runtime.bench.measure import model_name
from saliency_edge.runtime.bench.roofline import GraphCost, Roofline, graph_cost, measure_roofline
from saliency_edge.runtime.bench.timing import (
    CPU,
    FRAME,
    ModelWorkload,
    peak_allocations,
    synthetic_frame,
    time_stages,
)
from saliency_edge.runtime.errors import BackendError
from toy_models import save_toy, toy_contract

# Three 3x3 convolutions, 3 -> 32 -> 32 -> 1 channels, on 32 x 48 cells.
TINY_MACS = 9 * 32 * 48 * (3 * 32 + 32 * 32 + 32 * 1)
TINY_ELEMENTS = 32 * 48 * (3 + 32 + 32 + 32 + 32 + 1) + 9 * (3 * 32 + 32 * 32 + 32 * 1)


@pytest.mark.parametrize(("precision", "size"), [("fp32", 4), ("fp16", 2), ("int8", 1)])
def test_cost_of_a_graph_is_the_hand_computed_one(precision: str, size: int, tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "tiny") / f"{precision}.onnx"
    engine = load_model(path)
    cost = graph_cost(path, engine.contract)

    assert cost.macs == TINY_MACS
    assert cost.bytes == TINY_ELEMENTS * size
    assert cost.operators["Conv"] == 3
    assert cost.operators.get("QuantizeLinear", 0) == (3 if precision == "int8" else 0)


def test_least_time_is_the_slower_of_arithmetic_and_memory() -> None:
    roofline = Roofline(tera_ops=1.0, gigabytes_s=10.0, origin="given")

    assert roofline.least_s(GraphCost(macs=10**9, bytes=10**6, operators={})) == pytest.approx(2e-3)
    assert roofline.least_s(GraphCost(macs=10**6, bytes=10**9, operators={})) == pytest.approx(0.1)


def test_limits_of_this_device_are_between_those_of_a_toaster_and_a_data_centre() -> None:
    roofline = measure_roofline(1)

    assert 1e-3 < roofline.tera_ops < 1e3, roofline
    assert 0.1 < roofline.gigabytes_s < 1e4, roofline


def test_given_limits_are_taken() -> None:
    roofline = measure_roofline(None, peak_tops=16.7, bandwidth_gb_s=102.0)

    assert (roofline.tera_ops, roofline.gigabytes_s) == (16.7, 102.0)


def test_a_copy_shows_to_the_byte() -> None:
    frame = synthetic_frame((100, 200))
    once = peak_allocations({"work": lambda: frame.copy()})["work"]
    twice = peak_allocations({"work": lambda: frame.copy().copy()})["work"]

    assert once == pytest.approx(frame.nbytes, abs=2048)
    assert twice == pytest.approx(2 * frame.nbytes, abs=2048)


def test_stages_add_up_to_the_frame(tmp_path: Path) -> None:
    engine = load_model(save_toy(tmp_path / "toy.onnx"))
    durations_s = time_stages(ModelWorkload(engine, synthetic_frame((99, 131)), render=True).stages)
    stages = {name: value for name, value in durations_s.items() if name not in (FRAME, CPU)}

    assert list(stages) == ["fit", "infer", "crop", "render"]
    assert sum(stages.values()) == pytest.approx(durations_s[FRAME], rel=1e-6)


def test_check_pictures_show_any_way_to_shrink_but_the_mean() -> None:
    frame = np.full((24, 32, 3), 128, np.uint8)
    pictures = odd_sized_frames(frame)

    assert {name: picture.shape[:2] for name, picture in pictures.items()} == {
        "wide": (43, 96),
        "tall": (72, 45),
    }
    for picture in pictures.values():
        assert abs(float(picture.mean()) - 128) < 1
        assert picture.std() > 20


def test_base_install_is_what_is_required_and_no_extra() -> None:
    weights_mb = base_install_mb()

    assert {"saliency-edge", "numpy", "opencv-python", "rich", "typer"} <= set(weights_mb)
    assert {"torch", "onnx", "onnxruntime-gpu"} & set(weights_mb) == set()
    assert list(weights_mb.values()) == sorted(weights_mb.values(), reverse=True)


def test_cold_start_takes_a_process(tmp_path: Path) -> None:
    start = start_cold(ModelSpec(path=save_toy(tmp_path / "toy.onnx")))

    assert 0 < start.load_s < start.first_map_s
    assert start.peak_rss_mb is None or start.peak_rss_mb > 20


def test_cold_start_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"a cold start of .*missing\.onnx failed: .*no such model"):
        start_cold(ModelSpec(path=tmp_path / "missing.onnx"))


def test_name_of_a_model_is_the_same_everywhere() -> None:
    assert model_name(toy_contract((48, 64))) == "toy fp32 48x64"
