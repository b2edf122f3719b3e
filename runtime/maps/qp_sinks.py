"""QP offsets as files: an array for any encoder, or a filter graph for FFmpeg."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..artifact import PendingFile, atomic_file, check_writable, unwritable, write_json
from ..errors import InputError, UsageError
from ..video.frame import Result, SaliencyMap
from .ffmpeg_regions import Span, filter_graph
from .qp_map import BLOCK_PX, QpMapOptions, coarse_offsets, qp_offsets

ARRAY_SUFFIX = ".npy"
FILTER_SUFFIX = ".filter"

_FORMAT = 1
_SPAN_S = 0.5  # of a filter graph; people look at one place for about as long
_DEFAULT_FPS = 25.0


def open_qp_map(path: Path, *, fps: float | None, options: QpMapOptions) -> QpArraySink | FfmpegFilterSink:
    """Open a sink for QP offsets.

    Args:
        path: `.npy` for the array, with a `.json` beside it; `.filter` for a graph that FFmpeg reads.
        fps: of the source, where it is known.
        options: how saliency becomes offsets.

    Raises:
        UsageError: the suffix is neither.
        OutputError: the folder cannot be written.
    """
    if path.suffix == ARRAY_SUFFIX:
        return QpArraySink(path, fps=fps, options=options)
    if path.suffix == FILTER_SUFFIX:
        return FfmpegFilterSink(path, fps=fps, options=options)
    raise UsageError(f"--qp-map {path}: end it in {ARRAY_SUFFIX}, or in {FILTER_SUFFIX} for FFmpeg")


class QpArraySink:
    """The offsets as they are, int8 (frames, rows, columns), and beside them how to read them.

    Frames go to the disk one by one. NumPy leaves room in the header for the number of frames to grow, so it
    is written twice: at the start, and at the end when that number is known.
    """

    shows_pictures = False

    def __init__(self, path: Path, *, fps: float | None, options: QpMapOptions) -> None:
        """Make sure that both files can be written; see `open_qp_map`."""
        self.description = f"{path}, QP offsets"
        self._path, self._fps, self._options = path, fps, options
        self._frames = _FrameCheck()
        check_writable(path.with_suffix(".json"))
        self._pending = PendingFile(path)
        self._file = self._pending.path.open("wb")

    def write(self, result: Result) -> None:
        """Append one frame's offsets.

        Raises:
            InputError: the frame is of another size than the first one, or of a second source.
            OutputError: the disk is full.
        """
        is_first = self._frames.count == 0
        self._frames.add(result.saliency)
        offsets = qp_offsets(result.saliency, self._options)
        with _writing(self._path):
            if is_first:
                self._file.write(_npy_header(0, offsets.shape))
            self._file.write(offsets.tobytes())

    def close(self) -> None:
        """Finish the array and describe it; without a frame, leave no file."""
        try:
            with _writing(self._path), self._file:
                if self._frames.count:
                    self._file.seek(0)
                    self._file.write(_npy_header(self._frames.count, self._frames.grid))
            if self._frames.count:
                write_json(self._path.with_suffix(".json"), self._describe())
                self._pending.place()
        finally:
            self._pending.discard()

    def _describe(self) -> dict[str, object]:
        height, width = self._frames.size_hw
        return {
            "format": _FORMAT,
            "array": self._path.name,
            "axes": "frames, rows, columns",
            "unit": "QP, to be added to the encoder's own",
            "block_px": BLOCK_PX,
            "frame_height_px": height,
            "frame_width_px": width,
            "fps": self._fps,
            "strength_qp": self._options.strength,
        }


class FfmpegFilterSink:
    """The offsets as a filter graph, in spans of half a second and blocks of 32 pixels.

    `ffmpeg -i VIDEO -filter_complex_script FILE -map '[v]' -c:v libx264 ...`; from FFmpeg 7 on the option is
    spelled `-/filter_complex`. It looks through the whole graph for each frame: a minute of video is fine,
    five are too slow; see docs/adr/047-qp-maps.md.
    """

    shows_pictures = False

    def __init__(self, path: Path, *, fps: float | None, options: QpMapOptions) -> None:
        """Make sure that the file can be written; see `open_qp_map`."""
        self.description = f"{path}, QP offsets for ffmpeg"
        self._path, self._options = path, options
        self._frames = _FrameCheck()
        self._frames_per_span = max(1, round(_SPAN_S * (fps or _DEFAULT_FPS)))
        self._open: list[NDArray[np.int8]] = []
        self._spans: list[Span] = []
        check_writable(path)

    def write(self, result: Result) -> None:
        """Take one frame's offsets into the span at hand.

        Raises:
            InputError: the frame is of another size than the first one, or of a second source.
        """
        self._frames.add(result.saliency)
        self._open.append(qp_offsets(result.saliency, self._options))
        if len(self._open) == self._frames_per_span:
            self._end_span()

    def close(self) -> None:
        """Write the graph; without a frame, leave no file."""
        if self._open:
            self._end_span()
        if self._spans:
            with atomic_file(self._path) as temporary:
                temporary.write_text(filter_graph(self._spans, self._frames.size_hw), encoding="utf-8")

    def _end_span(self) -> None:
        self._spans.append(Span(len(self._open), coarse_offsets(self._open)))
        self._open = []


class _FrameCheck:
    """Counts frames, and sees to it that one grid of blocks holds for all of them."""

    def __init__(self) -> None:
        self.count = 0
        self.size_hw = (0, 0)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return -(-self.size_hw[0] // BLOCK_PX), -(-self.size_hw[1] // BLOCK_PX)

    def add(self, saliency: SaliencyMap) -> None:
        frame = saliency.frame
        if frame.stream != 0:
            raise InputError("--qp-map takes one source. Give each source a run of its own")
        if self.count and frame.size_hw != self.size_hw:
            sizes = " and ".join(f"{width}x{height}" for height, width in (self.size_hw, frame.size_hw))
            raise InputError(f"--qp-map needs frames of one size; {frame.name} changes it: {sizes}")
        self.size_hw = frame.size_hw
        self.count += 1


def _npy_header(frame_count: int, grid: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    fields = {"descr": "|i1", "fortran_order": False, "shape": (frame_count, *grid)}
    np.lib.format.write_array_header_1_0(header, fields)  # type: ignore[no-untyped-call]
    return header.getvalue()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say which file a failure of the disk is about."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error
