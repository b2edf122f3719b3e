"""The documents for engineers name files that exist, and list every decision."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCUMENTS = ("CONTRIBUTING.md", "docs/architecture.md", "docs/adr/README.md")
PATH = re.compile(r"`((?:runtime|train|calib|export|tests|docs)/[\w./-]*)`")
LINK = re.compile(r"\]\(([^)#:]+)\)")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_and_links_exist(repository: Path, document: str) -> None:
    text = (repository / document).read_text(encoding="utf-8")
    named = [repository / path for path in PATH.findall(text)]
    linked = [(repository / document).parent / link for link in LINK.findall(text)]

    assert named or linked
    assert [str(path.relative_to(repository)) for path in named if not path.exists()] == []
    assert [str(path) for path in linked if not path.exists()] == []


def test_every_decision_is_in_the_index(repository: Path) -> None:
    folder = repository / "docs" / "adr"
    listed = set(LINK.findall((folder / "README.md").read_text(encoding="utf-8")))

    assert {path.name for path in folder.glob("[0-9]*.md")} <= listed


def test_every_command_is_in_the_architecture(
    repository: Path, pyproject: dict[str, dict[str, object]]
) -> None:
    text = (repository / "docs" / "architecture.md").read_text(encoding="utf-8")
    scripts = pyproject["project"]["scripts"]
    assert isinstance(scripts, dict)

    for name, target in scripts.items():
        module = target.partition(":")[0].removeprefix("saliency_edge.").replace(".", "/")
        assert f"| `{name}` | `{module}.py` |" in text
