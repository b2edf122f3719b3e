"""What docs/ci.md and the workflow files tell users to type exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
COMMAND = re.compile(r"(saliency-[a-z]+)((?:[^\n\\]|\\\n|\n\s+--)*)")


def documents(repository: Path) -> list[Path]:
    return [repository / "docs" / "ci.md", *sorted((repository / "docs" / "workflows").glob("*.yml"))]


def options_typed(path: Path) -> set[tuple[str, str]]:
    """Give the options that a document passes to our commands, each with its command."""
    text = path.read_text(encoding="utf-8")
    return {(command, option) for command, words in COMMAND.findall(text) for option in OPTION.findall(words)}


@pytest.mark.parametrize("index", range(3))
def test_every_option_is_one_of_the_commands(index: int, repository: Path) -> None:
    path = documents(repository)[index]
    typed = options_typed(path)
    golden = repository / "tests" / "golden" / "help"
    unknown = {
        (command, option)
        for command, option in typed
        if option not in (golden / f"{command}.txt").read_text(encoding="utf-8")
    }

    assert ("saliency-bench", "--check") in typed
    assert unknown == set()


def test_workflow_files_that_are_named_exist(repository: Path) -> None:
    text = (repository / "docs" / "ci.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\(workflows/([\w.-]+\.yml)\)", text))

    assert named == {path.name for path in documents(repository)[1:]}
