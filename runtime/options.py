"""Option values that several commands read the same way."""

from __future__ import annotations

import re

from .errors import UsageError


def parse_size(text: str) -> tuple[int, int]:
    """Read a size such as `240x320`.

    Returns:
        Height and width, in pixels.

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", text)
    if match is None:
        raise UsageError(f"size {text!r}: expected HEIGHTxWIDTH in pixels, such as 240x320")
    return int(match[1]), int(match[2])
