"""The window, on a screen without a monitor."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60),
    pytest.mark.skipif(
        not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="no Xvfb and xdotool on this machine"
    ),
]

SHOW = """
import time
from contextlib import closing
from saliency_edge.runtime.stream.sinks.sink import SinkClosedError
from saliency_edge.runtime.stream.sinks.window import WindowSink
from sink_results import result_of
from toy_models import noise
with closing(WindowSink("the run")) as sink:
    try:
        for seed in range(1000):
            sink.write(result_of(noise((240, 320), seed % 20)))
            time.sleep(0.02)
    except SinkClosedError as closed:
        print(closed)
"""


@pytest.fixture
def screen() -> Iterator[dict[str, str]]:
    """Start a screen, and give the environment of who uses it."""
    received, sent = os.pipe()
    command = ["Xvfb", "-displayfd", str(sent), "-screen", "0", "800x600x24"]
    with subprocess.Popen(command, pass_fds=[sent], stderr=subprocess.DEVNULL) as process:
        os.close(sent)
        with os.fdopen(received) as file:
            number = file.readline().strip()
        yield {**os.environ, "DISPLAY": f":{number}", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process.terminate()


@pytest.mark.parametrize("key", ["q", "Escape"])
def test_key_closes_the_window_and_ends_the_run(screen: dict[str, str], key: str) -> None:
    command = [sys.executable, "-c", SHOW]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=screen
    ) as process:
        window = wait_for_window(screen)
        subprocess.run(
            ["xdotool", "windowfocus", window, "key", "--window", window, key], env=screen, check=True
        )
        out, err = process.communicate(timeout=20)

    assert (out, err, process.returncode) == ("the window was closed\n", "", 0)


def wait_for_window(screen: dict[str, str]) -> str:
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        command = ["xdotool", "search", "--name", "the run"]
        found = subprocess.run(
            command, env=screen, capture_output=True, text=True, check=False
        ).stdout.split()
        if found:
            time.sleep(0.5)  # until it takes keys
            return found[0]
        time.sleep(0.1)
    raise AssertionError("no window appeared")
