"""No secret of a source comes out, whatever becomes of the source: with real programs and a real server."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Generator
from contextlib import closing, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from saliency_edge.runtime.errors import InputError, SaliencyError
from saliency_edge.runtime.frame import Frame
from saliency_edge.runtime.stream.sources.open_source import open_source
from saliency_edge.runtime.stream.sources.source import SourceOptions
from saliency_edge.runtime.telemetry import Counters, EventLog
from toy_models import save_clip

pytestmark = pytest.mark.timeout(120)

PROGRAM = (sys.executable, "-m", "saliency_edge.runtime.cli")
SECRET = "hunter2"

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
needs_gstreamer = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None, reason="gst-launch-1.0 is not installed"
)

# What nobody answers, or what cannot be: each fails with words of ours and of the program's.
FAILING = [
    "rtsp://admin:hunter2@127.0.0.1:1/cam",
    "RTSP://admin:hunter2@127.0.0.1:1/cam",
    "rtsp://admin:x@hunter2@127.0.0.1:1/cam",
    "rtsp://admin:hunter2%40x@127.0.0.1:1/cam",
    "rtsp://admin:hunter2/x@127.0.0.1:1/cam",
    "rtsp://127.0.0.1:1/user=admin&password=hunter2",
    "rtmp://127.0.0.1:1/app/hunter2",
    "rtmp://127.0.0.1:1/app/hunter2 live=1",
    "srt://127.0.0.1:1?passphrase=hunter2hunter2&streamid=hunter2",
    "http://admin:hunter2@127.0.0.1:1/cam",
    "http://127.0.0.1:1/cam?token=hunter2",
    "http://127.0.0.1:1/token/hunter2/live.m3u8",
    "tcp://hunter2@127.0.0.1:1",
    "nosuch://admin:hunter2@127.0.0.1:1/cam",
    "ffmpeg:-loglevel debug -headers 'Authorization: Basic hunter2' -i http://127.0.0.1:1/cam",
    "ffmpeg:-loglevel trace -i rtsp://admin:hunter2@127.0.0.1:1/cam",
    "ffmpeg:-cookies 'sid=hunter2; path=/' -i http://127.0.0.1:1/cam",
    "ffmpeg:-decryption_key hunter2 -i none.mp4",
    "ffmpeg:-nosuchoption hunter2 -password hunter2 -i none.mp4",
    "ffmpeg:-f lavfi -i movie=rtsp\\\\://admin\\\\:hunter2@127.0.0.1",
    "gst:rtspsrc location=rtsp://admin:hunter2@127.0.0.1:1/cam user-id=admin user-pw=hunter2 ! decodebin",
    "gst:souphttpsrc location=http://127.0.0.1:1/?key=hunter2 cookies=hunter2 ! jpegdec",
    "gst:nosuchsrc user-pw=hunter2 ! decodebin",
    "gst:fakesrc nosuch-password=hunter2 ! decodebin",
    "gst:filesrc location=none user-pw=hunter2 ! decodebin",
    "camera:http://admin:hunter2@127.0.0.1:1/cam",
    "camera:0,password=hunter2",
    "rtsp:admin:hunter2@127.0.0.1/cam",
    "admin:hunter2@127.0.0.1/cam",
    "none/user=admin&password=hunter2",
    "concat:http://a:hunter2@127.0.0.1:1/a.ts|http://127.0.0.1:1/b.ts?sig=hunter2",
]


@needs_ffmpeg
@needs_gstreamer
@pytest.mark.parametrize("text", FAILING)
def test_source_that_fails_keeps_its_secret(text: str) -> None:
    lines = list[str]()
    with pytest.raises(SaliencyError) as raised:  # noqa: PT012 - some fail when they are opened, some when read
        options = SourceOptions(open_timeout_s=2.0, read_timeout_s=2.0, give_up_s=0.5)
        with closing(open_source(text, options, EventLog(Counters(), lines.append))) as source:
            lines.append(source.description)
            list(source.frames())
    said = "\n".join([*lines, str(raised.value)])
    assert SECRET not in said
    assert base64.b64encode(f"admin:{SECRET}".encode()).decode() not in said
    assert "\n" not in str(raised.value)


@pytest.fixture
def web_server(tmp_path: Path) -> Generator[str, None, None]:
    """A web server with a clip behind it, that asks for nothing."""
    folder = tmp_path / "served"
    folder.mkdir()
    save_clip(folder / "clip.avi", 12)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(*words: str) -> tuple[int, str]:
    done = subprocess.run([*PROGRAM, *words], capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


@needs_ffmpeg
def test_run_keeps_the_secret_in_all_that_it_writes(here: Path, web_server: str) -> None:
    """Lines, JSON, the web view's page and its metrics, while it runs and afterwards."""
    address = f"http://admin:{SECRET}@{web_server}/clip.avi?token={SECRET}"
    live = f"ffmpeg:-re -headers 'X-Key: {SECRET}' -i http://{web_server}/clip.avi?key={SECRET}"
    words = ("toy", address, live, "--web", "127.0.0.1:0", "--jsonl", "r.jsonl", "--json", "r.json")
    seen = []
    with subprocess.Popen(
        [*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            seen.append(line)
            if line.startswith("web "):
                page = line.split()[1]
                for path in ("", "page.json", "metrics", "healthz"):
                    with suppress(OSError):  # 503 before the first result
                        seen.append(urllib.request.urlopen(page + path, timeout=5).read().decode())
    assert process.returncode == 0, "".join(seen)
    assert any('"title"' in text for text in seen), "the page's own words were seen"
    report = (here / "r.json").read_text(encoding="utf-8")

    assert SECRET not in "".join([*seen, report, (here / "r.jsonl").read_text(encoding="utf-8")])
    assert json.loads(report)["streams"][0]["source"].startswith(f"http://{web_server}/clip.avi?token=***, ")


@pytest.mark.usefixtures("here")
def test_commands_keep_secrets_in_the_wrong_place() -> None:
    """An address where a model or an option's value belongs."""
    address = f"rtsp://admin:{SECRET}@10.0.0.7/cam"
    for words in (
        (address, "clip.mp4"),
        ("toy", "clip.mp4", "--output", address),
        ("toy", "clip.mp4", "--policy", address),
        ("toy", "clip.mp4", "--fps", address),
        ("toy", "clip.mp4", f"--{address}"),
    ):
        code, said = run(*words)
        assert code != 0
        assert SECRET not in said


def test_control_bytes_of_a_name_do_not_reach_the_terminal(here: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[31m.mp4"
    (here / evil).write_bytes((here / "clip.mp4").read_bytes())

    for words in (
        ("toy", evil),
        ("toy", f"none{evil}"),
        (f"none{evil}", "clip.mp4"),
        ("toy", "clip.mp4", f"--{evil}"),
    ):
        code, said = run(*words)
        assert code == (0 if words == ("toy", evil) else 1 if words[-1] != f"--{evil}" else 2), said
        assert "\x1b" not in said
        assert "\x07" not in said
        assert r"\x1b" in said


def test_name_that_the_output_cannot_encode(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of ASCII gets the name with escapes."""
    (here / "Grüße.mp4").write_bytes((here / "clip.mp4").read_bytes())
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")

    code, said = run("toy", "Grüße.mp4")

    assert code == 0, said
    assert r"source  Gr\xfc\xdfe.mp4, 64x48" in said


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".flv", ".y4m", ".mjpeg", ".png"])
def test_file_on_a_web_server_ends(tmp_path: Path, web_server: str, suffix: str) -> None:
    """Whether or not FFmpeg knows how long it lasts, it is read once."""
    words = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=0.4", "-movflags", "+faststart")
    clip = tmp_path / "served" / f"v{suffix}"
    only = {".png": ("-frames:v", "1"), ".y4m": ("-pix_fmt", "yuv420p")}.get(suffix, ())
    subprocess.run(["ffmpeg", "-loglevel", "error", *words, *only, str(clip)], check=True)
    counters, start_s = Counters(), time.monotonic()

    address = f"http://{web_server}/v{suffix}"
    with closing(open_source(address, SourceOptions(max_frames=50), EventLog(counters))) as source:
        frame_count = sum(1 for _ in source.frames())

    assert frame_count == (1 if suffix == ".png" else 10)
    assert counters.totals() == {}
    assert time.monotonic() - start_s < 30
    if suffix in (".mp4", ".mkv", ".avi", ".flv"):
        assert (source.is_live, source.fps, source.frame_count) == (False, 25.0, 10)


@needs_ffmpeg
def test_clip_whose_server_breaks_off(tmp_path: Path) -> None:
    """The server announces all of the clip and sends a half: no loop from its start, and no silence."""
    words = (
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=64x48:rate=25:duration=8",
        "-g",
        "5",
        "-movflags",
        "+faststart",
    )
    clip = tmp_path / "v.mp4"
    subprocess.run(["ffmpeg", "-loglevel", "error", *words, str(clip)], check=True)
    data = clip.read_bytes()

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                    connection.sendall(head + data[: len(data) // 2])

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        counters, frames = Counters(), list[Frame]()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/v.mp4"
        with (
            closing(open_source(address, events=EventLog(counters))) as source,
            pytest.raises(InputError, match="breaks off: it is cut off or damaged"),
        ):
            frames.extend(source.frames())
        server.shutdown(socket.SHUT_RDWR)
        thread.join()

    assert 50 < len(frames) < 150
    assert counters.totals() == {}
