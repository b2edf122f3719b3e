"""Between capture and inference: the frames of all streams, each stream in order and by its own policy."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..frame import Frame

_SECONDS_BETWEEN_LOOKS = 0.1  # at a stop request, while nothing comes


@dataclass(frozen=True, slots=True)
class Fitted:
    """A frame, and the same at the network's size."""

    frame: Frame
    input_bgr: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Taken:
    """A frame for the engine, and how many of its stream were dropped since the one before it."""

    fitted: Fitted
    dropped: int


class Intake:
    """Queues between the capture threads, one a stream, and the one thread that computes."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        """Start empty, with one queue for each policy."""
        self._lanes = [_Lane(policy) for policy in policies]
        self._changed = Condition()
        self._is_closed = False
        self._first = 0  # the lane whose turn it is

    def put(self, stream: int, fitted: Fitted) -> bool:
        """Add a frame, when the policy has room for it; False if no more are wanted."""
        lane = self._lanes[stream]
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or lane.has_room())
            if not self._is_closed:
                lane.put(fitted)
                self._changed.notify_all()
            return not self._is_closed

    def finish(self, stream: int, failure: BaseException | None) -> None:
        """Say that a stream has no more frames, and why, where that is a failure."""
        with self._changed:
            self._lanes[stream].is_finished, self._lanes[stream].failure = True, failure
            self._changed.notify_all()

    def close(self) -> None:
        """Say that no more frames are wanted."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def take(self, limit: int, expected_s: float, is_stopped: Callable[[], bool]) -> list[Taken]:
        """Wait for frames, and take one from each of up to `limit` streams, in turns.

        Args:
            limit: the engine's largest batch.
            expected_s: how long the results of these frames will take.
            is_stopped: asked now and then while nothing comes.

        Returns:
            The frames; none when all streams have ended, or no more frames are wanted.

        Raises:
            BaseException: what a capture thread raised, after its frames were taken.
        """
        with self._changed:
            while not (self._is_closed or is_stopped()):
                taken = self._pop(limit, expected_s)
                if taken:
                    self._changed.notify_all()
                    return taken
                self._raise_failure()
                if all(lane.is_finished for lane in self._lanes):
                    break
                self._changed.wait(_SECONDS_BETWEEN_LOOKS)
        return []

    def _pop(self, limit: int, expected_s: float) -> list[Taken]:
        count = len(self._lanes)
        in_turn = [self._lanes[(self._first + step) % count] for step in range(count)]
        chosen = [lane for lane in in_turn if lane.fitted][:limit]
        if chosen:
            self._first = (self._lanes.index(chosen[-1]) + 1) % count
        return [lane.pop(expected_s) for lane in chosen]

    def _raise_failure(self) -> None:
        for lane in self._lanes:
            if lane.failure is not None and not lane.fitted:
                raise lane.failure


class _Lane:
    """The frames of one stream that wait."""

    def __init__(self, policy: Policy) -> None:
        self.fitted: deque[Fitted] = deque()
        self.is_finished = False
        self.failure: BaseException | None = None
        self._policy = policy
        self._dropped = 0

    def has_room(self) -> bool:
        """Tell whether a frame may be added; only `all` makes the source wait."""
        return self._policy.kind != "all" or len(self.fitted) < self._policy.waiting

    def put(self, fitted: Fitted) -> None:
        if len(self.fitted) == self._policy.waiting:
            self._drop_first()
        self.fitted.append(fitted)

    def pop(self, expected_s: float) -> Taken:
        while len(self.fitted) > 1 and self._policy.is_late(self._age_s() + expected_s):
            self._drop_first()
        taken = Taken(self.fitted.popleft(), self._dropped)
        self._dropped = 0
        return taken

    def _drop_first(self) -> None:
        self.fitted.popleft()
        self._dropped += 1

    def _age_s(self) -> float:
        return time.monotonic() - self.fitted[0].frame.captured_s


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
