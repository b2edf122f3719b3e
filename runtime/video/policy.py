"""Which frames are computed when they come faster than the engine takes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ..errors import UsageError

_WAITING: dict[str, int] = {"all": 2, "newest": 1, "deadline": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A rule for the frames that wait for the engine.

    `all`: every frame, in order; a source that is faster waits. `newest`: the newest frame takes the place of
    the one that waits. `deadline`: in order, but without those whose result would be older than `deadline_s`;
    the newest is computed always, and counted as late where its result is.

    Attributes:
        kind: which of these.
        deadline_s: from a frame's capture to its result.
    """

    kind: Literal["all", "newest", "deadline"]
    deadline_s: float | None = None

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Read a policy such as `newest`, `all` or `deadline=100`, in milliseconds.

        Raises:
            UsageError: it is none.
        """
        if text == "all":
            return ALL
        if text == "newest":
            return NEWEST
        found = re.fullmatch(r"deadline=(\d+(?:\.\d+)?)", text)
        if found is None or float(found[1]) == 0:
            raise UsageError(f"--policy {text}: expected newest, all, or deadline=MS, such as deadline=100")
        return cls(kind="deadline", deadline_s=float(found[1]) / 1e3)

    def __str__(self) -> str:
        """Give it as `parse` reads it."""
        return self.kind if self.deadline_s is None else f"{self.kind}={self.deadline_s * 1e3:g}"

    @property
    def waiting(self) -> int:
        """How many frames may wait for the engine."""
        return _WAITING[self.kind]

    def is_late(self, age_s: float) -> bool:
        """Tell whether a result of that age comes too late."""
        return self.deadline_s is not None and age_s > self.deadline_s


ALL = Policy(kind="all")
NEWEST = Policy(kind="newest")
