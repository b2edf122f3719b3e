"""No output of `saliency-run` destroys what it reads, nor another output."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from saliency_edge.runtime.cli import app
from saliency_edge.runtime.errors import SaliencyError, UsageError
from toy_models import save_clip, save_images, save_toy_bundle

OPTIONS = ("--output", "--save-maps", "--jsonl", "--json", "--qp-map")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_toy_bundle(tmp_path / "toy")
    save_clip(tmp_path / "v.mp4", 4, (48, 64))
    (tmp_path / "photos").mkdir()
    save_images(tmp_path / "photos", 3)
    (tmp_path / "link.mp4").symlink_to(tmp_path / "v.mp4")
    (tmp_path / "hard.mp4").hardlink_to(tmp_path / "v.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hashes(folder: Path) -> dict[str, str]:
    inputs = [folder / "v.mp4", *(folder / "photos").glob("*.png"), *(folder / "toy").rglob("*.*")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs if path.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        "toy v.mp4 --output v.mp4",
        "toy v.mp4 --output link.mp4",
        "toy v.mp4 --output hard.mp4",
        "toy v.mp4 --output ./photos/../v.mp4",
        "toy photos --save-maps photos",
        "toy photos/*.png --save-maps photos",
        "toy v.mp4 --jsonl v.mp4",
        "toy v.mp4 --json v.mp4",
        "toy v.mp4 --json toy/manifest.json",
        "toy v.mp4 --output toy/fp32.onnx",
        "toy v.mp4 --jsonl s --json s",
        "toy v.mp4 --policy all --qp-map q.npy --jsonl q.npy",
    ],
)
def test_an_output_that_would_destroy_something_is_refused(here: Path, words: str) -> None:
    before = hashes(here)
    done = CliRunner().invoke(app, words.split(), standalone_mode=False)

    assert isinstance(done.exception, UsageError), done.output
    assert hashes(here) == before
    assert not (here / "s").exists()


@pytest.mark.parametrize("target", ["v.mp4", "photos", "toy", "link.mp4", "toy/a"])
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("source", ["v.mp4", "photos"])
def test_whatever_is_combined_inputs_stay_as_they_are(
    here: Path, source: str, option: str, target: str
) -> None:
    read = {name: found for name, found in hashes(here).items() if f"/{source}" in name or "/toy/" in name}
    done = CliRunner().invoke(app, ["toy", source, option, target], standalone_mode=False)

    after = hashes(here)
    assert {name: after.get(name) for name in read} == read
    assert done.exception is None or isinstance(done.exception, SaliencyError), done.exception


def test_the_target_of_a_link_is_written_and_the_link_stays(here: Path) -> None:
    (here / "lines").write_text("old")
    (here / "to_lines").symlink_to("lines")
    done = CliRunner().invoke(app, ["toy", "v.mp4", "--jsonl", "to_lines"], standalone_mode=False)

    assert done.exception is None, done.output
    assert (here / "to_lines").is_symlink()
    assert (here / "lines").read_text().count("\n") == 4


@pytest.mark.usefixtures("here")
def test_a_device_is_written_in_place() -> None:
    for option in ("--json", "--jsonl"):
        done = CliRunner().invoke(app, ["toy", "v.mp4", option, "/dev/null"], standalone_mode=False)
        assert done.exception is None, done.output
        assert Path("/dev/null").is_char_device()
