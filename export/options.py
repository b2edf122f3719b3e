"""The text of command-line options, understood."""

from __future__ import annotations

import re

from ..runtime.contract import Precision
from ..runtime.errors import UsageError

DEFAULT_OPSET = 19
"""The lowest one with fp16 scales of Q/DQ nodes; TensorRT 10.3, the oldest supported, reads up to 20."""
OPSETS = range(18, 24)
MAX_BATCH = 64


def parse_batch(text: str) -> tuple[int, int]:
    """Read `4` or `1-8` as the smallest and the largest number of frames at once.

    Raises:
        UsageError: it is no batch.
    """
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    smallest, largest = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 0 < smallest <= largest <= MAX_BATCH:
        raise UsageError(
            f"--batch {text}: expected a number such as 1, or a range such as 1-8, up to {MAX_BATCH}"
        )
    return smallest, largest


def parse_targets(text: str | None) -> tuple[str, ...]:
    """Read `sm86,sm120`."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def check_opset(opset: int) -> int:
    """Give the opset back.

    Raises:
        UsageError: it is none that is supported.
    """
    if opset not in OPSETS:
        raise UsageError(
            f"opset {opset}: choose one from {OPSETS[0]} to {OPSETS[-1]}; {DEFAULT_OPSET} fits everywhere"
        )
    return opset


def asked_precisions(*, fp32: bool, fp16: bool, int8: bool) -> tuple[Precision, ...]:
    """Give the precisions that were asked for; fp16 where none was.

    Raises:
        UsageError: int8 was asked for.
    """
    if int8:
        raise UsageError("--int8 does not exist yet: this version makes fp32 and fp16. Leave it out")
    asked: list[Precision] = []
    if fp32:
        asked.append("fp32")
    if fp16 or not fp32:
        asked.append("fp16")
    return tuple(asked)
