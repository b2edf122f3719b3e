"""Progress of long work: a bar with the rate on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .console import warn

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(unit: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Show progress on stderr while the block runs, and give what counts one more.

    Args:
        unit: what is counted, such as `frames`.
        total: how many there will be, where that is known.
    """
    start_s = time.monotonic()
    show = _bar if sys.stderr.isatty() else _lines
    with show(unit, total) as update:
        count = 0

        def advance() -> None:
            nonlocal count
            count += 1
            update(count, count / (time.monotonic() - start_s))

        yield advance


@contextmanager
def _bar(unit: str, total: int | None) -> Iterator[Callable[[int, float], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]}")
    columns = (unit, BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as bar:
        task = bar.add_task(unit, total=total, rate="")
        yield lambda count, rate: bar.update(task, completed=count, rate=f"{rate:.1f}/s")


@contextmanager
def _lines(unit: str, total: int | None) -> Iterator[Callable[[int, float], None]]:
    due_s = time.monotonic() + _SECONDS_BETWEEN_LINES

    def update(count: int, rate: float) -> None:
        nonlocal due_s
        if time.monotonic() >= due_s:
            due_s += _SECONDS_BETWEEN_LINES
            whole = f" of {total}" if total else ""
            warn(f"{unit} {count}{whole}, {rate:.1f}/s")

    yield update
