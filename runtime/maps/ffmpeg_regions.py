"""QP offsets as a filter graph that FFmpeg reads from a file, for libx264 and libx265.

FFmpeg has no file format for a QP map, and its `addroi` filter neither changes with time nor takes commands.
But it may stand in a graph as often as one likes: the video is split into spans of some frames, each gets the
rectangles of its own offsets, and `concat` joins them again. The first rectangle that covers a block holds,
and libx264 and libx265 multiply `qoffset` by 51, the range of QP at 8 bits. Sources:
ffmpeg.org/ffmpeg-filters.html#addroi, AVRegionOfInterest in libavutil/frame.h, libavcodec/libx264.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .qp_map import BLOCK_PX

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
        """Give it in pixels, without what reaches beyond the frame."""
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
