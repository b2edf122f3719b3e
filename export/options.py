"""The text of command-line options, understood."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.contract import Precision
from ..runtime.errors import UsageError
from ..runtime.options import check_range

if TYPE_CHECKING:
    from .int8.options import Int8Options

DEFAULT_OPSET = 19
"""The lowest one with fp16 scales of Q/DQ nodes; TensorRT 10.3, the oldest supported, reads up to 20."""
OPSETS = range(18, 24)
MAX_BATCH = 64
MAX_KLDIV = 1000.0
MAX_BUDGET = (4096, 100_000)
"""Most frames that a layer is tried on, and most sets of layers that are tried."""


def parse_batch(text: str) -> tuple[int, int]:
    """Read `4` or `1-8` as the smallest and the largest number of frames at once.

    Raises:
        UsageError: it is no batch.
    """
    found = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", text)
    smallest, largest = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 0 < smallest <= largest <= MAX_BATCH:
        raise UsageError(
            f"--batch {text}: expected a number such as 1, or a range such as 1-8, up to {MAX_BATCH}"
        )
    return smallest, largest


def parse_targets(text: str | None) -> tuple[str, ...]:
    """Read `sm86,sm120`.

    Raises:
        UsageError: the text names none.
    """
    if text is None:
        return ()
    targets = tuple(part.strip() for part in text.split(",") if part.strip())
    if not targets:
        raise UsageError(f"--target {text!r}: expected GPUs such as sm86 or sm86,sm120")
    return targets


def check_opset(opset: int) -> int:
    """Give the opset back.

    Raises:
        UsageError: it is none that is supported.
    """
    if opset not in OPSETS:
        raise UsageError(
            f"--opset {opset}: choose one from {OPSETS[0]} to {OPSETS[-1]}; {DEFAULT_OPSET} fits everywhere"
        )
    return opset


def asked_precisions(*, fp32: bool, fp16: bool, int8: bool) -> tuple[Precision, ...]:
    """Give the precisions that were asked for; fp16 where none was."""
    asked: dict[Precision, bool] = {"fp32": fp32, "fp16": fp16 or not (fp32 or int8), "int8": int8}
    return tuple(precision for precision, is_asked in asked.items() if is_asked)


def parse_limits(name: str, text: str, largest: float) -> tuple[float, float]:
    """Read a limit on the mean and one on the worst frame: `0.998,0.99`; one number is for both.

    Args:
        name: of the option.
        text: its value.
        largest: value that the figure can take; a limit lies between 0 and it.

    Raises:
        UsageError: it is no limit.
    """
    parts = text.split(",")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(0 <= value <= largest for value in values):
        raise UsageError(
            f"{name} {text}: expected MEAN,WORST such as 0.998,0.99, or one number for both, "
            f"from 0 to {largest:g}"
        )
    return values[0], values[-1]


def parse_budget(text: str) -> tuple[int, int]:
    """Read `4,24`: frames that each layer is tried on, and sets of layers that are tried at most.

    Raises:
        UsageError: it is no budget.
    """
    found = re.fullmatch(r"(\d{1,9}),(\d{1,9})", text)
    frames, sets = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (0 < frames <= MAX_BUDGET[0] and 0 < sets <= MAX_BUDGET[1]):
        raise UsageError(
            f"--search-budget {text}: expected FRAMES,SETS, both from 1 on, such as 4,24, "
            f"up to {MAX_BUDGET[0]},{MAX_BUDGET[1]}"
        )
    return frames, sets


def refuse_given(options: Mapping[str, object], why: str) -> None:
    """Refuse options that are given where they say nothing.

    Raises:
        UsageError: one of them is given.
    """
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"--{name} {why}")


def int8_options(
    calib: Path | None,
    ranges: Path | None,
    min_cc: str | None,
    max_kld: str | None,
    max_peak_shift: float | None,
    search_budget: str | None,
) -> Int8Options:
    """Put the options' own values in the place of the defaults.

    Raises:
        UsageError: a value cannot be read, or two sources of ranges are given.
    """
    from .int8.options import Int8Options, SearchBudget
    from .int8.results import GateLimits

    if calib is not None and ranges is not None:
        raise UsageError("--calib makes ranges of its own, and --ranges brings others. Give one of them")
    limits, budget = GateLimits(), SearchBudget()
    if min_cc is not None:
        mean, worst = parse_limits("--min-cc", min_cc, 1)
        limits = replace(limits, cc_mean=mean, cc_worst=worst)
    if max_kld is not None:
        mean, worst = parse_limits("--max-kld", max_kld, MAX_KLDIV)
        limits = replace(limits, kldiv_mean=mean, kldiv_worst=worst)
    if max_peak_shift is not None:
        check_range("--max-peak-shift", max_peak_shift, 0, 10_000)
        limits = replace(limits, peak_shift_p95=max_peak_shift)
    if search_budget is not None:
        frames, sets = parse_budget(search_budget)
        budget = SearchBudget(frames=frames, sets=sets)
    return Int8Options(limits=limits, budget=budget, calib=calib, ranges=ranges)
