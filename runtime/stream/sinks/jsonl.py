"""Results as lines of JSON, for other programs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...artifact import check_writable, is_special, open_in_place, unwritable
from ...frame import Result, SaliencyMap
from .sink import SinkClosedError

_STDOUT = Path("-")
_DIGITS = 6


class JsonLinesSink:
    """One line for each result, written at once: what is there can be read however the run ends."""

    shows_pictures = False

    def __init__(self, path: Path, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """Open the file, an old one is emptied; `-` is standard output, a FIFO waits for its reader.

        Args:
            path: of the file.
            is_stopped: once it says yes, the FIFO's reader is not waited for.

        Raises:
            OutputError: it cannot be written.
        """
        self.description = "lines of JSON to standard output" if path == _STDOUT else str(path)
        self._path, self._file = path, _open(path, is_stopped)
        self.has_reader = path == _STDOUT or is_special(path)
        self._unix_s = time.time() - time.monotonic()  # of the clock that captures are timed by

    def write(self, result: Result) -> None:
        """Write one line.

        Raises:
            OutputError: the disk is full; the lines before it are whole.
            SinkClosedError: the reader of standard output has gone.
        """
        line = json.dumps(_line_of(result, self._unix_s), separators=(",", ":")) + "\n"
        try:
            self._write(line.encode())
        except BrokenPipeError:
            raise SinkClosedError("the reader of the lines of JSON has gone") from None
        except OSError as error:
            raise unwritable(self._path, error) from error

    def close(self) -> None:
        """Close the file."""
        if self._path != _STDOUT:
            self._file.close()

    def _write(self, line: bytes) -> None:
        """Write a line, or on a full disk, nothing of it."""
        written = 0
        try:
            while written < len(line):
                written += os.write(self._file.fileno(), line[written:])
        except OSError:
            if written and not self.has_reader:
                self._file.truncate(os.lseek(self._file.fileno(), 0, os.SEEK_CUR) - written)
            raise


def _open(path: Path, is_stopped: Callable[[], bool]) -> BinaryIO:
    if path == _STDOUT:
        return sys.stdout.buffer
    check_writable(path)
    if not is_special(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return open_in_place(path, is_stopped)


def _line_of(result: Result, unix_s: float) -> dict[str, Any]:
    """Numbers of a result by name; names say units, and pixels are the frame's."""
    saliency = result.saliency
    frame = saliency.frame
    line = {
        "frame": frame.index,
        "name": frame.name,
        "stream": frame.stream,
        "timestamp_s": frame.timestamp_s,
        "captured_unix_s": unix_s + frame.captured_s,
        "age_s": result.age_s,
        "dropped": saliency.dropped,
        **asdict(statistics_of(saliency)),
        "regions": [asdict(region) for region in result.regions],
    }
    return {name: _rounded(value) for name, value in line.items()}


def _rounded(value: Any) -> Any:
    """Round all numbers inside to six digits after the point: microseconds, and far below a pixel."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, tuple | list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class MapStatistics:
    """What a map says, in a few numbers. Pixels are the frame's; its left upper corner is (0, 0).

    Attributes:
        peak: largest value, 0 to 1.
        peak_xy_px: centre of the cell that has it, the first one in reading order where several do.
        mean: of all cells, 0 to 1.
        entropy_bits: -sum(p log2 p) of the map p that is scaled to sum 1; 0 where all lies in one cell, log2
            of the number of cells where nothing stands out. That is the value of a map of zeros too.
        centroid_xy_px: centre of mass; the frame's centre for a map of zeros.
    """

    peak: float
    peak_xy_px: tuple[float, float]
    mean: float
    entropy_bits: float
    centroid_xy_px: tuple[float, float]


def statistics_of(saliency: SaliencyMap) -> MapStatistics:
    """Compute a map's statistics; its values are 0 to 1, and finite."""
    values = saliency.values.astype(np.float64)
    rows, columns = values.shape
    total = values.sum()
    density = values / total if total > 0 else np.full_like(values, 1 / values.size)
    peak_row, peak_column = divmod(int(values.argmax()), columns)
    mean_row = float(density.sum(axis=1) @ np.arange(rows))
    mean_column = float(density.sum(axis=0) @ np.arange(columns))
    occupied = density[density > 0]
    return MapStatistics(
        peak=float(values[peak_row, peak_column]),
        peak_xy_px=_pixel_of(saliency, peak_row, peak_column),
        mean=float(values.mean()),
        entropy_bits=float(-(occupied * np.log2(occupied)).sum()) + 0.0,
        centroid_xy_px=_pixel_of(saliency, mean_row, mean_column),
    )


def _pixel_of(saliency: SaliencyMap, row: float, column: float) -> tuple[float, float]:
    """Place in the frame, (x, y) in pixels, of a place in the map in cells; 0 is a cell's centre."""
    (height, width), (rows, columns) = saliency.frame.size_hw, saliency.values.shape
    return (column + 0.5) * width / columns, (row + 0.5) * height / rows
