"""Live streams through the pipeline: the newest wins, ages are bounded, sources share an engine."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.runtime.errors import BackendError, InputError
from saliency_edge.runtime.frame import Frame, Region, Result, SaliencyMap
from saliency_edge.runtime.stream.pipeline import MapFilter, Stream, default_policy, run_pipeline, unchanged
from saliency_edge.runtime.stream.render import Renderer, RenderOptions
from saliency_edge.runtime.stream.scheduler import ALL, NEWEST, Policy
from saliency_edge.runtime.stream.sources.open_source import open_source
from saliency_edge.runtime.stream.sources.source import Source, SourceOptions
from saliency_edge.runtime.telemetry import EventLog, Telemetry
from toy_models import SIZE_HW, noise, read_clip, save_clip, toy_contract, toy_map

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("no_thread_left")]  # what hangs, fails

INFERENCE_S = 0.06


class SleepingEngine:
    """The toy network, which takes a given time and no CPU, as on a GPU."""

    description = "asleep"

    def __init__(self, inference_s: float, batch: tuple[int, int] = (1, 1)) -> None:
        self.contract = toy_contract(batch=batch)
        self._inference_s = inference_s
        self.batch_sizes: list[int] = []

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batch_sizes.append(len(frames))
        time.sleep(self._inference_s)
        return np.stack([toy_map(frame) for frame in frames]).astype(np.float32)

    def close(self) -> None: ...


class Keeper:
    """A sink that keeps what it gets, by stream."""

    description = "keeper"
    shows_pictures = False

    def __init__(self) -> None:
        self.results: dict[int, list[Result]] = defaultdict(list)

    def write(self, result: Result) -> None:
        self.results[result.saliency.frame.stream].append(result)

    def close(self) -> None: ...

    def indices(self, stream: int = 0) -> list[int]:
        return [result.saliency.frame.index for result in self.results[stream]]


class Broken:
    """A source that fails after some frames, and can be stopped while it waits."""

    description = "broken"
    frame_count: int | None = None
    fps: float | None = None
    is_live = True

    def __init__(self, frame_count: int, *, waits: bool = False) -> None:
        self._frame_count, self._waits = frame_count, waits
        self._stopped = threading.Event()

    def frames(self) -> Generator[Frame, None, None]:
        for index in range(self._frame_count):
            image_bgr = noise(SIZE_HW, index)
            yield Frame(index=index, name=str(index), image_bgr=image_bgr, captured_s=time.monotonic())
        if not self._waits:
            raise InputError("broken for good")
        self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None: ...


def run(
    sources: Sequence[Source],
    engine: SleepingEngine,
    policy: Policy | None = None,
    map_filter: MapFilter = unchanged,
    is_stopped: Callable[[], bool] = lambda: False,
) -> tuple[Keeper, Telemetry]:
    telemetry, sink = Telemetry(), Keeper()
    streams = [
        Stream(
            source=source,
            events=EventLog(telemetry.counters, stream=number),
            policy=policy or default_policy(source),
            map_filter=map_filter,
        )
        for number, source in enumerate(sources)
    ]
    renderer = Renderer(RenderOptions())
    run_pipeline(streams, engine, [sink], renderer, telemetry, is_stopped=is_stopped)
    return sink, telemetry


def pattern(words: str, **options: int) -> Source:
    return open_source(f"test:width=64,height=48,{words}", SourceOptions(**options))


def test_newest_frame_wins_and_no_frame_is_unaccounted_for() -> None:
    """A source twice as fast as the engine; a busy machine is late at times, so only p50 is held."""
    sink, telemetry = run([pattern(f"fps={2 / INFERENCE_S},frames=100")], SleepingEngine(INFERENCE_S))

    counts, indices = telemetry.counters, sink.indices()
    assert counts.of("captured") == 100
    assert counts.of("done") + counts.of("dropped") == 100
    assert counts.of("dropped") >= 30
    assert indices == sorted(set(indices))
    assert indices[-1] == 99, "the last frame is computed"
    dropped = [result.saliency.dropped for result in sink.results[0]]
    assert [index - before - 1 for before, index in pairwise([-1, *indices])] == dropped
    assert telemetry.percentiles()["age"].p50_ms < 2.2 * INFERENCE_S * 1e3


def test_all_of_a_live_source_may_grow_old() -> None:
    sink, telemetry = run([pattern("fps=50,frames=25")], SleepingEngine(INFERENCE_S), ALL)
    assert sink.indices() == list(range(25))
    assert telemetry.counters.of("dropped") == 0
    assert sink.results[0][-1].age_s > 5 * INFERENCE_S


def test_deadline_bounds_the_age_and_counts_what_is_late() -> None:
    policy = Policy.parse("deadline=200")
    sink, telemetry = run([pattern("fps=50,frames=100")], SleepingEngine(INFERENCE_S), policy)

    ages_s = sorted(result.age_s for result in sink.results[0])
    assert ages_s[len(ages_s) // 2] < 0.25, f"median age {ages_s[len(ages_s) // 2]:.3f} s"
    assert ages_s[-1] > INFERENCE_S
    assert telemetry.counters.of("late") <= sum(age_s > 0.19 for age_s in ages_s)
    assert telemetry.counters.of("dropped") + len(ages_s) == 100


@pytest.mark.parametrize("batch", [(1, 1), (1, 4), (4, 4)])
def test_files_side_by_side_lose_nothing(tmp_path: Path, batch: tuple[int, int]) -> None:
    """Three clips through one engine: each frame of each once, in order, with the map of a plain loop."""
    clips = [save_clip(tmp_path / f"{count}.mp4", count) for count in (12, 30, 21)]
    engine = SleepingEngine(0.0, batch)
    with closing(open_source(str(clips[0]))) as one, closing(open_source(str(clips[1]))) as two:
        third = open_source(str(clips[2]))
        sink, telemetry = run([one, two, third], engine)

    for stream, clip in enumerate(clips):
        frames = read_clip(clip)
        assert sink.indices(stream) == list(range(len(frames)))
        for result, frame in zip(sink.results[stream], frames, strict=True):
            fitted = np.asarray(frame.reshape(24, 2, 32, 2, 3).astype(np.float64).mean(axis=(1, 3)))
            difference = np.abs(result.saliency.values - toy_map(fitted.astype(np.uint8))).max()
            assert difference < 2 / 255, f"stream {stream}: {difference}"
    assert telemetry.counters.total("done") == 12 + 30 + 21
    assert set(engine.batch_sizes) <= set(range(batch[0], batch[1] + 1))
    if batch[1] > 1:
        assert max(engine.batch_sizes) >= 3, "the streams did not share a batch"


def test_slow_camera_does_not_wait_for_a_fast_one() -> None:
    """Batches take what is there; the slow source's frames are all computed, the fast one's are thinned."""
    fast, slow = pattern("fps=60,frames=120"), pattern("fps=5,frames=10")
    sink, telemetry = run([fast, slow], SleepingEngine(0.05, (1, 2)))

    assert sink.indices(1) == list(range(10))
    assert telemetry.counters.of("dropped", 0) > 30
    assert telemetry.counters.of("dropped", 1) == 0


def test_source_that_fails_ends_the_run_with_its_reason() -> None:
    with pytest.raises(InputError, match="broken for good"):
        run([pattern("fps=20,frames=2000"), Broken(3)], SleepingEngine(0.01))


def test_stop_while_no_frame_comes() -> None:
    start_s = time.monotonic()
    sink, _ = run(
        [Broken(2, waits=True)], SleepingEngine(0.0), ALL, is_stopped=lambda: time.monotonic() > start_s + 0.5
    )
    assert sink.indices() == [0, 1]
    assert time.monotonic() - start_s < 3


def test_rendering_that_fails_while_no_frame_comes() -> None:
    def fail(_saliency: SaliencyMap) -> SaliencyMap:
        raise BackendError("no more")

    with pytest.raises(BackendError, match="no more"):
        run([Broken(1, waits=True)], SleepingEngine(0.0), map_filter=fail)


def test_filter_changes_maps_before_they_are_shown() -> None:
    def halved(saliency: SaliencyMap) -> SaliencyMap:
        return SaliencyMap(frame=saliency.frame, values=saliency.values / 2)

    plain, _ = run([pattern("frames=3,pace=fast")], SleepingEngine(0.0))
    filtered, _ = run([pattern("frames=3,pace=fast")], SleepingEngine(0.0), map_filter=halved)

    for one, other in zip(plain.results[0], filtered.results[0], strict=True):
        np.testing.assert_array_equal(one.saliency.values / 2, other.saliency.values)


def test_regions_reach_the_sinks() -> None:
    def numbered(saliency: SaliencyMap) -> tuple[Region, ...]:
        return (Region(identity=saliency.frame.index, box_xyxy_px=(0, 0, 8, 8), peak=1.0, area=0.1),)

    telemetry, sink = Telemetry(), Keeper()
    streams = [Stream.of(pattern("frames=5,pace=fast"), telemetry.counters)]
    run_pipeline(streams, SleepingEngine(0.0), [sink], Renderer(RenderOptions()), telemetry, numbered)

    assert [result.regions[0].identity for result in sink.results[0]] == list(range(5))


def test_policies_by_default() -> None:
    assert default_policy(pattern("pace=live")) == NEWEST
    assert default_policy(pattern("pace=fast")) == ALL
