"""The web view as one of the sinks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backends.backend import Model
from ..errors import BackendError
from ..telemetry import Telemetry
from ..video.frame import Result
from .options import WebOptions
from .pulse import Pulse

if TYPE_CHECKING:
    from .hub import Hub
    from .metrics import Metrics
    from .server import Server


def open_web(
    options: WebOptions, telemetry: Telemetry, *, title: str, engine: str = "", compare: Model | None = None
) -> WebSink:
    """Start the web view.

    Args:
        options: where it listens.
        telemetry: of the run, for the metrics.
        title: of the page, such as the source's name.
        engine: in words, for the page.
        compare: a second engine, to be shown beside the first; the web view's own, but for its closing.

    Raises:
        BackendError: its packages are not installed.
        OutputError: the port is taken.
    """
    try:
        from .hub import Hub
        from .metrics import Metrics
        from .server import Server
    except ImportError as error:
        raise BackendError(
            f"the web view needs {error.name}, which is not installed. Run: pip install 'saliency-edge[web]'"
        ) from error
    pulse = Pulse(options.stale_s)
    hub = Hub(options, pulse, compare)
    metrics = Metrics(telemetry, browsers=lambda: len(hub.browsers))
    page = {
        "title": title,
        "engine": engine,
        "compare": compare.description if compare else None,
        "opacity": options.opacity,
        "colormap": options.colormap,
        "stale_s": options.stale_s,
    }
    return WebSink(Server(options, hub, pulse, metrics, page), hub, pulse, metrics)


class WebSink:
    """Hands results to the browsers' server; it never waits for a browser."""

    shows_pictures = False  # the page mixes frame and map itself, as each of its viewers likes

    def __init__(self, server: Server, hub: Hub, pulse: Pulse, metrics: Metrics) -> None:
        """Take the parts; the server belongs to this sink."""
        self._server, self._hub, self._pulse, self._metrics = server, hub, pulse, metrics
        self.description = f"web view at {server.place}"
        self.address = server.address  # with its token: for the user's eyes

    def write(self, result: Result) -> None:
        """Note a result, and pass it on where a browser wants it."""
        self._pulse.note(result)
        self._metrics.note(result)
        if self._hub.is_due(result.saliency.frame.stream):
            self._server.submit(self._hub.publish(result))

    def close(self) -> None:
        """End the page's connections and free the port."""
        self._server.close()
