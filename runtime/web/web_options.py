"""Where the web view listens, who may open it, and what the page begins with."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import UsageError

LOCALHOST = "127.0.0.1"


_LOCAL_NAMES = frozenset({LOCALHOST, "localhost", "::1"})


_LARGEST_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """How a run is shown in browsers.

    Attributes:
        host: address to listen on; `0.0.0.0` is all of the machine's.
        port: to listen on; 0 takes any that is free.
        token: that browsers must know; `None`: a new one where other machines can connect, else none.
        max_side_px: frames are shrunk to this for the page.
        max_fps: frames for the page in a second, for each source.
        jpeg_quality: of those frames, 0 to 100.
        stale_s: without a result for so long, the run is not healthy.
        opacity: that the page begins with, 0 to 1.
        colormap: that the page begins with, one of OpenCV's.
    """

    host: str = LOCALHOST
    port: int = 8080
    token: str | None = None
    max_side_px: int = 960
    max_fps: float = 12.0
    jpeg_quality: int = 75
    stale_s: float = 5.0
    opacity: float = 0.75
    colormap: str = "inferno"

    def __post_init__(self) -> None:
        """Check the token.

        Raises:
            UsageError: it is empty, or holds control characters, which no cookie can.
        """
        if self.token is not None and not (self.token and self.token.isprintable()):
            found = "control characters" if self.token else "nothing"
            raise UsageError(f"--web-token holds {found}, expected a word that can be typed; or leave it out")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in _LOCAL_NAMES


def parse_address(text: str) -> tuple[str, int]:
    """Read an address such as `8080`, `0.0.0.0:8080` or `[::1]:8080`.

    Returns:
        The host, 127.0.0.1 where none is given, and the port.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"(?:(\[[0-9a-fA-F:.]+\]|[\w.-]+):)?(\d{1,5})", text)
    if found is None or int(found[2]) > _LARGEST_PORT:
        raise UsageError(f"--web {text}: expected a port or HOST:PORT, such as 8080 or 0.0.0.0:8080")
    return (found[1] or LOCALHOST).strip("[]"), int(found[2])
