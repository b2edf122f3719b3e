"""No output of any command destroys what that command reads, nor another output."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from dataset_files import save_map, save_photo
from saliency_edge.train.checkpoint import shipped_weights
from toy_models import save_clip, save_images, save_toy, save_toy_bundle


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_toy_bundle(tmp_path / "toy")
    save_toy(tmp_path / "teacher.onnx")
    save_clip(tmp_path / "v.mp4", 4, (48, 64))
    save_images(tmp_path / "photos", 3)
    for number in range(4):
        save_photo(tmp_path / f"plain/images/{number}.jpg")
        save_map(tmp_path / f"plain/maps/{number}.png")
    (tmp_path / "list.json").write_text(
        json.dumps({"schema": 1, "frames": [{"path": "photos/image0.png", "index": None}]})
    )
    (tmp_path / "names.txt").write_text("0\n1\n")
    (tmp_path / "base.json").write_text("{}")
    (tmp_path / "link").symlink_to("photos")
    (tmp_path / "hard.png").hardlink_to(tmp_path / "photos" / "image1.png")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run(words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    command, *rest = words.split()
    (script,) = entry_points(group="console_scripts", name=command)
    monkeypatch.setattr("sys.argv", [command, *rest])
    with pytest.raises(SystemExit) as raised:
        script.load()()
    assert isinstance(raised.value.code, int)
    return raised.value.code


REFUSED = [
    ("saliency-calib select photos --output photos", "is read"),
    ("saliency-calib select photos --output link", "is read"),
    ("saliency-calib select v.mp4 --output .", "is read"),
    ("saliency-calib select v.mp4 --output photos", "image0.png, which no selection has written"),
    ("saliency-calib select v.mp4 --output toy", "which no selection has written"),
    ("saliency-calib select list.json --output list.json", "is read"),
    ("saliency-calib select photos v.mp4 --output v.mp4", "it is a file"),
    ("saliency-calib select photos --output -", "cannot be standard output"),
    ("saliency-calib ranges toy photos --output toy/manifest.json", "lies inside MODEL toy"),
    ("saliency-calib ranges toy photos --output photos/image0.png", "is read"),
    ("saliency-calib ranges toy photos --output hard.png", "is read"),
    ("saliency-calib ranges toy list.json --output list.json", "is read"),
    ("saliency-calib ranges toy/fp32.onnx photos --output toy/fp16.onnx", "lies inside MODEL"),
    ("saliency-eval toy plain --json toy/manifest.json", "lies inside MODEL toy"),
    ("saliency-eval toy plain --json plain/images/1.jpg", "is read"),
    ("saliency-eval toy plain --names names.txt --json names.txt", "is read"),
    ("saliency-eval toy plain,names=names.txt --json names.txt", "is read"),
    ("saliency-eval toy plain --json plain", "it is a folder"),
    ("saliency-bench toy --save toy/manifest.json", "lies inside MODEL toy"),
    ("saliency-bench teacher.onnx --json teacher.onnx", "is read"),
    ("saliency-bench toy --check base.json --save base.json", "--save base.json is --check base.json"),
    ("saliency-bench toy --check base.json --junit base.json", "is read"),
    ("saliency-bench toy --json a --markdown a", "written to the same place"),
    ("saliency-bench toy --save -", "--save - cannot be standard output"),
    ("saliency-train fit plain --output plain", "lies inside DATASET plain"),
    ("saliency-train fit plain --output plain/images/run", "lies inside DATASET plain"),
    ("saliency-train fit plain --output run --start run/deep_half.safetensors", "is read"),
    ("saliency-train fit plain --output run --start run/best.safetensors", "is read"),
    ("saliency-train recipe lite2 --data . --output photos/train/run", "which is read"),
    ("saliency-export --fp32 --weights b/w.safetensors --output b", "is read"),
    ("saliency-export --fp32 --output photos", "photos would be replaced, but it holds image0.png"),
    ("saliency-export --int8 --calib photos --output photos", "is read"),
    ("saliency-export --int8 --ranges toy/int8.ranges.json --output toy", "is read"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[words for words, _ in REFUSED])
def test_an_output_that_would_destroy_something_is_refused(
    here: Path,
    words: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if "run/" in words:
        (here / "run").mkdir()
        for name in ("deep_half.safetensors", "best.safetensors"):
            shutil.copy(shipped_weights("deep_half"), here / "run" / name)
    if "b/w" in words:
        save_toy_bundle(here / "b")
        shutil.copy(shipped_weights("deep_half"), here / "b" / "w.safetensors")
    if "toy/int8" in words:
        (here / "toy" / "int8.ranges.json").write_text("{}")
    before = hashes(here)
    code = run(words, monkeypatch)
    lines = capfd.readouterr().err.strip().splitlines()

    assert code != 0
    assert len(lines) == 1, lines
    assert message in lines[0]
    assert hashes(here) == before, "nothing is changed, nothing is left"


def test_a_selection_replaces_a_selection_and_nothing_else(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("saliency-calib select photos --output chosen", monkeypatch) == 0
    assert run("saliency-calib select photos --frames 1 --output chosen", monkeypatch) == 0
    assert len(list((here / "chosen").iterdir())) == 2
    assert run("saliency-calib select photos --output empty", monkeypatch) == 0
    (here / "chosen" / "notes.txt").write_text("mine")
    capfd.readouterr()

    assert run("saliency-calib select photos --output chosen", monkeypatch) != 0
    assert "notes.txt, which no selection has written" in capfd.readouterr().err
    assert (here / "chosen" / "notes.txt").read_text() == "mine"


def test_a_list_of_a_folder_makes_it_no_selection(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("saliency-calib select photos --output photos/manifest.json", monkeypatch) == 0
    before = hashes(here / "photos")

    assert run("saliency-calib select v.mp4 --output photos", monkeypatch) != 0
    assert "would be replaced" in capfd.readouterr().err
    assert hashes(here / "photos") == before


@pytest.mark.usefixtures("here")
def test_figures_on_standard_output_are_one_document(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("-", "/dev/stdout"):
        assert run(f"saliency-eval toy plain --json {name}", monkeypatch) == 0
        out, err = capfd.readouterr()

        assert json.loads(out)["sets"][0]["images"] == 4
        assert "plain: 4 images" in err


def test_a_run_of_another_configuration_is_left_as_it_is(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = "saliency-train fit plain --output run --steps 1 --batch 1 --size 32x32 --validation-share 0.3"
    assert run(words, monkeypatch) == 0
    before = hashes(here / "run")
    capfd.readouterr()

    assert run(f"{words} --seed 5", monkeypatch) != 0
    assert "belongs to another run" in capfd.readouterr().err
    assert hashes(here / "run") == before
