"""Option values of `saliency-bench`, read and checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..contract import PRECISIONS, Precision
from ..errors import UsageError
from .startup import ModelChoice


def parse_tolerance(text: str) -> float:
    """Read `10%` or `0.1` as 0.1.

    Raises:
        UsageError: it is neither, or not above 0.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text.strip())
    tolerance = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    if not 0 < tolerance <= 1:
        raise UsageError(f"--tolerance {text}: expected a part such as 10% or 0.1")
    return tolerance


def parse_batches(text: str) -> tuple[int, ...]:
    """Read `1,4,8`.

    Raises:
        UsageError: it is no such list.
    """
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise UsageError(f"--batch {text}: expected counts of frames, such as 1 or 1,4,8")
    return tuple(int(part) for part in text.split(","))


def parse_precisions(text: str) -> tuple[Precision, ...]:
    """Read `fp32,int8`.

    Raises:
        UsageError: one of them is no precision.
    """
    asked = text.split(",")
    unknown = [part for part in asked if part not in PRECISIONS]
    if unknown:
        raise UsageError(f"--precision {unknown[0]}: expected some of {', '.join(PRECISIONS)}, with commas")
    return tuple(precision for precision in PRECISIONS if precision in asked)


def choices_of(
    models: Sequence[Path], precisions: Sequence[Precision], threads: int | None
) -> list[ModelChoice]:
    """Pair each bundle with each precision; a file has one of its own."""
    return [
        ModelChoice(path=model, precision=precision, threads=threads)
        for model in models
        for precision in (precisions if precisions and _is_bundle(model) else [None])
    ]


def _is_bundle(path: Path) -> bool:
    return path.is_dir() or path.suffix == ".zip"
