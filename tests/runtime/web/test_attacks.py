"""Hostile clients against a real run: it goes on, ends well, and prints no traceback."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the extra `web` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `web` is not installed")

import aiohttp
from aiohttp import web

from saliency_edge.runtime.errors import OutputError
from saliency_edge.runtime.telemetry import Telemetry
from saliency_edge.runtime.web import server as server_module
from saliency_edge.runtime.web.view import open_web
from saliency_edge.runtime.web.web_options import WebOptions
from sink_results import result_of
from toy_models import noise
from web_clients import ToyEngine, fed_view, messages_of

pytestmark = pytest.mark.timeout(120)

SOURCE = "test:width=64,height=48,fps=20"
UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


@contextmanager
def attacked_run(
    tmp: Path, attack: Callable[[int], list[socket.socket]], descriptors: int = 256
) -> Generator[int, None, None]:
    """Run the program with few descriptors, start an attack on it, and see that it ends well after the block.

    Yields:
        The port of its web view.
    """
    port, lines = free_port(), tmp / "lines.jsonl"
    words = ("toy", SOURCE, "--web", str(port), "--jsonl", str(lines))
    process = subprocess.Popen(
        [sys.executable, "-m", "saliency_edge.runtime.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors)),
    )
    try:
        while not (lines.exists() and lines.stat().st_size):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        clients = attack(port)
        before = lines.read_bytes().count(b"\n")
        yield port
        time.sleep(0.5)
        assert lines.read_bytes().count(b"\n") > before, "the run stands still"
        for client in clients:
            client.close()
    finally:
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 143, err  # of SIGTERM, as without an attack
    said = [line for line in err.splitlines() if "frames come faster" not in line]  # a machine that is busy
    assert said == []
    assert "frames/s" in out


def connections(port: int, count: int, data: bytes) -> list[socket.socket]:
    """Open connections and send each the same; those that are refused are left out."""
    found = []
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        found.append(client)
    time.sleep(0.3)
    for client in found:
        try:
            client.send(data)
        except OSError:
            continue
    return found


def pipelined(port: int) -> list[socket.socket]:
    return connections(port, 50, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)


ATTACKS: dict[str, Callable[[int], list[socket.socket]]] = {
    "slow-loris": lambda port: connections(port, 2000, b"GET / HTTP/1.1\r\nHost: loc"),
    "silent": lambda port: connections(port, 2000, b""),
    "garbage": lambda port: connections(port, 200, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "pipelining": pipelined,
    "endless header": lambda port: connections(port, 50, b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000),
    "many headers": lambda port: connections(port, 50, b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 10_000),
    "endless body": lambda port: connections(
        port, 50, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n" + b"a" * 9999
    ),
    "half-open web sockets": lambda port: connections(port, 300, UPGRADE),
    "half web socket frames": lambda port: connections(port, 100, UPGRADE + b"\x81\xfe\x01"),
    "giant web socket frame": lambda port: connections(
        port, 100, UPGRADE + b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + bytes(100)
    ),
    "unmasked web socket frames": lambda port: connections(port, 100, UPGRADE + b"\x81\x02{}"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_run_goes_on_while_it_is_attacked(name: str, here: Path) -> None:
    with attacked_run(here, ATTACKS[name]) as port:
        deadline_s = time.monotonic() + 60
        while (status := status_of(port)) != 200:
            assert time.monotonic() < deadline_s, status
        if "web socket" not in name:  # a hundred idle viewers may be all that there is room for
            assert messages_of(f"http://127.0.0.1:{port}/", 3)


def status_of(port: int) -> int | str:
    """Ask for the health as a supervisor does."""

    async def get() -> int:
        timeout = aiohttp.ClientTimeout(total=10)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://127.0.0.1:{port}/healthz") as answer,
        ):
            return answer.status

    try:
        return asyncio.run(get())
    except (aiohttp.ClientError, TimeoutError, asyncio.TimeoutError) as error:
        return repr(error)


def test_half_sent_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_REQUEST_LASTS_S", 0.5)
    with fed_view() as view:
        port = int(view.url.rstrip("/").rpartition(":")[2])
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        client.settimeout(10)
        with closing(client):
            assert client.recv(1) == b"", "the end, within the ten seconds"
        assert messages_of(view.url, 1)


def test_viewers_outlive_the_time_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_REQUEST_LASTS_S", 0.3)
    with fed_view(fps=10) as view:
        assert len(messages_of(view.url, 25)) == 25


def test_viewers_beyond_the_limit_are_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_MOST_BROWSERS", 2)

    async def codes(url: str) -> list[int | None]:
        async with aiohttp.ClientSession() as session:
            viewers = [await session.ws_connect(url + "socket") for _ in range(3)]
            await viewers[2].receive(timeout=5)
            found = [viewer.close_code for viewer in viewers]
            for viewer in viewers:
                await viewer.close()
            return found

    with fed_view() as view:
        assert asyncio.run(codes(view.url)) == [None, None, aiohttp.WSCloseCode.TRY_AGAIN_LATER]
        assert messages_of(view.url, 1)


def test_descriptors_used_up_by_others_are_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with fed_view(warn=lines.append) as view:
        assert messages_of(view.url, 1)
        port = int(view.url.rstrip("/").rpartition(":")[2])
        clients = [socket.socket() for _ in range(3)]
        most = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (most + 1, hard))
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        try:
            for client in clients:
                client.connect(("127.0.0.1", port))
            time.sleep(2.5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in taken:
                os.close(descriptor)
            for client in clients:
                client.close()
        assert messages_of(view.url, 1), "it takes connections again"

    assert lines == ["web view: no connection can be taken: Too many open files. It tries again"]
    assert capfd.readouterr().err == ""


def test_server_thread_that_dies_is_said_once_and_the_run_goes_on(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    with fed_view(warn=lines.append) as view:
        assert messages_of(view.url, 1)

        async def die(*_: Any) -> None:
            raise MemoryError("no more")

        monkeypatch.setattr(asyncio, "sleep", die)
        while not lines:
            time.sleep(0.05)
        monkeypatch.undo()
        written = len(view.writes_s)
        while len(view.writes_s) < written + 20:
            time.sleep(0.05)

    assert lines == ["web view: ended by MemoryError: no more. The run goes on without it"]
    assert capfd.readouterr().err == ""


def test_server_that_cannot_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise OSError("no runner today")

    monkeypatch.setattr(web.AppRunner, "setup", fail)
    with pytest.raises(OutputError, match="the web view cannot start: OSError: no runner today"):
        open_web(WebOptions(port=0), Telemetry(), title="t")


def test_failing_page_is_one_line(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    with fed_view(warn=lines.append) as view:

        def fail(*_: Any) -> Any:
            raise RuntimeError("no text")

        monkeypatch.setattr(view.sink._metrics, "to_text", fail)

        async def get_thrice() -> list[int]:
            async with aiohttp.ClientSession() as session:
                return [(await session.get(view.url + "metrics")).status for _ in range(3)]

        assert asyncio.run(get_thrice()) == [500] * 3
        assert messages_of(view.url, 1)

    assert lines == ["web view: a request failed: RuntimeError: no text"]
    assert capfd.readouterr().err == ""


def test_result_that_cannot_be_shown_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    with fed_view(warn=lines.append) as view:
        monkeypatch.setattr("saliency_edge.runtime.web.viewers.encode_jpeg", lambda *_: 1 / 0)
        with pytest.raises((asyncio.TimeoutError, TimeoutError)):
            asyncio.run(asyncio.wait_for(_first_message(view.url), 1))
        monkeypatch.undo()
        assert messages_of(view.url, 1)

    assert lines == ["web view: a result cannot be shown: ZeroDivisionError: division by zero"]


async def _first_message(url: str) -> bytes:
    async with aiohttp.ClientSession() as session, session.ws_connect(url + "socket") as viewer:
        await viewer.send_json({"stream": 0, "picture": True})
        return await viewer.receive_bytes()


def test_second_engine_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither those who do not compare, nor the end of the run."""

    class Hanging(ToyEngine):
        def infer(self, _frames: Any) -> Any:
            threading.Event().wait()

    monkeypatch.setattr("saliency_edge.runtime.web.viewers._COMPARISON_TIMEOUT_S", 1.0)
    monkeypatch.setattr("saliency_edge.runtime.web.viewers._CLOSING_S", 0.2)
    lines: list[str] = []
    with fed_view(compare=Hanging(), warn=lines.append) as view:
        comparing = threading.Thread(target=messages_of, args=(view.url, 2), kwargs={"compare": True})
        comparing.start()
        start_s = time.monotonic()
        assert len(messages_of(view.url, 5)) == 5
        assert time.monotonic() - start_s < 1.0, "as fast as without a comparison"
        comparing.join()

    assert lines == ["web view: no more comparisons: no map within 1 s"]


def test_loop_that_is_stuck_keeps_no_results() -> None:
    """While the server's thread stands still, results replace each other in one place."""
    stuck, release = threading.Event(), threading.Event()
    sink = open_web(WebOptions(port=0, max_fps=1e9), Telemetry(), title="t")
    with closing(sink):
        sink._server._loop.call_soon_threadsafe(lambda: (stuck.set(), release.wait()))
        stuck.wait()
        for _ in range(1000):
            sink._server.publish(result_of(noise((48, 64), 0)))
        assert len(sink._server._pending) == 1
        assert len(sink._server._loop._ready) < 5  # type: ignore[attr-defined]
        release.set()


@pytest.mark.parametrize("host", ["a..b", "a" * 100 + ".example", "no-such-host.invalid"])
def test_host_that_is_none_is_one_line(host: str) -> None:
    with pytest.raises(OutputError, match="cannot listen on"):
        open_web(WebOptions(host=host, port=0), Telemetry(), title="t")


@pytest.mark.parametrize(
    "text", ["[" * 900, '{"stream": ' + "9" * 900 + "}", '{"stream": 0.0}', '{"stream": true}']
)
def test_odd_requests_reach_nobody(text: str) -> None:
    async def send(url: str) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url + "socket") as viewer:
            await viewer.send_str(text)
            with suppress(asyncio.TimeoutError, TimeoutError):
                await viewer.receive(timeout=0.5)

    lines: list[str] = []
    with fed_view(warn=lines.append) as view:
        asyncio.run(send(view.url))
        assert messages_of(view.url, 1)
    assert lines == []
