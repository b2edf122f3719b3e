"""One way to fail and one way to stop."""

from __future__ import annotations

import os
import signal
from importlib.metadata import entry_points

import pytest
import typer

from help_texts import commands
from saliency_edge.runtime.console import DEBUG_VARIABLE, LIBRARY_REMEDY, run_app, stop_request
from saliency_edge.runtime.errors import InputError


def app_that_raises(error: BaseException) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (InputError("no such file: x. Give another"), 1, "error: no such file: x. Give another\n"),
        (ImportError("libGL.so.1: no such file"), 1, f"error: libGL.so.1: no such file. {LIBRARY_REMEDY}\n"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(143), 143, ""),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["command"])

    with pytest.raises(SystemExit) as raised:
        run_app(app_that_raises(error))

    assert raised.value.code == code
    assert capsys.readouterr() == ("", text)


REPORT = "Please report it; SALIENCY_DEBUG=1 shows where"
UNFORESEEN = [
    (ImportError("No module named 'x'"), 70, f"internal error: ImportError: No module named 'x'. {REPORT}"),
    (ZeroDivisionError("division by zero"), 70, "internal error: ZeroDivisionError: division by zero."),
    (RecursionError("too deep"), 70, "internal error: RecursionError: too deep."),
    (KeyError("name"), 70, "internal error: KeyError: 'name'."),
    (RuntimeError("a\nb\x1b[31m\n" + "c" * 9000), 70, "internal error: RuntimeError: a b [31m ccc"),
    (AssertionError(), 70, f"internal error: AssertionError. {REPORT}"),
    (UnicodeEncodeError("ascii", "ö", 0, 1, "no"), 70, "internal error: UnicodeEncodeError: "),
    (MemoryError("Unable to allocate 9 TiB"), 1, "error: out of memory (Unable to allocate 9 TiB). Take"),
    (OSError(28, "No space left on device"), 1, "error: cannot use a file: No space left on device. Check"),
    (PermissionError(13, "Permission denied", "/x"), 1, "error: cannot use /x: Permission denied. Check"),
]


@pytest.mark.parametrize(("error", "code", "text"), UNFORESEEN)
@pytest.mark.parametrize("command", commands())
def test_whatever_is_raised_in_a_command_is_one_line(
    command: str,
    error: Exception,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_words: object, **_options: object) -> None:
        raise error

    (script,) = entry_points(group="console_scripts", name=command)
    main = script.load()
    monkeypatch.setattr("sys.argv", [command])
    monkeypatch.setattr(typer.Typer, "__call__", fail)
    monkeypatch.delenv(DEBUG_VARIABLE, raising=False)
    with pytest.raises(SystemExit) as raised:
        main()
    out, err = capsys.readouterr()

    assert raised.value.code == code
    assert out == ""
    assert err.startswith(text)
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert len(err) < 500


def test_traceback_is_shown_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["command"])
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    with pytest.raises(SystemExit):
        run_app(app_that_raises(ZeroDivisionError("by zero")))
    *trace, line = capsys.readouterr().err.strip().splitlines()

    assert trace[0] == "Traceback (most recent call last):"
    assert "in fail" in "".join(trace)
    assert line.startswith("internal error: ZeroDivisionError: by zero")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_first_signal_is_a_request(number: signal.Signals, code: int) -> None:
    former = signal.getsignal(number)
    with stop_request() as stop:
        assert not stop.is_made()
        stop.exit_if_made()
        os.kill(os.getpid(), number)
        assert stop.is_made()
        assert stop.signal == number
        assert signal.getsignal(number) == former, "the second signal is not held back"
    with pytest.raises(SystemExit) as raised:
        stop.exit_if_made()
    assert raised.value.code == code


def test_second_interrupt_ends_at_once() -> None:
    with stop_request():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_handlers_are_restored() -> None:
    former = signal.getsignal(signal.SIGTERM)
    with stop_request():
        assert signal.getsignal(signal.SIGTERM) != former
    assert signal.getsignal(signal.SIGTERM) == former
