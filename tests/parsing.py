"""Parsing our own commands as they do it themselves, without running them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer.main


def parsed(app: typer.Typer, words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Parse what stands behind the program's name.

    Returns:
        Its options by name, and its arguments.
    """
    parser = typer.main.get_command(app)
    rest = list(words)
    context = parser.make_context(parser.name, rest)
    while hasattr(parser, "resolve_command"):
        _, parser, rest = parser.resolve_command(context, rest)
        assert parser is not None
        context = parser.make_context(parser.name, rest, parent=context)
    values = context.params
    arguments = [values[one.name] for one in parser.params if one.param_type_name == "argument" and one.name]
    flat = [item for one in arguments for item in (one if isinstance(one, list | tuple) else [one])]
    return values, [str(item) for item in flat if item is not None]
