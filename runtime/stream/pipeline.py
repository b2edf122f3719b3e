"""A frame's way, in one straight line: source, fit, infer, saliency map, filter, render, sinks.

Each source is captured and fitted in a thread of its own, inference has another, rendering and writing happen
in the caller's. Between them lie queues of a frame or two. Under the policy `all` no frame is dropped or
doubled, and under every policy the frames of a stream stay in order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from threading import Thread
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..backends.backend import Model, infer_each
from ..contract import Contract
from ..errors import BackendError
from ..fit import crop_map, fit_frame, window_of
from ..frame import Region, Result, SaliencyMap
from ..opencv import single_threaded
from ..telemetry import Counters, Journal, Telemetry
from .queue import ahead
from .regions import draw_regions
from .render import Renderer
from .scheduler import ALL, NEWEST, Fitted, Intake, Policy, Taken
from .sinks.sink import Sink
from .sources.source import Source

FindRegions: TypeAlias = Callable[[SaliencyMap], tuple[Region, ...]]
"""Finds the regions of each map; it gets those of a stream in order."""

_PATIENCE_S = 15.0  # with a capture thread that was asked to end; OpenCV waits ten for a camera


def saliency_maps(
    streams: Sequence[Stream],
    engine: Model,
    telemetry: Telemetry,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Generator[SaliencyMap, None, None]:
    """Compute the saliency maps of all frames that the policies let through, ahead of the reader.

    The maps of a stream come in order; those of several streams take turns, and share the engine's batches.

    Args:
        streams: whose frames; no one else may read their sources meanwhile.
        engine: no one else may use it meanwhile.
        telemetry: gets the stages `read`, `fit` and `infer`.
        is_stopped: asked before each inference; once it says yes, the maps at hand are the last ones.

    Raises:
        SaliencyError: what a stage raised, after the maps of the frames before it.
    """
    size = 2 if all(stream.policy.kind == "all" for stream in streams) else 1
    with _capturing(streams, engine.contract, telemetry) as intake:
        maps = _inferred_maps(intake, streams, engine, telemetry, is_stopped)
        yield from ahead(maps, size, interrupt=intake.close)


def run_pipeline(
    streams: Sequence[Stream],
    engine: Model,
    sinks: Sequence[Sink],
    renderer: Renderer,
    telemetry: Telemetry,
    find_regions: FindRegions | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
    on_frame: Callable[[], None] = lambda: None,
) -> int:
    """Take the frames of all streams through an engine into the sinks.

    Args:
        streams: where frames come from; `Frame.stream` is a stream's place in this sequence.
        engine: what makes maps of them.
        sinks: where the results go; the caller closes them.
        renderer: makes pictures, where a sink shows them.
        telemetry: gets all stages, and the age of each result, from capture until it is written.
        find_regions: finds where people look; gets the maps of all streams.
        is_stopped: asked before each inference; once it says yes, the run ends well, and early.
        on_frame: called after each frame.

    Returns:
        How many frames were done.

    Raises:
        SaliencyError: what a stage raised, after the frames before it were done.
    """
    frame_count = 0
    with single_threaded(), closing(saliency_maps(streams, engine, telemetry, is_stopped)) as maps:
        for saliency in maps:
            stream = streams[saliency.frame.stream]
            filtered = stream.map_filter(saliency)
            regions = find_regions(filtered) if find_regions else ()
            unsmoothed = None if filtered is saliency else saliency.values
            _show(filtered, unsmoothed, regions, sinks, renderer, telemetry)
            _note_age(saliency, stream, telemetry)
            frame_count += 1
            on_frame()
    return frame_count


@contextmanager
def _capturing(streams: Sequence[Stream], contract: Contract, telemetry: Telemetry) -> Iterator[Intake]:
    """Capture all streams into an intake while the block runs."""
    intake = Intake([stream.policy for stream in streams])
    threads = [
        Thread(
            target=_capture,
            args=(number, stream, intake, contract, telemetry),
            name=f"capture {number}",
            daemon=True,
        )
        for number, stream in enumerate(streams)
    ]
    for thread in threads:
        thread.start()
    try:
        yield intake
    finally:
        intake.close()
        for stream in streams:
            stream.source.stop()
        for thread in threads:
            thread.join(_PATIENCE_S)


def _capture(number: int, stream: Stream, intake: Intake, contract: Contract, telemetry: Telemetry) -> None:
    """Read and fit the frames of one stream; what fails here is raised where they are taken."""
    failure: BaseException | None = None
    try:
        with closing(stream.source.frames()) as frames:
            for frame in telemetry.measured(frames, "read"):
                stream.journal.count("captured")
                with telemetry.measure("fit"):
                    input_bgr = fit_frame(frame.image_bgr, contract.size_hw, contract.fit)
                if not intake.put(number, Fitted(replace(frame, stream=number), input_bgr)):
                    break
    except BaseException as error:
        failure = error
    intake.finish(number, failure)


def _inferred_maps(
    intake: Intake,
    streams: Sequence[Stream],
    engine: Model,
    telemetry: Telemetry,
    is_stopped: Callable[[], bool],
) -> Generator[SaliencyMap, None, None]:
    expected_s = 0.0

    def batches() -> Iterator[tuple[Sequence[Taken], NDArray[np.uint8]]]:
        while batch := intake.take(engine.contract.batch[1], expected_s, is_stopped):
            for taken in batch:
                _note_dropped(taken, streams)
            yield batch, _inputs(batch, engine.contract)

    nobody_waits = all(stream.policy.kind == "all" and not stream.source.is_live for stream in streams)
    for batch, values, expected_s in infer_each(engine, batches(), ahead=nobody_waits):
        telemetry.add("infer", expected_s)
        yield from [_map_of(taken, values[place], engine) for place, taken in enumerate(batch)]


def _inputs(batch: Sequence[Taken], contract: Contract) -> NDArray[np.uint8]:
    """Stack the frames, (N, H, W, 3). A batch below the engine's smallest repeats its last frame."""
    inputs = [taken.fitted.input_bgr for taken in batch]
    inputs += inputs[-1:] * (contract.batch[0] - len(inputs))
    return np.stack(inputs)


def _map_of(taken: Taken, values: NDArray[np.float32], engine: Model) -> SaliencyMap:
    frame, contract = taken.fitted.frame, engine.contract
    if not np.isfinite(values).all():
        raise BackendError(
            f"{engine.description} gave values that are not numbers for frame {frame.name}. "
            "Try --precision fp32"
        )
    window = window_of(frame.size_hw, contract.size_hw, contract.fit)
    return SaliencyMap(frame=frame, values=crop_map(values, window), dropped=taken.dropped)


def _show(
    saliency: SaliencyMap,
    unsmoothed: NDArray[np.float32] | None,
    regions: tuple[Region, ...],
    sinks: Sequence[Sink],
    renderer: Renderer,
    telemetry: Telemetry,
) -> None:
    picture_bgr = saliency.frame.image_bgr
    if any(sink.shows_pictures for sink in sinks):
        with telemetry.measure("render"):
            picture_bgr = renderer.render(saliency)
            draw_regions(picture_bgr, regions, saliency.frame.size_hw)
    age_s = time.monotonic() - saliency.frame.captured_s
    result = Result(
        saliency=saliency, picture_bgr=picture_bgr, age_s=age_s, regions=regions, unsmoothed=unsmoothed
    )
    if sinks:
        with telemetry.measure("write"):
            for sink in sinks:
                sink.write(result)


def _note_dropped(taken: Taken, streams: Sequence[Stream]) -> None:
    if taken.dropped:
        journal = streams[taken.fitted.frame.stream].journal
        text = "frames come faster than the engine takes them, and are dropped"
        journal.note("dropped", text, taken.dropped)


def _note_age(saliency: SaliencyMap, stream: Stream, telemetry: Telemetry) -> None:
    age_s = time.monotonic() - saliency.frame.captured_s
    telemetry.add("age", age_s)
    stream.journal.count("done")
    if stream.policy.is_late(age_s):
        stream.journal.note("late", f"results are older than the deadline: {age_s * 1e3:.0f} ms")


MapFilter: TypeAlias = Callable[[SaliencyMap], SaliencyMap]
"""Changes a stream's maps, such as smoothing in time; it gets them in order, without those dropped."""


def unchanged(saliency: SaliencyMap) -> SaliencyMap:
    """Filter nothing."""
    return saliency


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A source on its way through the pipeline.

    Attributes:
        source: of its frames.
        journal: what happens on the way.
        policy: which of its frames are computed.
        map_filter: changes its maps before they are shown; a filter belongs to one stream.
    """

    source: Source
    journal: Journal
    policy: Policy
    map_filter: MapFilter = unchanged

    @classmethod
    def of(cls, source: Source, counters: Counters, policy: Policy | None = None) -> Stream:
        """Make a stream that nobody else hears of; without a policy it gets its source's own."""
        return cls(source=source, journal=Journal(counters), policy=policy or default_policy(source))


def default_policy(source: Source) -> Policy:
    """Keep up with what is live; leave out nothing of a file."""
    return NEWEST if source.is_live else ALL
