"""The web view: its options, and the sink that hands it the results."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backends.backend import Model
from ..console import warn
from ..errors import BackendError, UsageError
from ..frame import Result
from ..telemetry import Telemetry

if TYPE_CHECKING:
    from .monitoring import HealthMonitor, Metrics
    from .server import Server
    from .viewers import Hub

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


def open_web(
    options: WebOptions,
    telemetry: Telemetry,
    *,
    title: str,
    engine: Model | None = None,
    compare: Model | None = None,
    warn: Callable[[str], None] = warn,
) -> WebSink:
    """Start the web view.

    Args:
        options: where it listens.
        telemetry: of the run, for the metrics.
        title: of the page, such as the source's name.
        engine: of the run, for the page to name.
        compare: a second engine, to be shown beside the first; the web view's own, but for its closing.
        warn: prints a line about what fails later, from any thread; the run goes on.

    Raises:
        BackendError: its packages are not installed.
        OutputError: the port is taken, or the server cannot start.
    """
    try:
        from .monitoring import HealthMonitor, Metrics
        from .server import Server
        from .viewers import Hub
    except ImportError as error:
        raise BackendError(
            f"the web view needs {error.name}, which is not installed. Run: pip install 'saliency-edge[web]'"
        ) from error
    monitor = HealthMonitor(options.stale_s)
    hub = Hub(options, monitor, compare, warn)
    metrics = Metrics(telemetry, browsers=lambda: len(hub.viewers))
    page = {
        "title": title,
        "engine": _named(engine),
        "compare": _named(compare),
        "opacity": options.opacity,
        "colormap": options.colormap,
        "stale_s": options.stale_s,
    }
    return WebSink(Server(options, hub, monitor, metrics, page, warn), hub, monitor, metrics, warn)


class WebSink:
    """Hands results to the browsers' server; it never waits, and none of its failures comes out."""

    shows_pictures = False  # the page mixes frame and map itself, as each of its viewers likes

    def __init__(
        self, server: Server, hub: Hub, monitor: HealthMonitor, metrics: Metrics, warn: Callable[[str], None]
    ) -> None:
        """Take the parts; the server belongs to this sink."""
        self._server, self._hub, self._health_monitor, self._metrics = server, hub, monitor, metrics
        self._warn, self._has_failed = warn, False
        self.description = f"web view at {server.place}"
        self.address = server.address  # with its token: for the user's eyes

    def write(self, result: Result) -> None:
        """Note a result, and pass it on where a browser wants it."""
        if self._has_failed:
            return
        try:
            self._health_monitor.note(result)
            self._metrics.note(result)
            if self._hub.is_due(result.saliency.frame.stream):
                self._server.publish(result)
        except Exception as error:  # whatever it is, the run is worth more than its view
            self._has_failed = True
            self._warn(f"web view: ended by {type(error).__name__}: {error}. The run goes on without it")

    def close(self) -> None:
        """End the page's connections and free the port."""
        self._server.close()
        self._hub.close()


def _named(engine: Model | None) -> dict[str, str] | None:
    return (
        None
        if engine is None
        else {"description": engine.description, "precision": engine.contract.precision}
    )
