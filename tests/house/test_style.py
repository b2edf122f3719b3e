"""Ruff, mypy, and nothing that ties the code to one machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDERS = ("runtime", "train", "calib", "export")
# Hosts of packages and of models, and paths that one machine has.
FORBIDDEN = re.compile(
    r"pypi\.(org|nvidia)|pythonhosted\.|download\.pytorch\.|huggingface\.co|conda\.anaconda\."
    r"|(?<![\w.~-])/(work|root|home|opt/pypi|opt/wheels)/"
)


def run(*command: str, repository: Path, **environment: str) -> None:
    """Run one of Python's tools; on failure show all that it said."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=repository,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def test_ruff_finds_nothing(repository: Path) -> None:
    run("ruff", "check", ".", repository=repository)


def test_ruff_would_format_nothing(repository: Path) -> None:
    run("ruff", "format", "--check", ".", repository=repository)


def test_mypy_strict_finds_nothing(repository: Path) -> None:
    view = repository / ".cache" / "view"
    for folder in FOLDERS:
        link = view / "saliency_edge" / folder
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(Path("..", "..", "..", folder))
    packages = [word for folder in FOLDERS for word in ("-p", f"saliency_edge.{folder}")]
    run("mypy", *packages, repository=repository, MYPYPATH=str(view))


def test_no_file_names_a_package_host_or_a_machine(repository: Path) -> None:
    done = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in done.stdout.splitlines():
        path = repository / name
        if not path.is_file() or b"\0" in path.read_bytes()[:4096]:
            continue
        text = path.read_text(encoding="utf-8")
        found += [f"{name}: {match.group()}" for match in FORBIDDEN.finditer(text)]

    assert found == []
