"""Opens the sinks that the options of a run name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from ...errors import UsageError
from ...frame import Result
from .async_sink import AsyncSink
from .jsonl import JsonLinesSink
from .maps import MapsFormat, MapSink
from .raw_pipe import PipeFormat, RawSink
from .sink import NullSink, Sink
from .video import RecordingSink, VideoSink
from .window import WindowSink


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """Where the results of a run go.

    Attributes:
        output: video of the rendered frames; with several sources one for each: `name-0.mp4`, `name-1.mp4`.
        fps: of that video and of y4m frames; None: as the source.
        save_maps: folder for maps; with several sources a folder in it for each: `0`, `1`.
        maps_format: of those.
        jsonl: lines of JSON; `-` is standard output.
        raw: uncompressed rendered frames to standard output, in this format.
        window: show the rendered frames on the screen.
        render_only: render the frames and forget them.
    """

    output: Path | None = None
    fps: float | None = None
    save_maps: Path | None = None
    maps_format: MapsFormat = "png16"
    jsonl: Path | None = None
    raw: PipeFormat | None = None
    window: bool = False
    render_only: bool = False

    def __post_init__(self) -> None:
        """Check the combination.

        Raises:
            UsageError: it cannot be.
        """
        if self.raw and self.jsonl == Path("-"):
            raise UsageError("raw frames and lines of JSON cannot both go to standard output. Give a file")

    @property
    def uses_stdout(self) -> bool:
        """Whether standard output carries results, so that messages go to standard error."""
        return self.raw is not None or self.jsonl == Path("-")


def video_path(output: Path, stream: int, stream_count: int) -> Path:
    """Path of a stream's video: `output`, with a number where there are several streams."""
    return output.with_stem(f"{output.stem}-{stream}") if stream_count > 1 else output


def maps_folder(folder: Path, stream: int, stream_count: int) -> Path:
    """Folder of a stream's maps: `folder`, or one in it where there are several streams."""
    return folder / str(stream) if stream_count > 1 else folder


def open_sinks(
    stack: ExitStack,
    options: SinkOptions,
    *,
    fps: float | None = None,
    is_live: bool = False,
    stream_count: int = 1,
    is_stopped: Callable[[], bool] = lambda: False,
) -> list[Sink]:
    """Open the sinks: those that write work in threads of their own, the window in the caller's.

    Args:
        stack: closes what was opened, also where a later sink cannot be.
        options: which sinks.
        fps: of a video and of y4m frames; None takes 25.
        is_live: the source does not wait: results that a slow sink has no room for are left out of it, and a
            video is a recording that can be played at any moment.
        stream_count: number of sources.
        is_stopped: once it says yes, no sink is waited for.

    Raises:
        UsageError: a name or a combination that cannot be.
        OutputError: something cannot be written or opened.
    """
    sinks: list[Sink] = []

    def add(sink: Sink) -> None:
        sinks.append(stack.enter_context(closing(sink)))

    def add_async(sink: Sink, *, has_reader: bool) -> None:
        add(AsyncSink(sink, is_live=is_live, is_stopped=is_stopped, has_reader=has_reader))

    for stream in range(stream_count):
        if options.output is not None:
            path = video_path(options.output, stream, stream_count)
            video = (RecordingSink if is_live else VideoSink)(path, fps=fps)
            add_async(_StreamSink(video, stream), has_reader=video.has_reader)
        if options.save_maps is not None:
            maps = MapSink(maps_folder(options.save_maps, stream, stream_count), options.maps_format)
            add_async(_StreamSink(maps, stream), has_reader=False)
    if options.jsonl is not None:
        lines = JsonLinesSink(options.jsonl, is_stopped)
        add_async(lines, has_reader=lines.has_reader)
    if options.raw is not None:
        add_async(RawSink(sys.stdout.fileno(), options.raw, fps=fps), has_reader=True)
    if options.window:
        for stream in range(stream_count):
            title = f"saliency-run-{stream}" if stream_count > 1 else "saliency-run"
            add(_StreamSink(WindowSink(title), stream))
    if options.render_only:
        add(NullSink())
    return sinks


class _StreamSink:
    """Lets only one source's results through."""

    def __init__(self, sink: Sink, stream: int) -> None:
        self._sink, self._stream = sink, stream
        self.description, self.shows_pictures = sink.description, sink.shows_pictures

    def write(self, result: Result) -> None:
        if result.saliency.frame.stream == self._stream:
            self._sink.write(result)

    def close(self) -> None:
        self._sink.close()
