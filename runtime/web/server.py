"""The server of the web view: aiohttp in a thread of its own, which cannot harm the run."""

from __future__ import annotations

import asyncio
import base64
import errno
import logging
import resource
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from importlib.resources import files
from threading import Lock, Thread
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.http_exceptions import HttpProcessingError

from ..errors import OutputError
from ..frame import Result
from ..stream.render import colormaps, palette_of
from .access import Access
from .monitoring import HealthMonitor, Metrics
from .viewers import Hub, Request, Viewer
from .web_options import WebOptions

_HEARTBEAT_S = 15.0
_MOST_BROWSERS = 100
_MOST_REQUESTS = 64  # connections that are not web sockets (yet): each is open for a moment
_SHARE_OF_DESCRIPTORS = 8  # of the process's descriptors, the browsers get at most twice this part
_REQUEST_LASTS_S = 15.0  # from the connection until the answer has been read
_SECONDS_BETWEEN_ACCEPTS = 0.004  # so that a flood of connections does not take the processor from the run
_SECONDS_BETWEEN_MESSAGES = 0.01  # of one browser, for the same reason
_LONGEST_REQUEST_BYTES = 1024
_LONGEST_LINE_BYTES = 4096
_STARTING_S = 10.0
_CLOSING_S = 5.0
_PAUSE_WITHOUT_DESCRIPTORS_S = 1.0
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_ALL_ADDRESSES = ("0.0.0.0", "::")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob: data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Server:
    """Serves the page, its web socket, `/metrics` and `/healthz`.

    Clients are not trusted: a connection that is no web socket is closed after its answer, and at the latest
    after 15 seconds; of too many, the oldest is closed. Their number is bounded, so that files, cameras and
    encoders always find a descriptor. What fails in the server's thread is said once, and the run goes on.
    """

    def __init__(
        self,
        options: WebOptions,
        hub: Hub,
        monitor: HealthMonitor,
        metrics: Metrics,
        page: dict[str, Any],
        warn: Callable[[str], None],
    ) -> None:
        """Start to listen.

        Args:
            options: where.
            hub: gives the results.
            monitor: gives the health.
            metrics: for Prometheus.
            page: what the page is told at its start, as JSON values.
            warn: prints a line, from any thread; each kind of failure is said once.

        Raises:
            OutputError: the port is taken, or not allowed; or the server cannot start.
        """
        self._hub, self._health_monitor, self._metrics = hub, monitor, metrics
        self._page = page | {"palettes": _palettes()}
        self._html = files(__package__).joinpath("index.html").read_bytes()
        self._access = Access(options)
        self._warn_once = _WarnOnce(warn)
        self._viewers: set[web.WebSocketResponse] = set()
        self._connections: dict[asyncio.BaseTransport, float] = {}  # that are no web sockets; since when
        share = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE_OF_DESCRIPTORS
        self._most_viewers = max(2, min(_MOST_BROWSERS, share))
        self._most_connections = max(4, min(_MOST_REQUESTS, share))
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending: dict[int, Result] = {}
        self._pending_lock = Lock()
        self._socket = _listen(options)
        self.port: int = self._socket.getsockname()[1]
        self.place = f"http://{_name_of(options.host)}:{self.port}/"
        self.address = self.place + self._access.query
        started: Future[None] = Future()
        try:
            self._loop = asyncio.new_event_loop()
            self._stop = asyncio.Event()
            self._thread = Thread(target=self._run, args=(started,), name="web", daemon=True)
            self._thread.start()
            started.result(_STARTING_S)
        except Exception as error:
            self._socket.close()
            raise OutputError(f"the web view cannot start: {_reason_of(error)}") from error

    def publish(self, result: Result) -> None:
        """Hand a result to the server's thread without waiting; of a stream, the newest alone is kept."""
        with self._pending_lock:
            is_scheduled = bool(self._pending)
            self._pending[result.saliency.frame.stream] = result
        if not is_scheduled:
            self._call(self._publish_pending)

    def close(self) -> None:
        """Say goodbye to the browsers and free the port."""
        self._call(self._stop.set)
        self._thread.join(_CLOSING_S)

    def _call(self, function: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the thread has ended, and has said why
            return

    def _publish_pending(self) -> None:
        with self._pending_lock:
            results, self._pending = list(self._pending.values()), {}
        for result in results:
            task = self._loop.create_task(self._hub.publish(result))
            self._tasks.add(task)  # the loop itself would forget it
            task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._warn_once(f"a result cannot be shown: {_reason_of(error)}")

    def _run(self, started: Future[None]) -> None:
        """Be the server's thread."""
        try:
            asyncio.set_event_loop(self._loop)
            self._loop.set_exception_handler(self._note_failure)
            self._loop.run_until_complete(self._serve(started))
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            else:
                self._warn_once(f"ended by {_reason_of(error)}. The run goes on without it")
        finally:
            self._socket.close()
            with suppress(Exception):
                self._loop.run_until_complete(_cancel_all())
            self._loop.close()

    async def _serve(self, started: Future[None]) -> None:
        logger = logging.Logger("saliency_edge.web")  # no part of logging's tree
        logger.addHandler(_FailureHandler(self._warn_once))
        runner = web.AppRunner(
            self._app(),
            handle_signals=False,
            access_log=None,
            logger=logger,
            shutdown_timeout=1.0,
            lingering_time=1.0,
            max_line_size=_LONGEST_LINE_BYTES,
        )
        await runner.setup()
        assert runner.server is not None
        loops = [asyncio.create_task(self._accept(runner.server)), asyncio.create_task(self._sweep())]
        stopped = asyncio.create_task(self._stop.wait())
        started.set_result(None)
        try:
            ended, _ = await asyncio.wait({*loops, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()  # what ended a loop that has no end ends the thread
        finally:
            for task in (*loops, stopped):
                task.cancel()
            goodbyes = [_say_goodbye(viewer) for viewer in self._viewers]
            await asyncio.gather(*goodbyes, return_exceptions=True)
            await runner.cleanup()

    async def _accept(self, server: web.Server) -> None:
        """Take connections, one after the other; `loop.create_server` would take any number at once."""
        self._socket.setblocking(False)
        while True:
            try:
                connection, _ = await self._loop.sock_accept(self._socket)
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS:
                    self._warn_once(f"no connection can be taken: {error.strerror}. It tries again")
                    await asyncio.sleep(_PAUSE_WITHOUT_DESCRIPTORS_S)
                continue
            transport, _ = await self._loop.connect_accepted_socket(server, connection)
            self._forget_closed()
            self._connections[transport] = time.monotonic()
            if len(self._connections) > self._most_connections:
                _abort(next(iter(self._connections)))
            await asyncio.sleep(_SECONDS_BETWEEN_ACCEPTS)

    async def _sweep(self) -> None:
        """Close connections whose request does not come, or whose answer is not read."""
        while True:
            await asyncio.sleep(1.0)
            self._forget_closed()
            for transport, since_s in self._connections.items():
                if time.monotonic() - since_s > _REQUEST_LASTS_S:
                    _abort(transport)

    def _forget_closed(self) -> None:
        for transport in [transport for transport in self._connections if transport.is_closing()]:
            del self._connections[transport]

    def _note_failure(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Say in a line what asyncio would print as a traceback."""
        error = context.get("exception")
        if not isinstance(error, ConnectionError):
            self._warn_once(_reason_of(error) if error else str(context["message"]))

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._access.middleware()])
        app.on_response_prepare.append(_prepare)
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/page.json", self._page_json),
                web.get("/socket", self._web_socket),
                web.get("/metrics", self._metrics_text),
                web.get("/healthz", self._health),
            ]
        )
        return app

    async def _index(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._html, content_type="text/html", charset="utf-8")

    async def _page_json(self, _request: web.Request) -> web.Response:
        return web.json_response(self._page)

    async def _metrics_text(self, request: web.Request) -> web.Response:
        text, content_type = self._metrics.to_text(request.headers.get("Accept", ""))
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def _health(self, _request: web.Request) -> web.Response:
        is_well, details = self._health_monitor.health()
        return web.json_response(details, status=200 if is_well else 503)

    async def _web_socket(self, request: web.Request) -> web.WebSocketResponse:
        viewer = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_S, autoping=False, max_msg_size=_LONGEST_REQUEST_BYTES, compress=False
        )
        await viewer.prepare(request)
        if len(self._viewers) >= self._most_viewers:
            await viewer.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"too many browsers")
            return viewer
        if request.transport is not None:
            self._connections.pop(request.transport, None)
        await self._look_on(viewer)
        return viewer

    async def _look_on(self, viewer: web.WebSocketResponse) -> None:
        """Serve one browser until it goes."""
        browser = Viewer(self._hub)
        self._hub.viewers.add(browser)
        self._viewers.add(viewer)
        sending = asyncio.create_task(_send(viewer, browser))
        try:
            await _take_requests(viewer, browser)
        finally:
            sending.cancel()
            self._viewers.discard(viewer)
            self._hub.viewers.discard(browser)
            self._hub.note_requests()


class _WarnOnce:
    """Prints each line once. What clients can provoke has few different texts, so the memory stays small."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn, self._said = warn, set[str]()

    def __call__(self, text: str) -> None:
        if text not in self._said and len(self._said) < 20:
            self._said.add(text)
            self._warn(f"web view: {text}")


class _FailureHandler(logging.Handler):
    """Says aiohttp's reports of our own failures; those of broken requests are nobody's business."""

    def __init__(self, warn_once: _WarnOnce) -> None:
        super().__init__(logging.WARNING)
        self._warn_once = warn_once

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, HttpProcessingError | ConnectionError):
            self._warn_once(f"a request failed: {_reason_of(error)}")


async def _take_requests(viewer: web.WebSocketResponse, browser: Viewer) -> None:
    async for message in viewer:
        if message.type is WSMsgType.PING:
            await viewer.pong(message.data)
        elif message.type is WSMsgType.TEXT:
            try:
                browser.ask(Request.from_json(message.data))
            except ValueError:
                await viewer.close(code=WSCloseCode.INVALID_TEXT, message=b"no request")
        await asyncio.sleep(_SECONDS_BETWEEN_MESSAGES)


async def _send(viewer: web.WebSocketResponse, browser: Viewer) -> None:
    try:
        while not viewer.closed:
            await viewer.send_bytes(await browser.next_message())
    except ConnectionError:
        return


async def _say_goodbye(viewer: web.WebSocketResponse) -> None:
    """Close a web socket; one that does not answer is left."""
    farewell = viewer.close(code=WSCloseCode.OK, message=b"the run has ended")
    await asyncio.wait_for(farewell, timeout=1.0)


async def _prepare(_request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers, and close the connection behind each answer: no client can send requests in a row."""
    response.headers.update(_HEADERS)
    if not isinstance(response, web.WebSocketResponse):
        response.force_close()


async def _cancel_all() -> None:
    """End all other tasks, such as one whose client does not let it end."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=1.0)


def _abort(transport: asyncio.BaseTransport) -> None:
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


def _reason_of(error: BaseException) -> str:
    """Say an error in a line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _name_of(host: str) -> str:
    """A host as others write it in an address."""
    if host in _ALL_ADDRESSES:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _listen(options: WebOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family)
    except UnicodeError:  # from the codec for names in other scripts, also where a label is empty or too long
        raise OutputError(f"cannot listen on {options.host}: this is no host name") from None
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # the address follows in brackets, once more
        raise OutputError(
            f"cannot listen on {options.host}:{options.port}: {reason}. "
            "Choose another port, such as --web 8081"
        ) from error


def _palettes() -> dict[str, str]:
    """OpenCV's colour maps as base64 of 256 RGB values, by name."""
    return {name: base64.b64encode(palette_of(name)[:, 0, ::-1].tobytes()).decode() for name in colormaps()}
