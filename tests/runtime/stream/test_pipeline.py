"""The pipeline against a plain loop, and with each of its stages failing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.runtime.backends.onnxruntime_backend import OnnxRuntimeModel
from saliency_edge.runtime.contract import Contract, Fit
from saliency_edge.runtime.errors import BackendError, InputError, OutputError
from saliency_edge.runtime.frame import Frame, Result
from saliency_edge.runtime.stream.pipeline import Stream, run_pipeline, saliency_maps
from saliency_edge.runtime.stream.render import Renderer, RenderOptions
from saliency_edge.runtime.stream.sources.open_source import open_source
from saliency_edge.runtime.telemetry import Telemetry
from toy_models import SIZE_HW, noise, read_clip, save_clip, save_toy, toy_contract, toy_map

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("no_thread_left")]  # what hangs, fails

FRAMES = 40


class NoiseSource:
    """Frames from memory; fails at one of them where it is told to."""

    description = "noise"
    fps: float | None = None
    frame_count: int | None = None
    is_live = False

    def __init__(self, frame_count: int = FRAMES, fail_at: int | None = None) -> None:
        self._frame_count, self._fail_at = frame_count, fail_at
        self.given = 0

    def frames(self) -> Generator[Frame, None, None]:
        for index in range(self._frame_count):
            if index == self._fail_at:
                raise InputError(f"frame {index} cannot be read")
            self.given += 1
            yield Frame(index=index, name=str(index), image_bgr=noise(SIZE_HW, index), captured_s=0.0)

    def stop(self) -> None: ...

    def close(self) -> None: ...


class NumpyEngine:
    """The toy network in numpy; fails, or gives NaN, at one of its inferences where it is told to."""

    description = "numpy"

    def __init__(
        self, fail_at: int | None = None, nan_at: int | None = None, smallest_batch: int = 1
    ) -> None:
        self.contract: Contract = toy_contract(batch=(smallest_batch, smallest_batch))
        self._fail_at, self._nan_at = fail_at, nan_at
        self._calls = count()
        self.batch_sizes: set[int] = set()

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        call = next(self._calls)
        self.batch_sizes.add(len(frames))
        if call == self._fail_at:
            raise BackendError(f"inference {call} failed")
        maps = np.stack([toy_map(frame) for frame in frames]).astype(np.float32)
        return maps * np.float32(np.nan) if call == self._nan_at else maps

    def close(self) -> None: ...


class ListSink:
    """Keeps names and maps; fails at one of them where it is told to."""

    description = "list"

    def __init__(self, fail_at: int | None = None, shows_pictures: bool = False) -> None:
        self.shows_pictures = shows_pictures
        self._fail_at = fail_at
        self.names: list[str] = []
        self.maps: list[NDArray[np.float32]] = []
        self.pictures: list[NDArray[np.uint8]] = []

    def write(self, result: Result) -> None:
        if len(self.names) == self._fail_at:
            raise OutputError(f"result {self._fail_at} cannot be written")
        self.names.append(result.saliency.frame.name)
        self.maps.append(result.saliency.values)
        self.pictures.append(result.picture_bgr.copy())

    def close(self) -> None: ...


def run(source: NoiseSource, engine: NumpyEngine, sink: ListSink) -> int:
    telemetry = Telemetry()
    streams = [Stream.of(source, telemetry.counters)]
    return run_pipeline(streams, engine, [sink], Renderer(RenderOptions()), telemetry)


def names(frame_count: int) -> list[str]:
    return [str(index) for index in range(frame_count)]


@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize("batch", [(1, 1), (1, 4), (3, 3)])
def test_maps_are_those_of_a_plain_loop(tmp_path: Path, fit: Fit, batch: tuple[int, int]) -> None:
    """Every frame of a clip, once, in order; the plain loop pads, and averages cells, by itself."""
    clip = save_clip(tmp_path / "clip.mp4", FRAMES, (48, 96))
    model = save_toy(tmp_path / "toy.onnx", toy_contract((48, 64), fit=fit, batch=batch))
    inner_hw = (48, 64) if fit == "stretch" else (32, 64)
    expected = [
        toy_map(np.asarray(cv2.resize(frame, inner_hw[::-1], interpolation=cv2.INTER_AREA), np.uint8))
        for frame in read_clip(clip)
    ]
    telemetry = Telemetry()

    with closing(open_source(str(clip))) as source, closing(OnnxRuntimeModel.load(model)) as engine:
        maps = list(saliency_maps([Stream.of(source, telemetry.counters)], engine, telemetry))

    assert [saliency.frame.index for saliency in maps] == list(range(FRAMES))
    worst = max(np.abs(got.values - wanted).max() for got, wanted in zip(maps, expected, strict=True))
    assert worst < 1e-6, f"worst difference {worst}"
    assert list(telemetry.percentiles()) == ["read", "fit", "infer"]


def test_all_results_reach_all_sinks_in_order() -> None:
    sinks = [ListSink(), ListSink(shows_pictures=True)]
    telemetry = Telemetry()
    done = []

    frame_count = run_pipeline(
        [Stream.of(NoiseSource(), telemetry.counters)],
        NumpyEngine(),
        sinks,
        Renderer(RenderOptions(opacity=0)),
        telemetry,
        on_frame=lambda: done.append(1),
    )

    assert frame_count == len(done) == FRAMES
    for sink in sinks:
        assert sink.names == names(FRAMES)
        assert all(np.array_equal(sink.pictures[index], noise(SIZE_HW, index)) for index in range(FRAMES))
    assert list(telemetry.percentiles()) == ["read", "fit", "infer", "render", "write", "age"]


def test_nothing_is_rendered_for_sinks_without_pictures() -> None:
    telemetry = Telemetry()
    streams = [Stream.of(NoiseSource(3), telemetry.counters)]
    run_pipeline(streams, NumpyEngine(), [ListSink()], Renderer(RenderOptions()), telemetry)

    assert list(telemetry.percentiles()) == ["read", "fit", "infer", "write", "age"]


def test_engine_that_wants_batches_gets_them() -> None:
    engine, sink = NumpyEngine(smallest_batch=4), ListSink()

    run(NoiseSource(), engine, sink)

    assert engine.batch_sizes == {4}
    assert all(np.allclose(sink.maps[i], toy_map(noise(SIZE_HW, i)), atol=1e-6) for i in range(FRAMES))


@pytest.mark.parametrize("at", [0, 1, 7, FRAMES - 1])
def test_source_that_fails(at: int) -> None:
    sink = ListSink()
    with pytest.raises(InputError, match=f"frame {at} cannot be read"):
        run(NoiseSource(fail_at=at), NumpyEngine(), sink)
    assert sink.names == names(at)


@pytest.mark.parametrize("at", [0, 1, 7, FRAMES - 1])
def test_engine_that_fails(at: int) -> None:
    source, sink = NoiseSource(), ListSink()
    with pytest.raises(BackendError, match=f"inference {at} failed"):
        run(source, NumpyEngine(fail_at=at), sink)
    assert sink.names == names(at)
    assert source.given <= at + 5, "the capture thread went on"


@pytest.mark.parametrize("at", [0, 1, 7, FRAMES - 1])
def test_sink_that_fails(at: int) -> None:
    source, sink = NoiseSource(), ListSink(fail_at=at)
    with pytest.raises(OutputError, match=f"result {at} cannot be written"):
        run(source, NumpyEngine(), sink)
    assert sink.names == names(at)
    assert source.given <= at + 9, "the threads before it went on"


def test_map_that_is_not_a_number() -> None:
    sink = ListSink()
    with pytest.raises(BackendError, match=r"not numbers for frame 5\. Try --precision fp32"):
        run(NoiseSource(), NumpyEngine(nan_at=5), sink)
    assert sink.names == names(5)


def test_frame_that_cannot_be_fitted() -> None:
    class FlatSource(NoiseSource):
        def frames(self) -> Generator[Frame, None, None]:
            yield from NoiseSource(3).frames()
            yield Frame(index=3, name="3", image_bgr=np.empty((0, 0, 3), np.uint8), captured_s=0.0)

    sink = ListSink()
    with pytest.raises(cv2.error):
        run(FlatSource(), NumpyEngine(), sink)
    assert sink.names == names(3)


def test_reader_that_stops_ends_the_threads() -> None:
    source, telemetry = NoiseSource(10_000), Telemetry()
    streams = [Stream.of(source, telemetry.counters)]
    with closing(saliency_maps(streams, NumpyEngine(), telemetry)) as maps:
        assert next(maps).frame.index == 0

    assert source.given < 12


def test_stop_ends_the_run_well_and_early() -> None:
    source, sink, telemetry = NoiseSource(10_000), ListSink(), Telemetry()

    frame_count = run_pipeline(
        [Stream.of(source, telemetry.counters)],
        NumpyEngine(),
        [sink],
        Renderer(RenderOptions()),
        telemetry,
        is_stopped=lambda: len(sink.names) >= 5,
    )

    assert 5 <= frame_count < 12
    assert sink.names == names(frame_count)
