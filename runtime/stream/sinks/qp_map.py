"""Saliency for a video encoder: QP offsets for each macroblock, more bits where people look.

In H.264 and H.265 a QP that is 6 higher doubles the quantiser's step, and about halves a block's bits. A
block of saliency s, 0 to 1, gets the offset

    6 log2(mean(2^(strength s / 6))) - strength s

whose first part is one number for the whole frame: it keeps the frame's bits where they were even before.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...artifact import PendingFile, atomic_file, check_writable, unwritable, write_json
from ...errors import InputError, UsageError
from ...frame import Result, SaliencyMap

BLOCK_PX = 16  # a macroblock's side in H.264, and the unit that FFmpeg gives x264 its regions in
LARGEST_STRENGTH = 24.0

_QP_FOR_HALF_THE_BITS = 6.0
_COARSE_STEP_QP = 4  # of --qp-map's filter: as good as 2 where people look, with a quarter of the rectangles


@dataclass(frozen=True, slots=True, kw_only=True)
class QpMapOptions:
    """How saliency becomes QP offsets.

    Attributes:
        strength: how many QP lie between a block of saliency 0 and one of saliency 1, above 0 to 24.
    """

    strength: float = 10.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: one of them cannot be.
        """
        if not 0 < self.strength <= LARGEST_STRENGTH:
            raise UsageError(f"QP strength is {self.strength}, expected above 0 to {LARGEST_STRENGTH:.0f}")


def qp_offsets(saliency: SaliencyMap, options: QpMapOptions) -> NDArray[np.int8]:
    """Compute the offsets of one frame's macroblocks.

    Returns:
        (rows, columns), to be added to the encoder's QP; below 0 where people look. The blocks of the last
        row and column may reach beyond the frame.
    """
    values = np.clip(_values_at_blocks(saliency), 0.0, 1.0).astype(np.float64)
    gains = options.strength * values
    level = _QP_FOR_HALF_THE_BITS * math.log2(np.exp2(gains / _QP_FOR_HALF_THE_BITS).mean())
    return np.rint(level - gains).astype(np.int8)


def coarse_offsets(frames: Sequence[NDArray[np.int8]]) -> NDArray[np.int8]:
    """Average the offsets of some frames, and of four blocks each: little is lost, and few rectangles remain.

    Args:
        frames: each (rows, columns).

    Returns:
        (rows, columns) in steps of 4 QP.
    """
    mean: NDArray[np.float64] = np.mean(frames, axis=0)
    rows, columns = mean.shape
    padded = np.pad(mean, ((0, rows % 2), (0, columns % 2)), mode="edge")
    fours = padded.reshape(len(padded) // 2, 2, -1, 2).mean(axis=(1, 3))
    steps = (np.rint(fours / _COARSE_STEP_QP) * _COARSE_STEP_QP).astype(np.int8)
    blocks: NDArray[np.int8] = steps.repeat(2, axis=0).repeat(2, axis=1)[:rows, :columns]
    return blocks


def _values_at_blocks(saliency: SaliencyMap) -> NDArray[np.float32]:
    """Map at the blocks' centres, bilinearly between the centres of its cells."""
    (height, width), (map_height, map_width) = saliency.frame.size_hw, saliency.values.shape
    columns, rows = (
        _cells_at_blocks(length, cells) for length, cells in ((width, map_width), (height, map_height))
    )
    grid_x, grid_y = np.meshgrid(columns, rows)
    found = cv2.remap(saliency.values, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.astype(np.float32, copy=False)


def _cells_at_blocks(length_px: int, cells: int) -> NDArray[np.float32]:
    """Centres of the blocks along one side of the frame, in cells of the map."""
    centres_px = (np.arange(-(-length_px // BLOCK_PX)) + 0.5) * BLOCK_PX
    return (centres_px * cells / length_px - 0.5).astype(np.float32)


_QP_RANGE = 51


@dataclass(frozen=True, slots=True)
class Span:
    """Some frames that share their offsets.

    Attributes:
        frame_count: how many.
        offsets: (rows, columns) in QP.
    """

    frame_count: int
    offsets: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class _Rectangle:
    """Blocks of one offset."""

    left: int
    top: int
    columns: int
    rows: int
    offset: int

    def to_filter(self, frame_hw: tuple[int, int]) -> str:
        """The `addroi` filter for it, in pixels, without what reaches beyond the frame."""
        x, y = self.left * BLOCK_PX, self.top * BLOCK_PX
        width = min(self.columns * BLOCK_PX, frame_hw[1] - x)
        height = min(self.rows * BLOCK_PX, frame_hw[0] - y)
        return f"addroi={x}:{y}:{width}:{height}:{self.offset}/{_QP_RANGE}"


def filter_graph(spans: Sequence[Span], frame_hw: tuple[int, int]) -> str:
    """Write the graph from FFmpeg's first input to the output `[v]`.

    Args:
        spans: of the whole video, in order, one at least; the last one holds to the video's end.
        frame_hw: height and width of the video, in pixels.
    """
    count = len(spans)
    labels = "".join(f"[i{index}]" for index in range(count))
    outputs = "".join(f"[o{index}]" for index in range(count))
    lines = [f"[0:v]split={count}{labels}", *_span_lines(spans, frame_hw), f"{outputs}concat=n={count}[v]"]
    return ";\n".join(lines) + "\n"


def _span_lines(spans: Sequence[Span], frame_hw: tuple[int, int]) -> Iterator[str]:
    start = 0
    for index, span in enumerate(spans):
        end = start + span.frame_count
        limits = f"start_frame={start}" + (f":end_frame={end}" if index < len(spans) - 1 else "")
        filters = [f"trim={limits}", "setpts=PTS-STARTPTS"]
        filters += [rectangle.to_filter(frame_hw) for rectangle in _rectangles(span.offsets)]
        yield f"[i{index}]{','.join(filters)}[o{index}]"
        start = end


def _rectangles(offsets: NDArray[np.int8]) -> Iterator[_Rectangle]:
    """Cover all blocks whose offset is not 0, each by one rectangle, in reading order."""
    left_over = offsets.copy()
    while left_over.any():
        row, column = (int(axis[0]) for axis in np.nonzero(left_over))
        offset = left_over[row, column]
        columns = _run_length(left_over[row, column:] == offset)
        rows = _run_length((left_over[row:, column : column + columns] == offset).all(axis=1))
        left_over[row : row + rows, column : column + columns] = 0
        yield _Rectangle(column, row, columns, rows, int(offset))


def _run_length(same: NDArray[np.bool_]) -> int:
    """Count the leading blocks that are the same."""
    return int(same.argmin()) if not same.all() else len(same)


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
        """Take one frame's offsets into the current span.

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
