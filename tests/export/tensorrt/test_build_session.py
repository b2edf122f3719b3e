"""Progress as one fraction, Ctrl-C as an event, messages kept or dropped, progress shown."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest

from saliency_edge.export.tensorrt import library as build_progress
from saliency_edge.export.tensorrt.library import (
    BuildLog,
    PhaseTree,
    noting_interrupts,
    quiet_stdout,
    showing_progress,
)


def test_nested_phases_are_one_fraction() -> None:
    phases = PhaseTree()
    phases.start("build", 4)
    phases.start("optimise", 2)
    half_of_a_quarter = phases.step("optimise", 0)
    phases.finish("optimise")

    assert half_of_a_quarter == pytest.approx(1 / 8)
    assert phases.step("build", 0) == pytest.approx(1 / 4)
    assert phases.step("build", 3) == pytest.approx(1)


def test_the_fraction_never_falls_or_passes_one() -> None:
    phases = PhaseTree()
    phases.start("build", 0)

    assert phases.step("build", 5) == 1.0
    phases.start("again", 10)
    assert phases.step("again", 0) == 1.0
    assert phases.step("never started", 3) == 1.0


def test_only_errors_and_facts_are_kept() -> None:
    log = BuildLog()
    for severity, text in [
        ("ERROR", "out of memory"),
        ("INTERNAL_ERROR", "assertion"),
        ("WARNING", "beware"),
        ("VERBOSE", "Name: conv1, LayerType: kgen"),
        ("INFO", "Total Weights Memory: 7 bytes"),
        ("VERBOSE", "Timing Runner: x"),
    ]:
        log.add(severity, text)

    assert log.errors == ["out of memory", "assertion"]
    assert log.facts == ["Name: conv1, LayerType: kgen", "Total Weights Memory: 7 bytes"]
    log.clear()
    assert (log.errors, log.facts) == ([], [])


def test_ctrl_c_is_raised_at_the_end_of_the_block() -> None:
    reached = []

    def interrupted() -> None:
        with noting_interrupts() as cancelled:
            os.kill(os.getpid(), signal.SIGINT)
            reached.append(cancelled.is_set())

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert reached == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_the_block_wins_and_the_handler_is_put_back() -> None:
    with pytest.raises(ValueError, match="first"), noting_interrupts():
        raise ValueError("first")

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_thread_may_build_too() -> None:
    """Only the main thread may handle signals; elsewhere Ctrl-C goes to it."""
    seen: list[bool] = []

    def work() -> None:
        with noting_interrupts() as cancelled:
            seen.append(cancelled.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [False]


def test_what_native_code_prints_is_swallowed(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with quiet_stdout():
        os.write(1, b"chatter\n")
        print("kept on stderr", file=sys.stderr)
    print("behind")

    assert capfd.readouterr() == ("before\nbehind\n", "kept on stderr\n")


def test_without_a_terminal_a_long_build_prints_plain_lines(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_progress, "_SECONDS_BETWEEN_LINES", 0.02)
    with showing_progress("deep_half fp16 for sm86") as update:
        update(0.1, "too early")
        time.sleep(0.03)
        update(0.25, "Timing tactics")
        update(0.5, "too early again")

    assert capfd.readouterr() == ("", "deep_half fp16 for sm86: 25%, Timing tactics\n")


def read_terminal(reader: int) -> bytes:
    """Read on; a terminal whose last process has ended gives an error."""
    try:
        return os.read(reader, 4096)
    except OSError:
        return b""


def test_on_a_terminal_a_bar_is_drawn_and_taken_away() -> None:
    """In a pseudo-terminal, as a person sees it."""
    code = (
        "from saliency_edge.export.tensorrt.library import showing_progress\n"
        "with showing_progress('tiny fp16') as update:\n"
        "    for step in range(5): update(step / 4, 'Timing tactics')\n"
    )
    reader, writer = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stderr=writer, env={**os.environ, "TERM": "xterm"}):
        os.close(writer)
        shown = b"".join(iter(lambda: read_terminal(reader), b""))
    os.close(reader)

    assert b"tiny fp16" in shown
    assert b"100%" in shown
    assert b"Timing tactics" in shown
    assert shown.rstrip().endswith(b"\x1b[2K"), shown[-80:]
