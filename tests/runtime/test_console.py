"""One way to fail and one way to stop."""

from __future__ import annotations

import os
import signal

import pytest
import typer

from saliency_edge.runtime.console import LIBRARY_REMEDY, run_app, stop_request
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


def test_an_import_that_is_our_own_mistake_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["command"])
    with pytest.raises(ImportError, match="no_such_module"):
        run_app(app_that_raises(ImportError("No module named 'no_such_module'")))


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
