"""Bad browsers, many browsers, taken ports: nothing of it reaches the run."""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import threading
import time
from contextlib import closing
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the extra `web` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `web` is not installed")

import aiohttp

from saliency_edge.runtime.errors import BackendError, OutputError
from saliency_edge.runtime.telemetry import Telemetry
from saliency_edge.runtime.web.view import open_web
from saliency_edge.runtime.web.web_options import WebOptions
from web_clients import fed_view, look_on, messages_of

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("no_thread_left")]


def test_one_picture_is_compressed_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(
        "saliency_edge.runtime.web.viewers.encode_jpeg", lambda *_: calls.append(1) or b"jpeg"
    )
    start_s = time.monotonic()
    with fed_view(WebOptions(port=0, max_fps=10)) as view:
        found = asyncio.run(crowd(view.url, 20, 5))
        lasted_s = time.monotonic() - start_s

    assert [len(messages) for messages in found] == [5] * 20
    assert len(calls) <= 10 * lasted_s + 2


async def crowd(url: str, browsers: int, count: int) -> list[Any]:
    return await asyncio.gather(*(look_on(url, count) for _ in range(browsers)))


def test_fifty_browsers_at_once() -> None:
    with fed_view() as view:
        found = asyncio.run(crowd(view.url, 50, 10))

    assert [len(messages) for messages in found] == [10] * 50
    assert statistics.median(view.writes_s) < 0.002


def test_browser_that_never_reads_slows_nobody() -> None:
    """Its sockets' buffers fill; the feeder and another browser go on."""
    with fed_view(WebOptions(port=0, max_fps=60)) as view, closing(greedy_browser(view.sink.address)):
        time.sleep(1.0)
        start_s = time.monotonic()
        messages_of(view.url, 20)
        lasted_s = time.monotonic() - start_s

    assert lasted_s < 3
    assert max(view.writes_s) < 0.1


def greedy_browser(address: str) -> socket.socket:
    """Open a web socket by hand, ask a thousand times, and read nothing."""
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    browser = socket.create_connection((host, int(port)))
    browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    upgrade = f"GET /socket HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    browser.sendall(f"{upgrade}{key}\r\n".encode())
    request = json.dumps({"stream": 0, "picture": True}).encode()
    masked = bytes([0x81, 0x80 | len(request), 0, 0, 0, 0]) + request
    for _ in range(1000):
        browser.sendall(masked)
    return browser


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{}", '{"stream": -1}', '{"stream": 256}', '{"stream": "0"}']
)
def test_bad_request_closes_that_browser_alone(text: str) -> None:
    async def send(url: str) -> int | None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url + "socket") as browser:
            await browser.send_str(text)
            await browser.receive(timeout=5)
            return browser.close_code

    with fed_view() as view:
        assert asyncio.run(send(view.url)) == aiohttp.WSCloseCode.INVALID_TEXT
        assert len(messages_of(view.url, 1)) == 1


def test_end_of_the_run_is_told() -> None:
    async def wait(url: str, close: Any) -> int | None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url + "socket") as browser:
            closing_thread = threading.Thread(target=close)
            closing_thread.start()
            message = await browser.receive(timeout=5)
            await browser.close()
            closing_thread.join()
            return message.data

    sink = open_web(WebOptions(port=0), Telemetry(), title="t")
    assert asyncio.run(wait(sink.address, sink.close)) == 1000


def test_port_that_is_taken_is_one_line() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            OutputError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use. Choose"
        ):
            open_web(WebOptions(port=port), Telemetry(), title="t")


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "saliency_edge.runtime.web.monitoring", None)

    with pytest.raises(BackendError, match=r"pip install 'saliency-edge\[web\]'"):
        open_web(WebOptions(port=0), Telemetry(), title="t")
