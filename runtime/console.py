"""What all command-line doors share: one way to fail, one way to print."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from .errors import SaliencyError

if TYPE_CHECKING:
    import typer


def run_app(app: typer.Typer) -> None:
    """Run a typer app; a `SaliencyError` becomes one line on stderr and exit code 1, Ctrl-C exit code 130."""
    try:
        app()
    except SaliencyError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output has gone: `saliency-run ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
