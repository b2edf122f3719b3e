"""What all command-line doors share: one way to fail, one way to stop, one way to print."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from .errors import SaliencyError

if TYPE_CHECKING:
    import typer


LIBRARY_REMEDY = (
    "OpenCV needs the system's libGL and GLib: apt-get install libgl1 libglib2.0-0, "
    "or put opencv-python-headless in the place of opencv-python"
)


def make_app(name: str, description: str | None = None) -> typer.Typer:
    """Make a typer app as all commands have it: plain help of one width, no tracebacks of its own.

    Args:
        name: of the command.
        description: above its options; a single command takes its function's docstring without it.
    """
    import typer

    return typer.Typer(
        name=name,
        help=description,
        no_args_is_help=True,  # where there are subcommands
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
    )


def run_app(app: typer.Typer) -> None:
    """Run a typer app; a `SaliencyError` becomes one line on stderr and exit code 1, Ctrl-C exit code 130."""
    signal.signal(signal.SIGTERM, _exit_by_sigterm)
    try:
        app()
    except SaliencyError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except ImportError as error:  # a shared library that the system lacks; our own extras say so themselves
        if ".so" not in str(error):
            raise
        print(f"error: {error}. {LIBRARY_REMEDY}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output has gone: `saliency-run ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _exit_by_sigterm(_number: int, _frame: FrameType | None) -> None:
    """Leave through all `finally` blocks, so that nothing half-written stays."""
    raise SystemExit(128 + signal.SIGTERM)


class StopRequest:
    """Whether the user or the system has asked a long run to end."""

    def __init__(self) -> None:
        """Start without one."""
        self.signal: signal.Signals | None = None

    def is_made(self) -> bool:
        """Tell whether SIGINT or SIGTERM has come."""
        return self.signal is not None

    def exit_if_made(self) -> None:
        """Leave with the exit code that shells give to that signal: 130 for SIGINT, 143 for SIGTERM.

        Raises:
            SystemExit: a request was made.
        """
        if self.signal is not None:
            raise SystemExit(128 + self.signal)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM in the block into a request to end well; the next one ends at once.

    Works in the main thread only, where Python handles signals.
    """
    request = StopRequest()
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def make(number: int, _frame: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        restore()

    for number in former:
        signal.signal(number, make)
    try:
        yield request
    finally:
        restore()
