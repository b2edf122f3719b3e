"""Batches through an engine: their order, their overlap, and what happens when one fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine_files import save_toy_engine
from saliency_edge.runtime.backends.backend import Model, infer_each
from saliency_edge.runtime.backends.onnxruntime_backend import OnnxRuntimeModel
from saliency_edge.runtime.backends.tensorrt.engine import TensorRtModel
from saliency_edge.runtime.errors import ContractError, InputError
from saliency_edge.runtime.stream.pipeline import Stream, saliency_maps
from saliency_edge.runtime.stream.scheduler import Policy
from saliency_edge.runtime.stream.sources.open_source import open_source
from saliency_edge.runtime.telemetry import Telemetry
from tensorrt_double import TensorRtDouble
from toy_models import SIZE_HW, noise, save_images, save_toy, toy_map


@pytest.fixture(params=["TensorRT", "ONNX Runtime"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Model]:
    request.getfixturevalue("double")
    path = tmp_path / "toy.engine"
    if request.param == "TensorRT":
        made: Model = TensorRtModel.load(path, save_toy_engine(path))
    else:
        made = OnnxRuntimeModel.load(save_toy(tmp_path / "toy.onnx"))
    with closing(made):
        yield made


def batches(count: int, fail_after: Exception | None = None) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for seed in range(count):
        yield seed, noise(SIZE_HW, seed)[np.newaxis]
    if fail_after is not None:
        raise fail_after


@pytest.mark.parametrize("ahead", [True, False])
def test_maps_come_in_order(engine: Model, double: TensorRtDouble, ahead: bool) -> None:
    found = list(infer_each(engine, batches(5), ahead=ahead))

    assert [seed for seed, *_ in found] == list(range(5))
    for seed, maps, seconds in found:
        np.testing.assert_allclose(maps[0], toy_map(noise(SIZE_HW, seed)), atol=1e-6)
        assert seconds > 0
    overlaps = ahead and isinstance(engine, TensorRtModel)
    assert double.cuda.most_at_once == (2 if overlaps else 1 if isinstance(engine, TensorRtModel) else 0)


@pytest.mark.parametrize("ahead", [True, False])
def test_a_failure_comes_after_the_maps_before_it(engine: Model, ahead: bool) -> None:
    found: list[int] = []
    with pytest.raises(InputError, match="broken"):
        found.extend(seed for seed, *_ in infer_each(engine, batches(3, InputError("broken")), ahead=ahead))
    assert found == [0, 1, 2]


def test_a_wrong_batch_fails_after_the_maps_before_it(engine: Model) -> None:
    wrong = [*batches(2), (2, np.zeros((1, 8, 8, 3), np.uint8)), *batches(1)]
    found: list[int] = []
    with pytest.raises(ContractError):
        found.extend(seed for seed, *_ in infer_each(engine, wrong, ahead=True))
    assert found == [0, 1]


def test_who_takes_no_more_leaves_nothing_behind(engine: Model) -> None:
    maps = infer_each(engine, batches(9), ahead=True)
    next(maps)
    maps.close()


@pytest.mark.parametrize("policy", ["all", "newest"])
def test_the_pipeline_overlaps_where_nobody_waits(
    tmp_path: Path, double: TensorRtDouble, policy: str
) -> None:
    images = save_images(tmp_path / "images", 6, SIZE_HW)
    telemetry = Telemetry()
    source = open_source(str(tmp_path / "images"))
    stream = Stream.of(source, telemetry.counters, Policy.parse(policy))
    path = tmp_path / "toy.engine"
    with closing(TensorRtModel.load(path, save_toy_engine(path))) as engine:
        maps = list(saliency_maps([stream], engine, telemetry))

    assert len(maps) == 6 or policy == "newest"
    for saliency in maps:
        number = int(Path(saliency.frame.name).stem.removeprefix("image"))
        np.testing.assert_allclose(saliency.values, toy_map(images[number]), atol=1e-6)
    assert double.cuda.most_at_once == (2 if policy == "all" else 1)
