"""What all commands share: one way to fail, one way to stop, one way to print."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from .errors import SaliencyError, reason_of
from .public_text import printable, redact

if TYPE_CHECKING:
    import typer


DEBUG_VARIABLE = "SALIENCY_DEBUG"
"""Environment variable that lets commands show the traceback of an error."""

_LONGEST_LINE = 2000

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
    """Run a typer app; whatever it raises becomes one line on stderr and an exit code.

    1: a `SaliencyError`, or what the system refuses (a file, memory, a shared library). 2: options that
    cannot be. 70: an exception that nobody foresaw, a fault of ours. 130: Ctrl-C. With `SALIENCY_DEBUG=1`
    the traceback comes before the line.
    """
    signal.signal(signal.SIGTERM, _exit_by_sigterm)
    try:
        code = app(standalone_mode=False)
    except SaliencyError as error:
        _show_traceback()
        warn(f"error: {one_line(error)}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        warn("stopped")
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output has gone: `saliency-run ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if hasattr(error, "format_message"):  # of typer and of click: options that cannot be
            warn(_usage_text(error))
            raise SystemExit(error.exit_code) from None  # type: ignore[attr-defined]
        _show_traceback()
        text, code = _unforeseen(error)
        warn(text)
        raise SystemExit(code) from None
    raise SystemExit(code if isinstance(code, int) else 0)


def _show_traceback() -> None:
    if os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0"):
        warn(traceback.format_exc())


def _unforeseen(error: Exception) -> tuple[str, int]:
    """Line and exit code for an exception that no part of ours has turned into a `SaliencyError`."""
    reason = reason_of(error)
    if isinstance(error, ImportError) and ".so" in reason:  # our own extras say so themselves
        return f"error: {reason}. {LIBRARY_REMEDY}", 1
    if isinstance(error, MemoryError) or "Insufficient memory" in reason:  # the latter is OpenCV's
        return f"error: out of memory ({reason}). Take smaller frames or batches, or free some memory", 1
    if isinstance(error, OSError) and error.strerror:
        name = f" {error.filename}" if error.filename else ""
        return f"error: cannot use{name or ' a file'}: {error.strerror}. Check it and the disk", 1
    kind = type(error).__name__
    said = kind if reason == kind else f"{kind}: {reason}"
    return f"internal error: {said}. Please report it; {DEBUG_VARIABLE}=1 shows where", os.EX_SOFTWARE


def one_line(error: BaseException) -> str:
    """An error's text as commands print it: in one line, control bytes escaped, cut where it is endless."""
    text = printable(" ".join(str(error).splitlines()), keep="")
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}..."


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
