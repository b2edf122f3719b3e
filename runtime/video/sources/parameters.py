"""What follows a scheme: `camera:0,width=1280,height=720,fps=30`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import UsageError


@dataclass(frozen=True, slots=True)
class Parameters:
    """The words after a scheme: the first one without a name, the others by name."""

    text: str
    subject: str
    values: dict[str, str]

    @classmethod
    def parse(cls, text: str, names: Sequence[str]) -> Parameters:
        """Split a source's text at its commas.

        Args:
            text: the whole, such as `test:width=64,height=48`.
            names: those that are known.

        Raises:
            UsageError: a name is unknown, or a value is missing.
        """
        words = text.partition(":")[2].split(",")
        subject = "" if "=" in words[0] else words.pop(0)
        pairs = [word.partition("=") for word in words]
        for name, _, value in pairs:
            if name not in names or not value:
                raise UsageError(
                    f"{text}: {name!r} is no parameter. Known are {', '.join(names)}, as name=value"
                )
        return cls(text, subject, {name: value for name, _, value in pairs})

    def integer(self, name: str, default: int) -> int:
        """Give a number of at least 1.

        Raises:
            UsageError: it is none.
        """
        return int(self.number(name, default, least=1))

    def number(self, name: str, default: float, *, least: float = 0.1) -> float:
        """Give a number of at least `least`.

        Raises:
            UsageError: it is none.
        """
        try:
            value = float(self.values.get(name, default))
        except ValueError:
            value = 0.0
        if not value >= least:
            raise UsageError(
                f"{self.text}: {name} is {self.values[name]!r}, expected a number from {least:g} on"
            )
        return value

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """Give one of several words.

        Raises:
            UsageError: it is none of them.
        """
        value = self.values.get(name, default)
        if value not in choices:
            raise UsageError(f"{self.text}: {name} is {value!r}, expected {' or '.join(choices)}")
        return value

    def size_hw(self, default_hw: tuple[int, int]) -> tuple[int, int]:
        """Give `height` and `width`, in pixels."""
        return self.integer("height", default_hw[0]), self.integer("width", default_hw[1])
