"""What all commands share: one way to fail, one way to stop, one way to print."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from .errors import SaliencyError
from .public_text import printable, redact

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


def echo(text: str, file: TextIO | None = None) -> None:
    """Print text; the only way by which commands print.

    Control bytes, which file names may hold, are escaped, and so is what the output's encoding lacks.

    Args:
        text: one line or more.
        file: where it goes; `None`: stdout.
    """
    file = sys.stdout if file is None else file
    text = printable(text)
    try:
        print(text, file=file, flush=True)
    except UnicodeEncodeError:
        encoding = file.encoding or "ascii"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=file, flush=True)


def warn(text: str) -> None:
    """Print text on stderr, without the secrets of addresses that it may name."""
    echo(redact(text), sys.stderr)


def run_app(app: typer.Typer) -> None:
    """Run a typer app; a `SaliencyError` becomes one line on stderr and exit code 1, Ctrl-C exit code 130."""
    signal.signal(signal.SIGTERM, _exit_by_sigterm)
    try:
        code = app(standalone_mode=False)
    except SaliencyError as error:
        warn(f"error: {_one_line(error)}")
        raise SystemExit(1) from None
    except ImportError as error:  # a shared library that the system lacks; our own extras say so themselves
        if ".so" not in str(error):
            raise
        warn(f"error: {_one_line(error)}. {LIBRARY_REMEDY}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        warn("stopped")
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output has gone: `saliency-run ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if not hasattr(error, "format_message"):  # of typer and of click: options that cannot be
            raise
        warn(_usage_text(error))
        raise SystemExit(error.exit_code) from None  # type: ignore[attr-defined]
    raise SystemExit(code if isinstance(code, int) else 0)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).splitlines())


def _usage_text(error: Exception) -> str:
    """What typer would print itself: usage, a hint, and what is wrong."""
    text = io.StringIO()
    error.show(file=text)  # type: ignore[attr-defined]
    return text.getvalue().rstrip("\n")


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
