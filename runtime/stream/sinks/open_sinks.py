"""From what the user asks for to the sinks of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...errors import UsageError
from ...frame import Result
from .async_sink import Behind
from .jsonl import JsonLinesSink
from .maps import MapsFormat, MapSink
from .raw_pipe import RawFormat, RawSink
from .sink import NullSink, Sink
from .video import RecordingSink, VideoSink
from .window import WindowSink


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """Where the results of a run go.

    Attributes:
        output: video of the pictures; with several sources one for each: `name-0.mp4`, `name-1.mp4`.
        fps: of that video and of y4m frames.
        save_maps: folder for maps; with several sources a folder in it for each: `0`, `1`.
        maps_format: of those.
        jsonl: lines of JSON; `-` is standard output.
        raw: uncompressed pictures to standard output, in this format.
        window: show the pictures on the screen.
        render_only: render the pictures and forget them.
        live: the source does not wait: results that a slow sink has no room for are left out of it, and a
            video is a recording that can be played at any moment.
        streams: how many sources there are.
    """

    output: Path | None = None
    fps: float | None = None
    save_maps: Path | None = None
    maps_format: MapsFormat = "png16"
    jsonl: Path | None = None
    raw: RawFormat | None = None
    window: bool = False
    render_only: bool = False
    live: bool = False
    streams: int = 1

    def __post_init__(self) -> None:
        """Check the combination.

        Raises:
            UsageError: it cannot be.
        """
        if self.raw and self.jsonl == Path("-"):
            raise UsageError("raw frames and lines of JSON cannot both go to standard output. Give a file")
        if self.raw and self.streams > 1:
            raise UsageError(f"raw frames are of one source, found {self.streams}. Start one run for each")

    def video_path(self, output: Path, stream: int) -> Path:
        """Name the video of a stream: `output`, with a number where there are several."""
        return output.with_stem(f"{output.stem}-{stream}") if self.streams > 1 else output

    def maps_folder(self, folder: Path, stream: int) -> Path:
        """Name the folder of a stream's maps: `folder`, or one in it where there are several."""
        return folder / str(stream) if self.streams > 1 else folder

    @property
    def uses_stdout(self) -> bool:
        """Whether standard output carries results, so that what is for people goes to standard error."""
        return self.raw is not None or self.jsonl == Path("-")


def open_sinks(options: SinkOptions, is_stopped: Callable[[], bool]) -> Iterator[Sink]:
    """Open the sinks one by one, so that the caller can close those before one that fails.

    Those that write work in threads of their own; the window belongs to the thread that calls `write`.

    Args:
        options: what is asked for.
        is_stopped: once it says yes, no sink is waited for.

    Raises:
        UsageError: a name or a combination that cannot be.
        OutputError: something cannot be written or opened.
    """
    for sink in _writing_sinks(options, is_stopped):
        yield Behind(sink, live=options.live, is_stopped=is_stopped, has_reader=sink.has_reader)
    if options.window:
        for stream in range(options.streams):
            title = f"saliency-run-{stream}" if options.streams > 1 else "saliency-run"
            yield _StreamSink(WindowSink(title), stream)
    if options.render_only:
        yield NullSink()


class _WritingSink(Sink, Protocol):
    """A sink that works in a thread of its own."""

    has_reader: bool
    """Whether somebody at the other end can hold it up for ever."""


def _writing_sinks(options: SinkOptions, is_stopped: Callable[[], bool]) -> Iterator[_WritingSink]:
    video = RecordingSink if options.live else VideoSink
    for stream in range(options.streams):
        if options.output is not None:
            path = options.video_path(options.output, stream)
            yield _StreamSink(video(path, fps=options.fps), stream)
        if options.save_maps is not None:
            folder = options.maps_folder(options.save_maps, stream)
            yield _StreamSink(MapSink(folder, options.maps_format), stream)
    if options.jsonl is not None:
        yield JsonLinesSink(options.jsonl, is_stopped)
    if options.raw is not None:
        yield RawSink(sys.stdout.fileno(), options.raw, fps=options.fps)


class _StreamSink:
    """Lets only one source's results through."""

    def __init__(self, sink: Sink, stream: int) -> None:
        self._sink, self._stream = sink, stream
        self.description, self.shows_pictures = sink.description, sink.shows_pictures
        self.has_reader: bool = getattr(sink, "has_reader", False)

    def write(self, result: Result) -> None:
        if result.saliency.frame.stream == self._stream:
            self._sink.write(result)

    def close(self) -> None:
        self._sink.close()
