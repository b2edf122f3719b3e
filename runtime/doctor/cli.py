"""`saliency-doctor`: what this machine has for saliency-run, and what to do where something is missing."""

from __future__ import annotations

from json import dumps
from typing import Annotated

import typer

from ..console import make_app, run_app

app = make_app("saliency-doctor")


@app.command()
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of lines.")] = False,
) -> None:
    """Look at this machine: each line is ok, or says what to do.

    Exit code 1 where something is broken that every run needs; what is only missing has a note.
    """
    from .diagnosis import diagnose

    diagnosis = diagnose()
    print(dumps(diagnosis.to_json(), indent=2) if json else diagnosis.to_text())
    if not diagnosis.is_sound:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of `saliency-doctor`."""
    run_app(app)


if __name__ == "__main__":
    main()
