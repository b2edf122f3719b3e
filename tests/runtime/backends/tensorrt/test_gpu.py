"""What only a GPU can show: parity, and times beside a bare loop of the same engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from saliency_edge.runtime.backends.backend import LoadOptions, infer_each
from saliency_edge.runtime.backends.select import load_model
from saliency_edge.runtime.backends.tensorrt.engine import TensorRtModel
from saliency_edge.runtime.contract import Precision
from saliency_edge.runtime.machine import find_gpu
from saliency_edge.runtime.parity import check_golden

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(find_gpu() is None, reason="no NVIDIA GPU here, or no driver"),
]

MIN_CC = {"fp32": 0.99999, "fp16": 0.9999, "int8": 0.995}
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
ROUNDS = 200
WARM_UP = 20


@pytest.fixture(scope="module", params=["deep_half", "mlnet"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped weights, exported here, with engines for this GPU."""
    pytest.importorskip("torch", reason="the export needs PyTorch")
    from typer.testing import CliRunner

    from saliency_edge.export.cli import app

    folder = tmp_path_factory.mktemp("gpu") / str(request.param)
    words = ["--network", str(request.param), "--fp32", "--fp16", "--int8", "--output", str(folder)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(params=PRECISIONS)
def engine(bundle: Path, request: pytest.FixtureRequest) -> Iterator[TensorRtModel]:
    with closing(load_model(bundle, request.param, LoadOptions(strict=True))) as made:
        assert isinstance(made, TensorRtModel)
        yield made


def noise(engine: TensorRtModel, count: int) -> list[np.ndarray]:
    shape = (engine.contract.batch[1], *engine.contract.size_hw, 3)
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, shape, np.uint8) for _ in range(count)]


def bare_loop_ms(engine: TensorRtModel) -> float:
    """Time the engine alone: enqueue and synchronise, no copies to or from numpy."""
    slot = engine._slots[0]
    durations = []
    for _ in range(ROUNDS + WARM_UP):
        start_s = time.perf_counter()
        if slot._graph is not None:
            slot._graph.launch()
        else:
            slot._enqueue(engine.contract.batch[1])
        slot._stream.synchronize()
        durations.append(time.perf_counter() - start_s)
    return median(durations[WARM_UP:]) * 1e3


def test_maps_agree_with_pytorch(engine: TensorRtModel, bundle: Path) -> None:
    report = check_golden(engine, bundle / "golden.npz")

    assert report is not None
    assert report.cc >= MIN_CC[engine.contract.precision], report
    report.check()


def test_an_inference_takes_little_more_than_the_engine(engine: TensorRtModel) -> None:
    bare_ms = bare_loop_ms(engine)
    durations = []
    for frames in noise(engine, 8) * (ROUNDS // 8):
        start_s = time.perf_counter()
        engine.infer(frames)
        durations.append(time.perf_counter() - start_s)
    infer_ms = median(durations[WARM_UP:]) * 1e3
    print(f"{engine.description}: {infer_ms:.3f} ms, bare loop {bare_ms:.3f} ms")

    assert infer_ms <= 1.1 * bare_ms + 0.1, f"{infer_ms:.3f} ms, the bare loop {bare_ms:.3f} ms"


def test_overlap_keeps_the_engines_rate(engine: TensorRtModel) -> None:
    bare_ms = bare_loop_ms(engine)
    batches = list(enumerate(noise(engine, 8) * (ROUNDS // 8)))
    list(infer_each(engine, batches[:WARM_UP], ahead=True))
    start_s = time.perf_counter()
    count = sum(1 for _ in infer_each(engine, batches, ahead=True))
    each_ms = (time.perf_counter() - start_s) * 1e3 / count
    print(f"{engine.description}: {each_ms:.3f} ms a batch with overlap, bare loop {bare_ms:.3f} ms")

    assert each_ms <= bare_ms / 0.98 + 0.05, f"{each_ms:.3f} ms, the bare loop {bare_ms:.3f} ms"


def test_overlapping_maps_are_those_of_one_after_the_other(engine: TensorRtModel) -> None:
    frames = noise(engine, 6)
    alone = [engine.infer(batch) for batch in frames]
    overlapping = [maps for _, maps, _ in infer_each(engine, enumerate(frames), ahead=True)]

    np.testing.assert_allclose(np.stack(overlapping), np.stack(alone), atol=1e-6)
