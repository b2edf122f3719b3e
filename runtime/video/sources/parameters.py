"""What follows a scheme: `camera:0,width=1280,height=720,fps=30`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import UsageError
from ...public_text import public_name

_MOST = 1_000_000_000
_MOST_DEVICES = 255
MOST_FPS = 1000.0
LARGEST_SIDE = 16384
"""Pixels; no camera has more."""


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
