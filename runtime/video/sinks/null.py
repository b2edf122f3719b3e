"""A sink that keeps nothing: for measuring, and for runs that are only watched."""

from __future__ import annotations

from ..frame import Result


class NullSink:
    """Takes pictures and forgets them; they are rendered all the same."""

    shows_pictures = True
    description = "nothing"

    def write(self, result: Result) -> None:
        """Forget the result."""

    def close(self) -> None:
        """Nothing to finish."""
