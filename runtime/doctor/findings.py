"""Findings, the checks that make them, and the processes that checks ask: none can take the doctor down.

A check imports nothing that may be broken. It asks another process, and whatever that process does, the check
ends in one finding (docs/adr/048-doctor-asks-other-processes.md):

    check ─ query() ─▶ a process ─▶ answer           ─▶ ok, note or broken
                                 ─▶ NoAnswerError    ─▶ note, with the remedy of its cause
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

TIMEOUT_S = 60.0
"""Time limit of one query. A small Arm board reads OpenCV from an SD card in 5 to 20 s the first time."""

State = Literal["ok", "note", "broken"]
"""`note`: something is missing that not everyone needs, or is unknown. `broken`: no `saliency-run` works."""

# What to do about a process that was ended by a signal: installing the same package again changes nothing.
_SIGNAL_REMEDIES = {
    signal.SIGILL: "it uses instructions that this processor lacks: install a build for this processor "
    "(on 64-bit Arm, try export OPENBLAS_CORETYPE=ARMV8 first)",
    signal.SIGKILL: "the system ended it, most often for want of memory: close other programs, see dmesg",
    signal.SIGBUS: "a file is damaged or cut off: look at the free disk space and at dmesg",
}
_CRASH_REMEDY = "a native library failed: see where with python -X faulthandler -c 'import {module}'"


class NoAnswerError(Exception):
    """A process that gave no answer; the text says what happened.

    Attributes:
        remedy: what to do about it; empty where the process itself reported an error, whose text says more.
        is_failure: whether the process ran to a failure. False after a time-out, which proves nothing.
    """

    def __init__(self, reason: str, remedy: str = "", *, is_failure: bool = True) -> None:
        super().__init__(reason)
        self.remedy = remedy
        self.is_failure = is_failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check.

    Attributes:
        state: ok, note or broken.
        found: what is there.
        remedy: what to do; empty where the state is ok.
    """

    state: State
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One check by name.

    Attributes:
        topic: what is checked, in a word or two.
        run: does it; may raise anything.
    """

    topic: str
    run: Callable[[], Finding]


def ok(found: str) -> Finding:
    """A finding without anything to do."""
    return Finding(state="ok", found=found)


def note(found: str, remedy: str) -> Finding:
    """A finding about something that only some users need."""
    return Finding(state="note", found=found, remedy=remedy)


def broken(found: str, remedy: str) -> Finding:
    """A finding without whose remedy no `saliency-run` works."""
    return Finding(state="broken", found=found, remedy=remedy)


def run_checks(checks: Sequence[Check]) -> Iterator[tuple[str, Finding]]:
    """Run all checks at the same time (they mostly wait for other processes).

    Yields:
        Topic and finding in the order of `checks`, each as soon as it is known.
    """
    with ThreadPoolExecutor(len(checks)) as pool:
        yield from zip((check.topic for check in checks), pool.map(_run_check, checks), strict=True)


def _run_check(check: Check) -> Finding:
    """Run one check; an error on a machine that nobody foresaw leaves the other checks alone."""
    try:
        return check.run()
    except NoAnswerError as error:
        return note(f"unknown: {error}", error.remedy or "repair it, or do without it")
    except Exception as error:
        return note(f"unknown: {type(error).__name__}: {error}", "please report this")


def is_on_path(program: str) -> bool:
    """Whether a program is on the PATH."""
    return shutil.which(program) is not None


def query(command: Sequence[str], *, name: str = "") -> str:
    """Run a program.

    Args:
        command: the program and its arguments.
        name: what to call it in errors; the program's own name by default.

    Returns:
        Its standard output.

    Raises:
        NoAnswerError: it is missing, fails, crashes, or does not end within `TIMEOUT_S`.
    """
    name = name or command[0]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise NoAnswerError(f"{name} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise NoAnswerError(
            f"{name} gave no answer within {TIMEOUT_S:g} s",
            "this machine is busy or slow, or the program hangs: run saliency-doctor again when it is idle",
            is_failure=False,
        ) from error
    if done.returncode < 0:
        number = signal.Signals(-done.returncode)
        remedy = _SIGNAL_REMEDIES.get(number, _CRASH_REMEDY.format(module=name))
        raise NoAnswerError(f"{name} crashed with {number.name}", remedy)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise NoAnswerError(lines[-1] if lines else f"{name} ended with exit code {done.returncode}")
    return done.stdout.decode(errors="replace")


def query_python(code: str, *, module: str = "python") -> Mapping[str, Any]:
    """Run Python code that prints a JSON object as its last line, in a process of its own.

    Args:
        code: the code.
        module: the module that it imports, for errors.

    Raises:
        NoAnswerError: it raises, crashes, or does not end within `TIMEOUT_S`.
    """
    command = [sys.executable, "-c", f"import saliency_edge.runtime  # no telemetry\n{code}"]
    answer: Mapping[str, Any] = json.loads(query(command, name=module).splitlines()[-1])
    return answer
