"""Option values that several commands read the same way."""

from __future__ import annotations

import re

from .errors import UsageError

MAX_SIDE = 4096


def parse_size(text: str) -> tuple[int, int]:
    """Read a size such as `240x320`.

    Returns:
        Height and width, in pixels.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"(\d+)[xX](\d+)", text)
    size_hw = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(0 < side <= MAX_SIDE for side in size_hw):
        raise UsageError(f"--size {text}: expected HEIGHTxWIDTH in pixels, such as 240x320, up to {MAX_SIDE}")
    return size_hw
