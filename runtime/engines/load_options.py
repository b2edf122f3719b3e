"""How a model is loaded, and what may step into a backend's place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Say: TypeAlias = Callable[[str], None]
"""Takes a line for people."""


def say_on_stderr(line: str) -> None:
    """Print a line for people, past what stdout may carry for a program."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How `load_engine` loads.

    Attributes:
        threads: that compute one inference on the CPU; `None`: one for each core.
        strict: whether to fail where another backend would have to step in.
        rebuild: whether to build a bundle's engine anew where it is missing or does not fit.
        say: takes a line about each backend that steps in, and about what is built.
    """

    threads: int | None = None
    strict: bool = False
    rebuild: bool = False
    say: Say = say_on_stderr
