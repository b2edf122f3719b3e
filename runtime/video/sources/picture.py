"""What a connection gives: pictures, with their times where it has them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .parameters import LARGEST_SIDE


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a device, a program or a stream.

    Attributes:
        image_bgr: (H, W, 3), 0 to 255; whoever gets it owns it.
        timestamp_s: its time in the source, where the source has one.
        captured_s: when it was taken, by `time.monotonic`, where the device says so.
    """

    image_bgr: NDArray[np.uint8]
    timestamp_s: float | None = None
    captured_s: float | None = None


def check_announced(size_hw: tuple[int, int], name: str) -> None:
    """Refuse a size that no camera has, before memory is taken for it.

    Raises:
        InputError: the stream is damaged.
    """
    if not all(0 < side <= LARGEST_SIDE for side in size_hw):
        raise InputError(f"{name} announces frames of {size_hw[1]}x{size_hw[0]}: it is damaged")


class Connection(Protocol):
    """One opening of a device, a program or a stream."""

    duration_s: float | None
    """How long it lasts, where it ends by itself: known once the first picture has come."""
    fps: float | None
    """Pictures per second, where they are known: once the first one has come."""

    def pictures(self) -> Generator[Picture, None, None]:
        """Give the pictures as they come, until the stream ends well.

        Raises:
            InputError: it cannot be opened, breaks off, or gives nothing for too long.
        """
        ...

    def close(self) -> None:
        """Release it, at once."""
        ...
