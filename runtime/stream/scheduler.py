"""Which frames are computed, and when: the queues between the capture threads and the inference thread.

Each stream has a policy for frames that come faster than the model takes them. The scheduler takes the frames
of each stream in order, and of several streams in turns.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..frame import Frame
from .bounded_queue import BoundedQueue

_QUEUE_SIZES: dict[str, int] = {"all": 2, "newest": 1, "deadline": 8}
_POLL_S = 0.1  # between two questions for a stop request, while nothing comes


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A rule for the frames that wait for the model.

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
        found = re.fullmatch(r"deadline=(\d{1,9}(?:\.\d{1,9})?)", text)
        if found is None or float(found[1]) == 0:
            raise UsageError(f"--policy {text}: expected newest, all, or deadline=MS, such as deadline=100")
        return cls(kind="deadline", deadline_s=float(found[1]) / 1e3)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        return self.kind if self.deadline_s is None else f"{self.kind}={self.deadline_s * 1e3:g}"

    @property
    def queue_size(self) -> int:
        """Frames of a stream that may wait for the model."""
        return _QUEUE_SIZES[self.kind]

    def is_late(self, age_s: float) -> bool:
        """Whether a result of that age is older than the deadline."""
        return self.deadline_s is not None and age_s > self.deadline_s


ALL = Policy(kind="all")
NEWEST = Policy(kind="newest")


@dataclass(frozen=True, slots=True)
class FittedFrame:
    """A frame on its way to the model.

    Attributes:
        frame: as the source gave it.
        input_bgr: (h, w, 3), the same at the network's size.
        dropped: frames of its stream that were dropped since the one before it; known once it is taken.
    """

    frame: Frame
    input_bgr: NDArray[np.uint8]
    dropped: int = 0


class FrameScheduler:
    """One queue for each stream, filled by its capture thread, and emptied by the inference thread."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        """Start empty, with one queue for each policy."""
        self._changed = Condition()
        self._streams = [_StreamQueue(policy, self._changed) for policy in policies]
        self._next = 0  # the stream whose turn it is

    def put(self, stream: int, fitted: FittedFrame) -> bool:
        """Add a frame, when the policy has room for it; False if no more are wanted."""
        return self._streams[stream].put_by_policy(fitted)

    def finish(self, stream: int, failure: BaseException | None) -> None:
        """End a stream, because of a failure where there is one."""
        self._streams[stream].finish(failure)

    def close(self) -> None:
        """End all waiting: no more frames are wanted."""
        for queue in self._streams:
            queue.close()

    def take(self, limit: int, expected_s: float, is_stopped: Callable[[], bool]) -> list[FittedFrame]:
        """Wait for frames, and take one from each of up to `limit` streams, in turns.

        Args:
            limit: the model's largest batch.
            expected_s: how long the results of these frames will take.
            is_stopped: asked now and then while nothing comes.

        Returns:
            The frames; none when all streams have ended, or no more frames are wanted.

        Raises:
            BaseException: what a capture thread raised, after its frames were taken.
        """
        count = len(self._streams)
        with self._changed:
            while not (self._streams[0].is_closed or is_stopped()):
                in_turn = [(self._next + step) % count for step in range(count)]
                if chosen := [stream for stream in in_turn if len(self._streams[stream])][:limit]:
                    self._next = (chosen[-1] + 1) % count
                    return [self._streams[stream].pop_by_policy(expected_s) for stream in chosen]
                for queue in self._streams:
                    queue.raise_failure()
                if all(queue.is_finished for queue in self._streams):
                    break
                self._changed.wait(_POLL_S)
        return []


class _StreamQueue(BoundedQueue[FittedFrame]):
    """The frames of one stream that wait; what the policy does not want is dropped, and counted."""

    def __init__(self, policy: Policy, changed: Condition) -> None:
        super().__init__(policy.queue_size, changed)
        self._policy = policy
        self._dropped = 0  # since the last one taken

    def put_by_policy(self, fitted: FittedFrame) -> bool:
        """Append a frame; only `all` makes the source wait, else the oldest goes."""
        with self.changed:
            if self._policy.kind != "all" and self.is_full:
                self._drop_oldest()
            return self.put(fitted)

    def pop_by_policy(self, expected_s: float) -> FittedFrame:
        """Take the oldest frame whose result will not be late, or the newest."""
        with self.changed:
            while len(self) > 1 and self._policy.is_late(self._oldest_age_s() + expected_s):
                self._drop_oldest()
            fitted, dropped = self.pop(), self._dropped
            self._dropped = 0
            return FittedFrame(fitted.frame, fitted.input_bgr, dropped)

    def _drop_oldest(self) -> None:
        self.pop()
        self._dropped += 1

    def _oldest_age_s(self) -> float:
        return time.monotonic() - self.peek().frame.captured_s
