"""Option values that several commands read the same way."""

from __future__ import annotations

import os
import re

from .errors import UsageError

MAX_SIDE = 4096
MAX_SEED = 2**32 - 1
"""Largest seed that NumPy's and PyTorch's generators both take."""
MAX_WORKERS = 256
_MOST_THREADS = 64


def check_threads(threads: int | None) -> int | None:
    """Check the number of threads of one inference; None leaves it to the backend.

    Raises:
        UsageError: no machine like this has use for so many.
    """
    cores = os.cpu_count() or 1
    most = max(_MOST_THREADS, cores)
    if threads is not None and threads > most:
        raise UsageError(f"--threads {threads}: this machine has {cores} cores. Give 1 to {most}")
    return threads


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside a range, NaN with them.

    Args:
        name: of the option.
        value: its value.
        low: smallest value that is taken.
        high: largest value that is taken.

    Raises:
        UsageError: the value lies outside.
    """
    if not low <= value <= high:
        raise UsageError(f"{name} {value}: expected a number from {low:g} to {high:g}")


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """Read a size such as `240x320`.

    Args:
        text: the option's value.
        option: its name, for errors.

    Returns:
        Height and width, in pixels.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"(\d{1,9})[xX](\d{1,9})", text)
    size_hw = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(0 < side <= MAX_SIDE for side in size_hw):
        raise UsageError(
            f"{option} {text}: expected HEIGHTxWIDTH in pixels, such as 240x320, up to {MAX_SIDE}"
        )
    return size_hw
