"""Asking other programs, none of which can take the doctor down: not by hanging, nor by crashing."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_TIMEOUT_S = 5.0


class NoAnswerError(Exception):
    """A program that failed, crashed or hung; the text says which."""


def ask(command: Sequence[str]) -> str:
    """Run a program and give what it prints.

    Raises:
        NoAnswerError: it is missing, fails, crashes, or says nothing for five seconds.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise NoAnswerError(f"{command[0]} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise NoAnswerError(f"{command[0]} did not answer within {_TIMEOUT_S:.0f} s") from error
    if done.returncode:
        raise NoAnswerError(_reason_of(done))
    return done.stdout.decode(errors="replace")


def ask_python(code: str) -> Mapping[str, Any]:
    """Run Python code that prints JSON, in a process of its own: a driver that crashes takes only that down.

    Raises:
        NoAnswerError: it raises, crashes or hangs.
    """
    answer: Mapping[str, Any] = json.loads(ask([sys.executable, "-c", code]).splitlines()[-1])
    return answer


def is_installed(program: str) -> bool:
    """Tell whether a program is on the path."""
    return shutil.which(program) is not None


def _reason_of(done: subprocess.CompletedProcess[bytes]) -> str:
    """Give the last line of what a program complained about, or the signal that ended it."""
    if done.returncode < 0:
        return f"it crashed with {signal.Signals(-done.returncode).name}"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it ended with exit code {done.returncode}"
