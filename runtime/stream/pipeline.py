"""A frame's way: source, fit, infer, map, filter, regions, render, sinks.

    a thread a source  |   the inference thread   |   the caller's thread            |  a thread a sink
    read, fit -> [scheduler] -> infer, crop -> [queue] -> filter, regions, render -> [queue] -> write

The queues are a few frames long, all of one kind (`BoundedQueue`). Under the policy `all` no frame is dropped
or doubled, and under every policy the frames of a stream stay in order. What a stage raises reaches the
caller after the frames before it are done.
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
from ..telemetry import Counters, EventLog, Telemetry
from .bounded_queue import prefetch
from .regions import draw_regions
from .render import Renderer
from .scheduler import ALL, NEWEST, FittedFrame, FrameScheduler, Policy
from .sinks.sink import Sink
from .sources.source import Source

MapFilter: TypeAlias = Callable[[SaliencyMap], SaliencyMap]
"""Changes a stream's maps, such as smoothing in time; it gets them in order, without those dropped."""
FindRegions: TypeAlias = Callable[[SaliencyMap], tuple[Region, ...]]
"""Finds the regions of each map; it gets those of a stream in order."""

_CAPTURE_TIMEOUT_S = 15.0  # for a capture thread that was asked to end; OpenCV waits ten for a camera


def unchanged(saliency: SaliencyMap) -> SaliencyMap:
    """The filter that changes nothing."""
    return saliency


def default_policy(source: Source) -> Policy:
    """`newest` for what is live, `all` for a file."""
    return NEWEST if source.is_live else ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One of the sources of a run.

    Attributes:
        source: where its frames come from.
        events: counts and prints what happens on the way.
        policy: which of its frames are computed.
        map_filter: changes its maps before they are shown; a filter belongs to one stream.
    """

    source: Source
    events: EventLog
    policy: Policy
    map_filter: MapFilter = unchanged

    @classmethod
    def of(cls, source: Source, counters: Counters, policy: Policy | None = None) -> Stream:
        """A stream that prints nothing; without a policy it gets its source's own."""
        return cls(source=source, events=EventLog(counters), policy=policy or default_policy(source))


def run_pipeline(
    streams: Sequence[Stream],
    model: Model,
    sinks: Sequence[Sink],
    renderer: Renderer,
    telemetry: Telemetry,
    find_regions: FindRegions | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
    on_frame: Callable[[], None] = lambda: None,
) -> int:
    """Take the frames of all streams through a model into the sinks.

    Args:
        streams: where frames come from; `Frame.stream` is a stream's place in this sequence.
        model: computes the maps.
        sinks: take the results; the caller closes them.
        renderer: makes pictures, where a sink shows them.
        telemetry: gets all stages, and the age of each result, from capture until it is written.
        find_regions: finds regions of interest; gets the maps of all streams.
        is_stopped: asked before each inference; once it says yes, the run ends well, and early.
        on_frame: called after each frame.

    Returns:
        Frames done.

    Raises:
        SaliencyError: what a stage raised, after the frames before it were done.
    """
    frame_count = 0
    with single_threaded(), closing(saliency_maps(streams, model, telemetry, is_stopped)) as maps:
        for found in maps:
            stream = streams[found.frame.stream]
            saliency = stream.map_filter(found)
            regions = find_regions(saliency) if find_regions else ()
            picture_bgr = saliency.frame.image_bgr
            if any(sink.shows_pictures for sink in sinks):
                with telemetry.measure("render"):
                    picture_bgr = renderer.render(saliency)
                    draw_regions(picture_bgr, regions, saliency.frame.size_hw)
            result = Result(
                saliency=saliency,
                picture_bgr=picture_bgr,
                age_s=time.monotonic() - saliency.frame.captured_s,
                regions=regions,
                unsmoothed=None if saliency is found else found.values,
            )
            if sinks:
                with telemetry.measure("write"):
                    for sink in sinks:
                        sink.write(result)
            age_s = time.monotonic() - saliency.frame.captured_s
            telemetry.add("age", age_s)
            stream.events.count("done")
            if stream.policy.is_late(age_s):
                stream.events.log("late", f"results are older than the deadline: {age_s * 1e3:.0f} ms")
            frame_count += 1
            on_frame()
    return frame_count


def saliency_maps(
    streams: Sequence[Stream],
    model: Model,
    telemetry: Telemetry,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Generator[SaliencyMap, None, None]:
    """Compute the saliency maps of all frames that the policies let through, ahead of the reader.

    The maps of a stream come in order; those of several streams take turns, and share the model's batches.

    Args:
        streams: where frames come from; no one else may read their sources meanwhile.
        model: no one else may use it meanwhile.
        telemetry: gets the stages `read`, `fit` and `infer`.
        is_stopped: asked before each inference; once it says yes, the maps in work are the last ones.

    Raises:
        SaliencyError: what a stage raised, after the maps of the frames before it.
    """
    size = 2 if all(stream.policy.kind == "all" for stream in streams) else 1
    with _capturing(streams, model.contract, telemetry) as scheduler:
        maps = _infer_maps(scheduler, streams, model, telemetry, is_stopped)
        yield from prefetch(maps, size, interrupt=scheduler.close)


@contextmanager
def _capturing(
    streams: Sequence[Stream], contract: Contract, telemetry: Telemetry
) -> Iterator[FrameScheduler]:
    """Capture all streams into a scheduler while the block runs."""
    scheduler = FrameScheduler([stream.policy for stream in streams])
    threads = [
        Thread(
            target=_capture,
            args=(number, stream, scheduler, contract, telemetry),
            name=f"capture {number}",
            daemon=True,
        )
        for number, stream in enumerate(streams)
    ]
    for thread in threads:
        thread.start()
    try:
        yield scheduler
    finally:
        scheduler.close()
        for stream in streams:
            stream.source.stop()
        for thread in threads:
            thread.join(_CAPTURE_TIMEOUT_S)


def _capture(
    number: int, stream: Stream, scheduler: FrameScheduler, contract: Contract, telemetry: Telemetry
) -> None:
    """Read and fit the frames of one stream; what fails here is raised where they are taken."""
    failure: BaseException | None = None
    try:
        with closing(stream.source.frames()) as frames:
            for frame in telemetry.measured(frames, "read"):
                stream.events.count("captured")
                with telemetry.measure("fit"):
                    input_bgr = fit_frame(frame.image_bgr, contract.size_hw, contract.fit)
                if not scheduler.put(number, FittedFrame(replace(frame, stream=number), input_bgr)):
                    break
    except BaseException as error:
        failure = error
    scheduler.finish(number, failure)


def _infer_maps(
    scheduler: FrameScheduler,
    streams: Sequence[Stream],
    model: Model,
    telemetry: Telemetry,
    is_stopped: Callable[[], bool],
) -> Generator[SaliencyMap, None, None]:
    """Infer the frames as the scheduler gives them, and cut each map to its frame."""
    contract = model.contract
    smallest, largest = contract.batch
    expected_s = 0.0

    def batches() -> Iterator[tuple[Sequence[FittedFrame], NDArray[np.uint8]]]:
        while batch := scheduler.take(largest, expected_s, is_stopped):
            for fitted in batch:
                if fitted.dropped:
                    text = "frames come faster than the model takes them, and are dropped"
                    streams[fitted.frame.stream].events.log("dropped", text, fitted.dropped)
            inputs = [fitted.input_bgr for fitted in batch]
            inputs += inputs[-1:] * (
                smallest - len(inputs)
            )  # a batch that is too small repeats its last frame
            yield batch, np.stack(inputs)  # (N, H, W, 3)

    nobody_waits = all(stream.policy.kind == "all" and not stream.source.is_live for stream in streams)
    for batch, values, expected_s in infer_each(model, batches(), ahead=nobody_waits):
        telemetry.add("infer", expected_s)
        for fitted, cells in zip(batch, values, strict=False):  # (h, w) each
            if not np.isfinite(cells).all():
                raise BackendError(
                    f"{model.description} gave values that are not numbers for frame {fitted.frame.name}. "
                    "Try --precision fp32"
                )
            window = window_of(fitted.frame.size_hw, contract.size_hw, contract.fit)
            yield SaliencyMap(frame=fitted.frame, values=crop_map(cells, window), dropped=fitted.dropped)
