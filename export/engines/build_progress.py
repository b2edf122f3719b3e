"""How far a build has come: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from ...runtime.console import warn
from .build_session import ProgressSink

_SECONDS_BETWEEN_LINES = 10.0


def showing_progress(title: str) -> AbstractContextManager[ProgressSink]:
    """Show a build's progress on stderr while the block runs.

    Args:
        title: what is built.
    """
    return _bar(title) if sys.stderr.isatty() else _lines(title)


@contextmanager
def _bar(title: str) -> Iterator[ProgressSink]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    phase = TextColumn("{task.fields[phase]}")
    columns = (title, BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), phase)
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as bar:
        task = bar.add_task(title, total=1.0, phase="")
        yield lambda fraction, phase: bar.update(task, completed=fraction, phase=phase)


@contextmanager
def _lines(title: str) -> Iterator[ProgressSink]:
    due_s = time.monotonic() + _SECONDS_BETWEEN_LINES

    def show(fraction: float, phase: str) -> None:
        nonlocal due_s
        if time.monotonic() >= due_s:
            due_s = time.monotonic() + _SECONDS_BETWEEN_LINES
            warn(f"{title}: {fraction:.0%}, {phase}")

    yield show
