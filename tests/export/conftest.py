"""A small bundle to build engines from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine_bundles import tiny_bundle


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of three convolutions in all precisions, not to be changed."""
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def bundle(tiny: Path, tmp_path: Path) -> Path:
    """A copy of it to build in and to spoil."""
    return Path(shutil.copytree(tiny, tmp_path / "bundle"))
