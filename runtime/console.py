"""What all commands share: one way to fail, one way to stop, one way to print."""

from __future__ import annotations

import io
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from .errors import OutputError, SaliencyError, UsageError, reason_of
from .public_text import printable, redact

if TYPE_CHECKING:
    import typer

_LARGEST_NUMBER = 2**32 - 1  # of seeds; nothing else of ours comes near

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
    cannot be, a `UsageError`. 70: an exception that nobody foresaw, a fault of ours. 130: Ctrl-C. With
    `SALIENCY_DEBUG=1` the traceback comes before the line.
    """
    signal.signal(signal.SIGTERM, _exit_by_sigterm)
    _mend_standard_streams()
    _refuse_odd_numbers(app)
    try:
        try:
            code = app(standalone_mode=False)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # while a failure can still be told
    except SaliencyError as error:
        _forget_stdout()
        _show_traceback()
        warn(f"error: {one_line(error)}")
        raise SystemExit(2 if isinstance(error, UsageError) else 1) from None
    except KeyboardInterrupt:
        warn("stopped")
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output has gone: `saliency-run ... | head`
        _forget_stdout()
        raise SystemExit(1) from None
    except Exception as error:
        if hasattr(error, "format_message"):  # of typer and of click: options that cannot be
            warn(_usage_text(error))
            raise SystemExit(error.exit_code) from None  # type: ignore[attr-defined]
        _forget_stdout()
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


def _usage_text(error: Any) -> str:
    """What is wrong with the options, and who explains them; a command without any gets its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return str(error.format_message())
    context = getattr(error, "ctx", None)
    command = f" See {context.command_path} --help" if context is not None else ""
    said = one_line(ValueError(error.format_message())).rstrip(".")
    return f"error: {said}.{command}"


def refuse_idle_options(
    context: typer.Context, where: str, *, except_for: Collection[str] = (), **useful: object
) -> None:
    """Refuse options of the command line that would do nothing in this combination.

    Args:
        context: of the command.
        where: what makes them idle, such as `without --web`.
        except_for: parameters that do something there; all others do nothing. Only without `useful`.
        useful: parameters by name, each with what is true where it does something.

    Raises:
        UsageError: one of them was given.
    """
    names = [name for name, is_useful in useful.items() if not is_useful] if useful else context.params
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and name not in except_for:
            raise UsageError(f"--{name.replace('_', '-')} does nothing {where}. Leave it out")


def _refuse_odd_numbers(app: typer.Typer) -> None:
    """Let all commands refuse numbers that no computation can use: infinite, NaN, beyond 32 bits."""
    for command in app.registered_commands:
        callback = command.callback
        if callback is not None and not hasattr(callback, "__wrapped__"):
            command.callback = _refusing_odd_numbers(callback)


def _refusing_odd_numbers(callback: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(callback)
    def checked(**options: Any) -> Any:
        for name, value in options.items():
            if isinstance(value, int | float) and not abs(value) <= _LARGEST_NUMBER:  # nan is below nothing
                raise UsageError(
                    f"--{name.replace('_', '-')} {str(value)[:40]}: expected a finite number below 2^32"
                )
        return callback(**options)

    return checked


def _mend_standard_streams() -> None:
    """Make the standard streams safe to use, whatever the caller has made of them.

    A closed descriptor is opened on /dev/null the wrong way round, as coreutils do: no file of ours gets its
    number, and using it is an error, not silence. A letter that the encoding lacks is written by its number.
    What cannot be written to standard output is an `OutputError`; to standard error, it is lost.
    """
    for descriptor, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDWR)):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 (it lives as long as the process)
    if sys.stdout is sys.__stdout__:  # no test has put its own in its place
        sys.stdout = _rewrapped(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _rewrapped(sys.stderr, 2)


def _rewrapped(stream: TextIO | None, descriptor: int) -> TextIO:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(_StandardOutput(descriptor)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=descriptor == 2 or os.isatty(descriptor),
    )


class _StandardOutput(io.RawIOBase):
    """One of the two standard streams that are written; see `_mend_standard_streams`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # somebody else made the terminal or the pipe non-blocking
            select.select([], [self._descriptor], [])
            return self.write(data)
        except OSError as error:
            if self._descriptor == 2:
                return memoryview(data).nbytes
            if isinstance(error, BrokenPipeError):
                raise
            raise OutputError(
                f"cannot write to standard output: {error.strerror}. See that there is room, and a reader"
            ) from None


def _forget_stdout() -> None:
    """Let what is still on its way to standard output go nowhere: it cannot be written, or has failed."""
    if isinstance(getattr(sys.stdout, "buffer", None), io.BufferedWriter):
        try:
            sys.stdout.flush()
        except (OSError, SaliencyError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


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
