"""What is printed goes through one function, and what names a source through another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PRODUCT = ("runtime", "train", "calib", "export")
CONSOLE = Path("runtime", "console.py")
SOURCES = Path("runtime", "stream", "sources")
TYPED = {
    "text",
    "url",
    "words",
    "rest",
    "pipeline",
    "options.sources",
    "path",
    "folder",
    "subject",
    "self._path",
}
"""What a user typed as a source, by the names that it has in the sources' code."""


def test_nothing_prints_but_the_console(repository: Path) -> None:
    """So that no control byte of a file's name and no password reaches a terminal or a log."""
    found = [
        f"{file.relative_to(repository)}:{call.lineno}: {ast.unparse(call.func)}"
        for file in product_files(repository)
        if file != repository / CONSOLE
        for call in calls(file)
        if ast.unparse(call.func) in ("print", "typer.echo", "click.echo", "sys.stderr.write", "typer.secho")
    ]
    assert found == []


def test_sources_are_named_by_public_name_alone(repository: Path) -> None:
    """No message of the sources' code, and none of the run's, holds what the user typed."""
    found, sources = [], sorted((repository / SOURCES).glob("*.py"))
    assert sources
    for file in [*sources, repository / "runtime" / "stream" / "run.py"]:
        for message in messages(file):
            texts = [node for node in ast.walk(message) if isinstance(node, ast.JoinedStr)]
            shown = {ast.unparse(part.value) for text in texts for part in text.values if is_value(part)}
            found += [f"{file.name}:{message.lineno}: {name}" for name in shown & TYPED]
    assert found == []


def messages(file: Path) -> Iterator[ast.Call | ast.Assign]:
    """Errors, lines and descriptions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            if function.endswith(("Error", ".log")) or function in ("say", "warn"):
                yield node
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith("description"):
            yield node


def is_value(part: ast.expr) -> bool:
    return isinstance(part, ast.FormattedValue)


def product_files(repository: Path) -> Iterator[Path]:
    for folder in PRODUCT:
        yield from sorted((repository / folder).rglob("*.py"))


def calls(file: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node
