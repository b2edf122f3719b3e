"""docs/weights.mk: each recipe is run once, from what is there by then."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsing import parsed
from saliency_edge.export import cli as export_cli
from saliency_edge.train import cli as train_cli
from saliency_edge.train.recipes import RECIPES

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
WEIGHTS_MK = Path(__file__).resolve().parents[2] / "docs" / "weights.mk"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data/mit1003").mkdir(parents=True)
    (tmp_path / "data/backbones").mkdir()
    (tmp_path / "data/backbones/efficientnet-lite2.pth").touch()
    return tmp_path / "data"


def planned(data: Path) -> subprocess.CompletedProcess[str]:
    command = ["make", "-n", "-f", str(WEIGHTS_MK), "weights", f"DATA={data}", f"RUNS={data.parent / 'runs'}"]
    # Inside `make test` these would tell make that it is called by another, which it then talks about.
    free = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    }
    return subprocess.run(command, capture_output=True, text=True, check=False, env=free)


def commands(data: Path) -> Iterator[list[str]]:
    done = planned(data)
    assert done.returncode == 0, done.stderr
    *stages, told = done.stdout.replace("\\\n", " ").splitlines()
    assert "To ship them, copy them into train/weights" in told
    for line in stages:
        yield shlex.split(line)


def test_every_recipe_is_run_once_from_what_is_there(data: Path) -> None:
    there = {path for path in data.rglob("*") if path.is_file()}
    run: list[str] = []
    for program, *words in commands(data):
        if program == "mkdir":  # and git shows the weights of a commit
            there.add(Path(words[-1]))
            continue
        if Path(program).name == "saliency-export":
            values, _ = parsed(export_cli.app, words)
            assert values["weights"] in there
            there.add(values["output"] / "fp32.onnx")
            continue
        assert Path(program).name == "saliency-train"
        assert words[0] == "recipe"
        values, _ = parsed(train_cli.app, words)
        recipe = RECIPES[values["name"]]
        starts = [
            path for path in (values["start"], values["vgg16"], values["efficientnet"]) if path is not None
        ]
        teachers = list(values["teacher"] or ())
        assert there.issuperset({*starts, *teachers}), values
        assert bool(teachers) == bool(recipe.blended or "distilled" in recipe.per_batch), values
        there.add(values["output"] / f"{recipe.network}.safetensors")
        run.append(values["name"])

    assert sorted(run) == sorted(RECIPES)


def test_the_weights_it_starts_from_are_in_the_history(data: Path) -> None:
    shown = [words[-3] for program, *words in commands(data) if program == "mkdir"]

    assert sorted(word.rpartition("/")[2] for word in shown) == ["deep_half.safetensors", "mlnet.safetensors"]
    for word in shown:
        done = subprocess.run(
            ["git", "cat-file", "-e", word], cwd=WEIGHTS_MK.parent, capture_output=True, check=False
        )
        if b"not a git repository" in done.stderr:
            pytest.skip("not a git checkout")
        assert done.returncode == 0, word


def test_a_folder_without_the_data_is_refused(tmp_path: Path) -> None:
    done = planned(tmp_path)

    assert done.returncode != 0
    assert "holds no mit1003. Give the folder of the data" in done.stderr
    assert done.stdout == ""
