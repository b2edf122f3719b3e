"""What sources are: the protocol that all satisfy, what is asked of them, and what their connections give."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...contract import Contract
from ...errors import InputError, UsageError
from ...fit import window_of
from ...frame import Frame
from ...options import check_range
from ...public_text import public_name

_MOST = 1_000_000_000
_MOST_DEVICES = 255
MOST_FPS = 1000.0
_LONGEST_WAIT_S = 86_400.0
LARGEST_SIDE = 16384
"""Pixels; no camera has more."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How sources are read.

    Attributes:
        every: take one frame in so many, beginning with the first.
        max_frames: end after so many; `None`: take all.
        open_timeout_s: the longest wait for a live source's first frame.
        read_timeout_s: the longest wait for each other; after that the source is opened again.
        give_up_s: end the run when a source has been away for so long; `None`: try for ever.
    """

    every: int = 1
    max_frames: int | None = None
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    give_up_s: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: one of them cannot be.
        """
        check_range("--open-timeout", self.open_timeout_s, 0.001, _LONGEST_WAIT_S)
        check_range("--read-timeout", self.read_timeout_s, 0.001, _LONGEST_WAIT_S)
        if self.give_up_s is not None:
            check_range("--give-up", self.give_up_s, 0.001, _LONGEST_WAIT_S)


def scaled_hw(sensor_hw: tuple[int, int], contract: Contract | None) -> tuple[int, int]:
    """Size that a camera's frames are wanted at.

    Args:
        sensor_hw: height and width of the camera's mode, in pixels.
        contract: of the network that gets the frames alone; None where they are wanted whole.

    Returns:
        Height and width, in pixels.
    """
    if contract is None:
        return sensor_hw
    height, width = contract.size_hw
    window = window_of(sensor_hw, contract.size_hw, contract.fit)
    return round((window.bottom - window.top) * height), round((window.right - window.left) * width)


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """One frame of a device, a program or a stream.

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
    """How long it lasts, where it ends by itself: known once the first frame has come."""
    fps: float | None
    """Frames per second, where they are known: once the first one has come."""

    def frames(self) -> Generator[CapturedFrame, None, None]:
        """Frames as they come, until the stream ends well.

        Raises:
            InputError: it cannot be opened, breaks off, or gives nothing for too long.
        """
        ...

    def close(self) -> None:
        """Release it, at once."""
        ...


@dataclass(frozen=True, slots=True)
class Parameters:
    """The words after a scheme: the first one without a name, the others by name."""

    name: str
    """The whole, as it may be shown."""
    subject: str
    values: dict[str, str]

    @classmethod
    def parse(cls, text: str, names: Sequence[str], *, has_subject: bool = True) -> Parameters:
        """Split a source's text at its commas.

        Args:
            text: the whole, such as `test:width=64,height=48`.
            names: those that are known.
            has_subject: whether there may be a first word without a name, such as a camera's number.

        Raises:
            UsageError: a name is unknown, or a value is missing.
        """
        words = text.partition(":")[2].split(",")
        subject = words.pop(0) if "=" not in words[0] and (has_subject or not words[0]) else ""
        pairs = [word.partition("=") for word in words]
        for name, _, value in pairs:
            if name not in names or not value:
                raise UsageError(
                    f"{public_name(text)}: {public_name(name)!r} is no parameter. "
                    f"Known are {', '.join(names)}, as name=value"
                )
        return cls(public_name(text), subject, {name: value for name, _, value in pairs})

    def integer(self, name: str, default: int, *, most: int = _MOST) -> int:
        """A whole number from 1 to `most`.

        Raises:
            UsageError: it is none.
        """
        return int(self.number(name, default, least=1, most=most))

    def number(self, name: str, default: float, *, least: float = 0.1, most: float = _MOST) -> float:
        """A number from `least` to `most`.

        Raises:
            UsageError: it is none.
        """
        try:
            value = float(self.values.get(name, default))
        except ValueError:
            value = 0.0
        if not least <= value <= most:
            raise UsageError(
                f"{self.name}: {name} is {self.values[name]!r}, expected a number from {least:g} to {most:g}"
            )
        return value

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of several words.

        Raises:
            UsageError: it is none of them.
        """
        value = self.values.get(name, default)
        if value not in choices:
            raise UsageError(f"{self.name}: {name} is {value!r}, expected {' or '.join(choices)}")
        return value

    def size_hw(self, default_hw: tuple[int, int]) -> tuple[int, int]:
        """`height` and `width`, in pixels."""
        height, width = default_hw
        return (
            self.integer("height", height, most=LARGEST_SIDE),
            self.integer("width", width, most=LARGEST_SIDE),
        )

    def device(self) -> int | str:
        """The number of a device, 0 without one, or a path.

        Raises:
            UsageError: the number is larger than those of devices.
        """
        if not self.subject or self.subject.isdecimal():
            number = int(self.subject or 0)
            if number <= _MOST_DEVICES:
                return number
            raise UsageError(f"{self.name}: expected a number up to {_MOST_DEVICES}, such as camera:0")
        return self.subject
