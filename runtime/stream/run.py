"""The whole job of `saliency-run`: opens the model, the sources and the sinks, runs the pipeline, sums up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..backends.select import load_model
from ..console import StopRequest
from ..contract import Contract
from ..errors import UsageError
from ..progress import progress
from ..public_text import public_name
from ..telemetry import Event, EventLog, Percentiles, Stage, Telemetry
from ..web.view import open_web
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


def run_sources(
    options: RunOptions, stop: StopRequest, say: Callable[[str], None], warn: Callable[[str], None]
) -> RunSummary:
    """Take one or more sources through a model into files, a window, a pipe or a browser.

    Args:
        options: what is asked for.
        stop: once it is made, the run ends after the frame in work; what was written until then is whole.
        say: prints a line about what was opened.
        warn: prints a line about what failed and goes on; any thread may call it.

    Raises:
        SaliencyError: something cannot be opened, read, computed or written.
    """
    check_outputs(options)
    telemetry = Telemetry()
    with ExitStack() as stack:
        load = replace(
            options.load,
            throughput=options.policy in (None, ALL) and all(map(_is_file, options.sources)),
            inform=lambda line: say(f"proof   {line}"),
        )
        model = stack.enter_context(closing(load_model(options.model, options.precision, load)))
        sinks: list[Sink] = []
        if options.web is not None:  # before the sources: it can say that they are awaited
            compared = None
            if options.compare is not None:
                load_compared = replace(options.load, threads=1)
                compared = load_model(options.model, options.compare, load_compared)
                stack.enter_context(closing(compared))
            title = ", ".join(map(public_name, options.sources))
            web = open_web(options.web, telemetry, title=title, engine=model, compare=compared, warn=warn)
            sinks.append(stack.enter_context(closing(web)))
            say(f"web     {web.address}")

        streams: list[Stream] = []
        map_filter = Smoother(options.smooth_s) if options.smooth_s else unchanged
        scale_for = None if options.shows_frames else model.contract  # cameras can scale where nobody looks
        for number, name in enumerate(options.sources):
            events = EventLog(telemetry.counters, warn, stream=number)
            source = open_source(name, options.source, events, stop.is_made, scale_for)
            stack.enter_context(closing(source))
            policy = options.policy or default_policy(source)
            streams.append(Stream(source=source, events=events, policy=policy, map_filter=map_filter))
        (height, width), (map_height, map_width) = model.contract.size_hw, model.contract.map_size_hw
        size = f"{width}x{height} to {map_width}x{map_height}"
        say(f"model   {model.contract.network}, {size}, {model.description}")
        say("\n".join(f"source  {stream.source.description}" for stream in streams))

        first = streams[0]
        files = open_sinks(
            stack,
            options.sinks,
            fps=options.sinks.fps or (first.source.fps / options.source.every if first.source.fps else None),
            is_live=any(stream.source.is_live for stream in streams),
            stream_count=len(streams),
            is_stopped=stop.is_made,
        )
        if options.qp_map is not None:
            if options.source.every > 1 or first.policy != ALL:  # an encoder needs one for each of its frames
                raise UsageError("--qp-map needs every frame: take --policy all, and no --every")
            qp_map = open_qp_map(options.qp_map, fps=first.source.fps, options=options.qp)
            files.append(stack.enter_context(closing(qp_map)))
        sinks += files

        counts = [stream.source.frame_count for stream in streams]
        known = [count for count in counts if count is not None]
        advance = stack.enter_context(progress("frames", sum(known) if len(known) == len(counts) else None))
        find_regions = RegionTracker(options.regions) if options.regions else None
        start_s = time.monotonic()
        try:
            run_pipeline(
                streams,
                model,
                sinks,
                Renderer(options.render),
                telemetry,
                find_regions=find_regions,
                is_stopped=stop.is_made,
                on_frame=advance,
            )
            stopped_by = stop.signal.name if stop.signal else None
        except SinkClosedError as error:
            stopped_by = str(error)
        wall_s = time.monotonic() - start_s
    frame_count = telemetry.counters.total("done")
    return RunSummary(
        engine=model.description,
        contract=model.contract,
        streams=[
            StreamSummary(
                source=stream.source.description,
                policy=str(stream.policy),
                counts=telemetry.counters.of_stream(number),
            )
            for number, stream in enumerate(streams)
        ],
        frame_count=frame_count,
        wall_s=wall_s,
        stages=telemetry.percentiles(),
        outputs=[sink.description for sink in files] if frame_count else [],
        stopped_by=stopped_by,
    )


def _is_file(source: str) -> bool:
    """Whether a source is a file, whose frames wait for the model."""
    try:
        return Path(source).exists()
    except (OSError, ValueError):
        return False


_WORDS: dict[Event, str] = {
    "dropped": "dropped",
    "late": "late",
    "lost": "connection losses",
    "restarted": "reconnections",
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
        """One line on what did not go smoothly; empty where all did."""
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
        """All of it as plain JSON values."""
        return {**asdict(self), "rate_fps": self.rate_fps}

    def to_text(self) -> str:
        """A table of at most 80 columns, and a line for each output."""
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
