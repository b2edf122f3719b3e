"""The whole job of `saliency-run`: from names to results, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..backends.backend import Model
from ..backends.select import load_model
from ..console import StopRequest
from ..contract import Contract
from ..progress import progress
from ..public_text import public_name
from ..telemetry import Event, Journal, Percentiles, Stage, Telemetry
from ..web.view import WebSink
from .pipeline import Stream, default_policy, run_pipeline, unchanged
from .regions import RegionTracker
from .render import Renderer
from .run_options import RunOptions, check_outputs
from .scheduler import ALL
from .sinks.open_sinks import open_sinks
from .sinks.qp_map import open_qp_map
from .sinks.sink import Sink, SinkClosedError
from .smoothing import Smoother
from .sources.open_source import open_source
from .sources.source import Source


def run_sources(
    options: RunOptions, stop: StopRequest, say: Callable[[str], None], warn: Callable[[str], None]
) -> RunSummary:
    """Take one or more sources through a model into files, a window, a pipe or a browser.

    Args:
        options: what is asked for.
        stop: once it is made, the run ends after the frame at hand; what was written until then is whole.
        say: prints a line about what was opened.
        warn: prints a line about what went wrong and is mended; any thread may call it.

    Raises:
        SaliencyError: something cannot be opened, read, computed or written.
    """
    check_outputs(options)
    telemetry = Telemetry()
    with ExitStack() as stack:
        engine = stack.enter_context(closing(_engine_of(options, say)))
        web = [
            stack.enter_context(closing(sink)) for sink in _web_of(options, engine, telemetry, stack, warn)
        ]
        for sink in web:
            say(f"web     {sink.address}")
        streams = [
            stream
            for stream in _streams_of(options, engine, telemetry, stop, warn)
            if stack.enter_context(closing(stream.source))
        ]
        say(f"model   {_describe(engine)}")
        say("\n".join(f"source  {stream.source.description}" for stream in streams))
        sinks = [stack.enter_context(closing(sink)) for sink in _sinks_of(options, streams, stop)]
        advance = stack.enter_context(progress("frames", _frame_count_of(streams)))
        start_s = time.monotonic()
        stopped_by = _run(options, streams, engine, [*web, *sinks], telemetry, stop, advance)
        wall_s = time.monotonic() - start_s
    frame_count = telemetry.counters.total("done")
    return RunSummary(
        engine=engine.description,
        contract=engine.contract,
        streams=[_summary_of(number, stream, telemetry) for number, stream in enumerate(streams)],
        frame_count=frame_count,
        wall_s=wall_s,
        stages=telemetry.percentiles(),
        outputs=[sink.description for sink in sinks] if frame_count else [],
        stopped_by=stopped_by,
    )


def _run(
    options: RunOptions,
    streams: list[Stream],
    engine: Model,
    sinks: list[Sink],
    telemetry: Telemetry,
    stop: StopRequest,
    advance: Callable[[], None],
) -> str | None:
    """Run the pipeline; say who ended it, if it did not end by itself."""
    find_regions = RegionTracker(options.regions) if options.regions else None
    renderer = Renderer(options.render)
    try:
        run_pipeline(streams, engine, sinks, renderer, telemetry, find_regions, stop.is_made, advance)
    except SinkClosedError as error:
        return str(error)
    return stop.signal.name if stop.signal else None


def _engine_of(options: RunOptions, say: Callable[[str], None]) -> Model:
    load = replace(
        options.load,
        throughput=options.policy in (None, ALL) and all(map(_is_file, options.sources)),
        inform=lambda line: say(f"proof   {line}"),
    )
    return load_model(options.model, options.precision, load)


def _is_file(source: str) -> bool:
    """Whether a source is a file, whose frames wait for the model."""
    try:
        return Path(source).exists()
    except (OSError, ValueError):
        return False


def _web_of(
    options: RunOptions,
    engine: Model,
    telemetry: Telemetry,
    stack: ExitStack,
    warn: Callable[[str], None],
) -> Iterator[WebSink]:
    """Open the web view, before the sources: it can say that they are awaited."""
    if options.web is None:
        return
    from ..web.view import open_web

    title = ", ".join(map(public_name, options.sources))
    compared = None
    if options.compare is not None:
        compared = stack.enter_context(
            closing(load_model(options.model, options.compare, replace(options.load, threads=1)))
        )
    yield open_web(options.web, telemetry, title=title, engine=engine, compare=compared, warn=warn)


def _streams_of(
    options: RunOptions,
    engine: Model,
    telemetry: Telemetry,
    stop: StopRequest,
    warn: Callable[[str], None],
) -> Iterator[Stream]:
    """Open the sources one by one, so that the caller can close those before one that fails."""
    map_filter = Smoother(options.smooth_s) if options.smooth_s else unchanged
    # Cameras scale to the network's size where nobody sees the whole frame.
    source_options = replace(options.source, scale_for=None if options.shows_frames else engine.contract)
    for number, text in enumerate(options.sources):
        journal = Journal(telemetry.counters, warn, stream=number)
        source = open_source(text, source_options, journal, stop.is_made)
        policy = options.policy or default_policy(source)
        yield Stream(source=source, journal=journal, policy=policy, map_filter=map_filter)


def _sinks_of(options: RunOptions, streams: list[Stream], stop: StopRequest) -> Iterator[Sink]:
    """Open the outputs one by one, so that the caller can close those before one that fails."""
    source = streams[0].source
    sink_options = replace(
        options.sinks,
        fps=options.sinks.fps or _taken_fps(source, options),
        live=any(stream.source.is_live for stream in streams),
        streams=len(streams),
    )
    yield from open_sinks(sink_options, stop.is_made)
    if options.qp_map is not None:
        options.check_qp_map(are_all_taken=streams[0].policy == ALL)
        yield open_qp_map(options.qp_map, fps=source.fps, options=options.qp)


def _taken_fps(source: Source, options: RunOptions) -> float | None:
    return source.fps / options.source.every if source.fps else None


def _frame_count_of(streams: list[Stream]) -> int | None:
    counts = [stream.source.frame_count for stream in streams]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _summary_of(number: int, stream: Stream, telemetry: Telemetry) -> StreamSummary:
    counts = {
        event: count for (event, place), count in telemetry.counters.snapshot().items() if place == number
    }
    return StreamSummary(source=stream.source.description, policy=str(stream.policy), counts=counts)


def _describe(engine: Model) -> str:
    (height, width), (map_height, map_width) = engine.contract.size_hw, engine.contract.map_size_hw
    return f"{engine.contract.network}, {width}x{height} to {map_width}x{map_height}, {engine.description}"


_WORDS: dict[Event, str] = {
    "dropped": "dropped",
    "late": "late",
    "lost": "times lost",
    "restarted": "times back",
    "frozen": "frozen",
    "clock_jumped": "clock jumps",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSummary:
    """What became of one source.

    Attributes:
        source: in words.
        policy: which of its frames were computed.
        counts: of each event that happened.
    """

    source: str
    policy: str
    counts: Mapping[Event, int]

    def to_text(self) -> str:
        """Give in a line what did not go smoothly; empty where all did."""
        found = [f"{self.counts[event]} {words}" for event, words in _WORDS.items() if self.counts.get(event)]
        of_all = f" of {self.counts.get('captured', 0)} frames" if self.counts.get("dropped") else ""
        return f"{', '.join(found)}{of_all} ({self.policy})" if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The end of a run.

    Attributes:
        engine: backend, device and precision.
        contract: of the model.
        streams: the sources, in the order given.
        frame_count: frames done.
        wall_s: from the first frame's reading to the last one's writing.
        stages: percentiles by stage; `age` is from a frame's capture until its result is written.
        outputs: what was written.
        stopped_by: name of the signal, or what a sink said, if one of them ended the run.
    """

    engine: str
    contract: Contract
    streams: Sequence[StreamSummary]
    frame_count: int
    wall_s: float
    stages: Mapping[Stage, Percentiles]
    outputs: Sequence[str]
    stopped_by: str | None

    @property
    def rate_fps(self) -> float:
        """Frames per second of wall time."""
        return self.frame_count / self.wall_s

    def to_json(self) -> dict[str, Any]:
        """Give all of it as plain JSON values."""
        return {**asdict(self), "rate_fps": self.rate_fps}

    def to_text(self) -> str:
        """Give it as a table of at most 80 columns, and a line for each output."""
        ending = f" (stopped: {self.stopped_by})" if self.stopped_by else ""
        lines = [f"frames  {self.frame_count} in {self.wall_s:.1f} s, {self.rate_fps:.2f} frames/s{ending}"]
        lines += [
            f"stream {number}: {text}"
            for number, stream in enumerate(self.streams)
            if (text := stream.to_text())
        ]
        if self.stages:
            lines += ["", f"{'stage':8}{'p50 ms':>10}{'p95 ms':>10}{'p99 ms':>10}"]
        for stage, cost in self.stages.items():
            lines.append(f"{stage:8}{cost.p50_ms:10.1f}{cost.p95_ms:10.1f}{cost.p99_ms:10.1f}")
        lines += ["", *(f"wrote   {output}" for output in self.outputs)] if self.outputs else []
        return "\n".join(lines)
