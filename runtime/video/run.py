"""The whole job of `saliency-run`: from names to files, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from ..console import StopRequest
from ..contract import Precision
from ..engines.engine import Engine
from ..engines.load import load_engine
from ..progress import progress
from ..telemetry import Telemetry
from .pipeline import run_pipeline
from .render import Renderer, RenderOptions
from .sinks import MapsFormat, MapSink, Sink, VideoSink
from .sources import Source, SourceOptions, open_source
from .stream import Stream
from .summary import RunSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What `saliency-run` is asked for.

    Attributes:
        model: a bundle, an `.onnx`, an `.engine` or a `.safetensors`.
        source: a video file, a folder of images, an image or a glob.
        precision: which model of a bundle; `None`: fp16 where there is one.
        threads: that compute one inference on the CPU; `None`: one for each core.
        output: overlay video, if one is wanted.
        fps: of that video; `None`: so that it lasts as long as the source.
        render: how maps are shown in it.
        save_maps: folder for maps, if they are wanted.
        maps_format: of those.
        every: take one frame in so many.
        max_frames: end after so many.
    """

    model: Path
    source: str
    precision: Precision | None = None
    threads: int | None = None
    output: Path | None = None
    fps: float | None = None
    render: RenderOptions = field(default_factory=RenderOptions)
    save_maps: Path | None = None
    maps_format: MapsFormat = "png16"
    every: int = 1
    max_frames: int | None = None


def run_to_files(options: RunOptions, stop: StopRequest, say: Callable[[str], None]) -> RunSummary:
    """Take a source through a model into files.

    Args:
        options: what is asked for.
        stop: once it is made, the run ends after the frame at hand; what was written until then is whole.
        say: prints a line about what was opened.

    Raises:
        SaliencyError: something cannot be opened, read, computed or written.
    """
    telemetry = Telemetry()
    with ExitStack() as stack:
        source = stack.enter_context(closing(_source_of(options)))
        sinks = [stack.enter_context(closing(sink)) for sink in _sinks_of(options, source)]
        engine = stack.enter_context(
            closing(load_engine(options.model, options.precision, threads=options.threads))
        )
        say(f"model   {_describe(engine)}\nsource  {source.description}")
        advance = stack.enter_context(progress("frames", source.frame_count))
        start_s = time.monotonic()
        frame_count = run_pipeline(
            [Stream.of(source, telemetry.counters)],
            engine,
            sinks,
            Renderer(options.render),
            telemetry,
            stop.is_made,
            advance,
        )
        wall_s = time.monotonic() - start_s
    return RunSummary(
        engine=engine.description,
        contract=engine.contract,
        source=source.description,
        frame_count=frame_count,
        wall_s=wall_s,
        stages=telemetry.percentiles(),
        outputs=[sink.description for sink in sinks] if frame_count else [],
        stopped_by=stop.signal.name if stop.signal else None,
    )


def _source_of(options: RunOptions) -> Source:
    return open_source(options.source, SourceOptions(every=options.every, max_frames=options.max_frames))


def _sinks_of(options: RunOptions, source: Source) -> Iterator[Sink]:
    """Open the outputs one by one, so that the caller can close those before one that fails."""
    if options.output is not None:
        source_fps = source.fps / options.every if source.fps else None
        yield VideoSink(options.output, fps=options.fps or source_fps)
    if options.save_maps is not None:
        yield MapSink(options.save_maps, options.maps_format)


def _describe(engine: Engine) -> str:
    (height, width), (map_height, map_width) = engine.contract.size_hw, engine.contract.map_size_hw
    return f"{engine.contract.network}, {width}x{height} to {map_width}x{map_height}, {engine.description}"
