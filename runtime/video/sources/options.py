"""What a run asks of its sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...contract import Contract
from ...fit import window_of


def never() -> bool:
    """Stop nothing."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How sources are read.

    Attributes:
        every: take one frame in so many, beginning with the first.
        max_frames: end after so many; `None`: take all.
        open_timeout_s: the longest wait for a live source's first frame.
        read_timeout_s: the longest wait for each other; after that the source is opened again.
        give_up_s: end the run when a source has been away for so long; `None`: try for ever.
        scale_for: whose input size cameras may scale to in hardware; `None`: frames are wanted whole.
        is_stopped: asked while a source is opened; once it says yes, it is not waited for.
    """

    every: int = 1
    max_frames: int | None = None
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    give_up_s: float | None = None
    scale_for: Contract | None = None
    is_stopped: Callable[[], bool] = never

    def scaled_hw(self, sensor_hw: tuple[int, int]) -> tuple[int, int]:
        """Give the size that a camera's frames are wanted at, in pixels."""
        if self.scale_for is None:
            return sensor_hw
        height, width = self.scale_for.size_hw
        window = window_of(sensor_hw, self.scale_for.size_hw, self.scale_for.fit)
        return round((window.bottom - window.top) * height), round((window.right - window.left) * width)
