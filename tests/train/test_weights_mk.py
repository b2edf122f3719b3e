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
    for name in ("teachers/glimpse/a.onnx", "teachers/glimpse/b.onnx", "backbones/vgg16_conv_hed_fp16.npz"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
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
        if Path(program).name == "saliency-export":
            values, _ = parsed(export_cli.app, words)
            assert values["weights"] in there
            there.add(values["output"] / "fp32.onnx")
            continue
        assert Path(program).name == "saliency-train"
        assert words[0] == "recipe"
        values, _ = parsed(train_cli.app, words)
        recipe = RECIPES[values["name"]]
        starts = [path for path in (values["start"], values["vgg16"]) if path is not None]
        teachers = list(values["teacher"] or ())
        assert there.issuperset({*starts, *teachers}), values
        assert bool(teachers) == bool(recipe.distilled), values
        there.add(values["output"] / f"{recipe.network}.safetensors")
        run.append(values["name"])

    assert sorted(run) == sorted(RECIPES)


def test_a_network_that_teaches_counts_twice(data: Path) -> None:
    words = next(words for _, *words in commands(data) if "mlnet_final" in words)
    teachers = parsed(train_cli.app, words)[0]["teacher"]

    assert [path.name for path in teachers] == ["a.onnx", "b.onnx", *["fp32.onnx"] * 4]
    assert [path.parent.name for path in teachers[2:]] == ["deep_half"] * 2 + ["mlnet_small"] * 2


def test_a_folder_without_the_data_is_refused(tmp_path: Path) -> None:
    done = planned(tmp_path)

    assert done.returncode != 0
    assert "holds no teachers/glimpse/*.onnx. Give the folder of the data" in done.stderr
    assert done.stdout == ""
