"""How int8 is to be made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .results import GateLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchBudget:
    """How much a search may measure.

    Attributes:
        frames: that each layer is tried on alone.
        sets: of precisions that are tried on the gate's frames, at most.
    """

    frames: int = 4
    sets: int = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Options:
    """How int8 is to be made.

    Attributes:
        limits: of the gate.
        budget: of the search.
        calib: the user's frames: some give the ranges, others are the gate's.
        ranges: a file of ranges; None for those that ship.
    """

    limits: GateLimits = field(default_factory=GateLimits)
    budget: SearchBudget = field(default_factory=SearchBudget)
    calib: Path | None = None
    ranges: Path | None = None
