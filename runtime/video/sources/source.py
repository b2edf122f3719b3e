"""The protocol that all sources satisfy."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from ..frame import Frame


class Source(Protocol):
    """Frames in order. One thread at a time may read it."""

    description: str
    """Name, size, rate and length in a few words, such as `clip.mp4, 1280x720, 25 fps, 132 frames`."""
    frame_count: int | None
    """How many frames will come, where that is known; a video file's own count may be off by some."""
    fps: float | None
    """Frames per second of time in the source, where it has time."""
    is_live: bool
    """Whether frames come when they come, and are worth less the older they get."""

    def frames(self) -> Generator[Frame, None, None]:
        """Read the frames, once.

        Raises:
            InputError: a frame cannot be read; the frames before it have been given.
        """
        ...

    def stop(self) -> None:
        """Ask `frames` to end within a fraction of a second. Any thread may call it."""
        ...

    def close(self) -> None:
        """Release the file or the device; nobody may be reading it."""
        ...


def taken_of(count: int, every: int, max_frames: int | None) -> int:
    """Count the frames that are taken of `count`: one in `every`, `max_frames` at most."""
    taken = -(-count // every)
    return taken if max_frames is None else min(taken, max_frames)
