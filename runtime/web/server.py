"""The server of the web view: aiohttp in a thread of its own."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Coroutine
from importlib.resources import files
from threading import Event, Thread
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from ..errors import OutputError
from ..video.render import colormaps, palette_of
from .access import Access
from .hub import Browser, Hub, Request
from .metrics import Metrics
from .options import WebOptions
from .pulse import Pulse

_HEARTBEAT_S = 15.0
_MOST_BROWSERS = 100
_LONGEST_REQUEST_BYTES = 1024
_CLOSING_S = 5.0
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
    """Serves the page, its web socket, `/metrics` and `/healthz`."""

    def __init__(
        self, options: WebOptions, hub: Hub, pulse: Pulse, metrics: Metrics, page: dict[str, Any]
    ) -> None:
        """Start to listen.

        Args:
            options: where.
            hub: gives the results.
            pulse: gives the health.
            metrics: for Prometheus.
            page: what the page is told at its start, as JSON values.

        Raises:
            OutputError: the port is taken, or not allowed.
        """
        self._hub, self._pulse, self._metrics = hub, pulse, metrics
        self._page = page | {"palettes": _palettes()}
        self._access = Access(options)
        self._socket = _listen(options)
        self.port: int = self._socket.getsockname()[1]
        self.place = f"http://{_name_of(options.host)}:{self.port}/"
        self.address = self.place + self._access.query
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._sockets: set[web.WebSocketResponse] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_up = Event()
        self._thread = Thread(target=self._run, name="web", daemon=True)
        self._thread.start()
        self._is_up.wait()

    def submit(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the server's thread, without waiting for it."""
        self._loop.call_soon_threadsafe(self._start, work)

    def close(self) -> None:
        """Say goodbye to the browsers and free the port."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_CLOSING_S)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the loop itself would forget it
        task.add_done_callback(self._tasks.discard)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _serve(self) -> None:
        runner = web.AppRunner(self._app(), handle_signals=False, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.SockSite(runner, self._socket).start()
        self._is_up.set()
        await self._stop.wait()
        goodbyes = [_say_goodbye(browser_socket) for browser_socket in self._sockets]
        await asyncio.gather(*goodbyes, return_exceptions=True)
        await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._access.middleware()])
        app.on_response_prepare.append(_add_headers)
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
        text = files(__package__).joinpath("index.html").read_text(encoding="utf-8")
        return web.Response(text=text, content_type="text/html")

    async def _page_json(self, _request: web.Request) -> web.Response:
        return web.json_response(self._page)

    async def _metrics_text(self, _request: web.Request) -> web.Response:
        content_type = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(body=self._metrics.to_text(), headers={"Content-Type": content_type})

    async def _health(self, _request: web.Request) -> web.Response:
        is_well, details = self._pulse.health()
        return web.json_response(details, status=200 if is_well else 503)

    async def _web_socket(self, request: web.Request) -> web.WebSocketResponse:
        browser_socket = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_S, max_msg_size=_LONGEST_REQUEST_BYTES, compress=False
        )
        await browser_socket.prepare(request)
        if len(self._sockets) >= _MOST_BROWSERS:
            await browser_socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"too many browsers")
            return browser_socket
        await self._look_on(browser_socket)
        return browser_socket

    async def _look_on(self, browser_socket: web.WebSocketResponse) -> None:
        """Serve one browser until it goes."""
        browser = Browser(self._hub)
        self._hub.browsers.add(browser)
        self._sockets.add(browser_socket)
        sending = asyncio.create_task(_send(browser_socket, browser))
        try:
            await _take_requests(browser_socket, browser)
        finally:
            sending.cancel()
            self._sockets.discard(browser_socket)
            self._hub.browsers.discard(browser)
            self._hub.note_requests()


async def _take_requests(browser_socket: web.WebSocketResponse, browser: Browser) -> None:
    async for message in browser_socket:
        if message.type is not WSMsgType.TEXT:
            continue
        try:
            browser.ask(Request.from_json(message.data))
        except ValueError:
            await browser_socket.close(code=WSCloseCode.INVALID_TEXT, message=b"no request")


async def _send(browser_socket: web.WebSocketResponse, browser: Browser) -> None:
    try:
        while not browser_socket.closed:
            await browser_socket.send_bytes(await browser.next_message())
    except ConnectionError:
        return


async def _say_goodbye(browser_socket: web.WebSocketResponse) -> None:
    """Close a web socket; one that does not answer is left."""
    farewell = browser_socket.close(code=WSCloseCode.OK, message=b"the run has ended")
    await asyncio.wait_for(farewell, timeout=1.0)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _name_of(host: str) -> str:
    """Give a host as others write it in an address."""
    if host in _ALL_ADDRESSES:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _listen(options: WebOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # the address follows in brackets, once more
        raise OutputError(
            f"cannot listen on {options.host}:{options.port}: {reason}. "
            "Choose another port, such as --web 8081"
        ) from error


def _palettes() -> dict[str, str]:
    """Give OpenCV's colour maps as base64 of 256 RGB values, by name."""
    return {name: base64.b64encode(palette_of(name)[:, 0, ::-1].tobytes()).decode() for name in colormaps()}
