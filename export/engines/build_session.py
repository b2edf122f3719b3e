"""What goes on around one build: TensorRT's messages are collected, its progress shown, Ctrl-C obeyed."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

ProgressSink = Callable[[float, str], None]
"""Takes note of how far a build has come: 0 to 1, never falling, and TensorRT's name of what it does."""

_KEPT_FACTS = ("LayerType: ", "Memory: ")
_SCREEN = 1


class BuildLog:
    """TensorRT's messages: errors, and the few verbose ones that describe the engine."""

    def __init__(self) -> None:
        """Start empty."""
        self.errors: list[str] = []
        self.facts: list[str] = []

    def add(self, severity: str, text: str) -> None:
        """Keep a message if it is of use; a verbose log may have 100,000 others."""
        if severity in ("ERROR", "INTERNAL_ERROR"):
            self.errors.append(text)
        elif any(mark in text for mark in _KEPT_FACTS):
            self.facts.append(text)

    def clear(self) -> None:
        """Forget the messages of an earlier build."""
        self.errors.clear()
        self.facts.clear()


class PhaseTree:
    """TensorRT's nested phases as one fraction."""

    def __init__(self) -> None:
        """Start before the first phase."""
        self._open: dict[str, tuple[int, int]] = {}  # name -> steps done, steps in all; outermost first
        self._fraction = 0.0

    def start(self, phase: str, steps: int) -> None:
        """Enter a phase."""
        self._open[phase] = (0, max(steps, 1))

    def step(self, phase: str, step: int) -> float:
        """Complete a phase's step, counted from 0, and give the whole's fraction."""
        if phase in self._open:
            self._open[phase] = (step + 1, self._open[phase][1])
        share, fraction = 1.0, 0.0
        for done, steps in self._open.values():
            share /= steps
            fraction += share * done
        self._fraction = min(max(self._fraction, fraction), 1.0)
        return self._fraction

    def finish(self, phase: str) -> None:
        """Leave a phase."""
        self._open.pop(phase, None)


def make_logger(trt: ModuleType, log: BuildLog) -> object:
    """Make an `ILogger` that writes to `log`."""

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]  # a base known only at run time
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: object, msg: str) -> None:
            log.add(str(getattr(severity, "name", severity)), msg)

    return Logger()


def make_monitor(trt: ModuleType, progress: ProgressSink, cancelled: threading.Event) -> object:
    """Make an `IProgressMonitor` that shows progress and cancels the build when `cancelled` is set.

    No exception leaves it: its caller is TensorRT's C++.
    """
    phases = PhaseTree()

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]  # as above
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, _parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with suppress(Exception):  # a closed terminal must not end the build
                progress(phases.step(phase_name, step), phase_name)
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()


@contextmanager
def noting_interrupts() -> Iterator[threading.Event]:
    """Turn Ctrl-C into an event, as no exception may pass through C++, and raise it at the block's end."""
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    previous = signal.signal(signal.SIGINT, lambda *_: noted.set())
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, previous)
    if noted.is_set():
        raise KeyboardInterrupt


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """Swallow what TensorRT's compiler prints past its logger: stdout may be a program's JSON."""
    sys.stdout.flush()
    screen = os.dup(_SCREEN)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), _SCREEN)
        try:
            yield
        finally:
            os.dup2(screen, _SCREEN)
            os.close(screen)
