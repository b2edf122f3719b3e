"""What a check says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "broken"]
"""`note`: something is missing that not everyone needs. `broken`: every `saliency-run` needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's answer.

    Attributes:
        state: how it is.
        found: what is there.
        remedy: what to do; empty where it is ok.
    """

    state: State
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at.

    Attributes:
        topic: what, in a word or two.
        look: looks at it; may raise anything.
    """

    topic: str
    look: Callable[[], Finding]


def ok(found: str) -> Finding:
    """Say that all is well."""
    return Finding(state="ok", found=found)


def note(found: str, remedy: str) -> Finding:
    """Say that something is missing that not everyone needs."""
    return Finding(state="note", found=found, remedy=remedy)


def broken(found: str, remedy: str) -> Finding:
    """Say that `saliency-run` cannot work."""
    return Finding(state="broken", found=found, remedy=remedy)
