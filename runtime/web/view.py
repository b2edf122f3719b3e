"""The sink that hands the results of a run to the web view, and what starts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..backends.backend import Model
from ..console import warn
from ..errors import BackendError
from ..frame import Result
from ..telemetry import Telemetry
from .web_options import WebOptions

if TYPE_CHECKING:
    from .monitoring import HealthMonitor, Metrics
    from .server import Server
    from .viewers import Hub


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
