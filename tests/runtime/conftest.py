"""What the runtime's tests share."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from toy_models import save_clip, save_images, save_toy_bundle


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle, a clip of 12 frames and 3 images, as the working directory."""
    save_toy_bundle(tmp_path / "toy")
    save_clip(tmp_path / "clip.mp4", 12)
    save_images(tmp_path / "images", 3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_thread_left() -> Generator[None, None, None]:
    """See that a test ends all the threads that it starts."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before
