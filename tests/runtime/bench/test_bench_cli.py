"""`saliency-bench` as it is typed: figures, baselines, verdicts, files, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from engine_bundles import write_manifest
from toy_models import noise, save_toy, toy_contract, toy_map

SHORT = ("--frames=50", "--rounds=5", "--seconds=1", "--start-ups=1", "--no-roofline", "--size=100x150")
NAME = "toy fp32 24x32"


def bench(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "saliency_edge.runtime.bench.cli", *(str(word) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy bundle for batches of 1 to 4, whose golden maps are computed by numpy."""
    contract = toy_contract(batch=(1, 4), fit="pad")
    folder = tmp_path_factory.mktemp("bench") / "toy"
    folder.mkdir()
    save_toy(folder / "fp32.onnx", contract)
    frames = np.stack([noise(contract.size_hw, seed) for seed in range(3)])
    maps = np.stack([toy_map(frame) for frame in frames]).astype(np.float32)
    np.savez_compressed(folder / "golden.npz", names=np.array(["a", "b", "c"]), frames=frames, maps=maps)
    write_manifest(folder, contract)
    return folder


@pytest.fixture(scope="module")
def baseline(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("baseline") / "baseline.json"
    done = bench(bundle, *SHORT, "--save", path)
    assert done.returncode == 0, done.stderr
    return path


def changed(baseline: Path, folder: Path, key: str, value: object) -> Path:
    """Write a copy of a baseline with one value of its model changed."""
    document: dict[str, Any] = json.loads(baseline.read_text(encoding="utf-8"))
    document["models"][NAME][key] = value
    path = folder / "changed.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_figures_say_what_they_include(bundle: Path, tmp_path: Path) -> None:
    done = bench(bundle, *SHORT, "--batch", "1,3", "--json", tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    model = figures["models"][0]

    assert done.returncode == 0, done.stderr
    assert "a frame is fit, infer, crop, one after another" in done.stdout
    assert "infer includes host to device and back" in done.stdout
    assert [case["batch"] for case in model["cases"]] == [1, 3]
    for case in model["cases"]:
        latency = case["latency"]["frame"]
        assert 0 < latency["p50_ms"] <= latency["p90_ms"] <= latency["p99_ms"] <= latency["max_ms"]
        stages = sum(case["latency"][stage]["mean_ms"] for stage in ("fit", "infer", "crop"))
        assert stages == pytest.approx(latency["mean_ms"], rel=0.01)
    assert model["golden"]["max_abs"] < 1e-6
    assert model["start_up"]["load_s"] < model["start_up"]["first_map_s"]
    assert figures["base_install_mb"]["numpy"] > 10


def test_two_models_are_compared_in_turn(bundle: Path) -> None:
    done = bench(bundle, bundle / "fp32.onnx", *SHORT)

    assert done.returncode == 0, done.stderr
    assert f"{NAME} #2 takes " in done.stdout
    assert f" times as long as {NAME}, 95% [" in done.stdout


def test_what_got_worse_fails_and_is_named_in_every_file(
    bundle: Path, baseline: Path, tmp_path: Path
) -> None:
    samples = json.loads(baseline.read_text(encoding="utf-8"))["models"][NAME]["samples"]
    samples["tall"]["map_hw"][1] += 1
    other = changed(baseline, tmp_path, "samples", samples)
    junit, markdown = tmp_path / "bench.xml", tmp_path / "bench.md"
    files = ("--junit", junit, "--markdown", markdown)
    done = bench(bundle, *SHORT, "--check", other, "--tolerance", "100%", "--leak", "50", *files)
    suites = ElementTree.parse(junit).getroot()
    failures = {case.get("name") for case in suites.iter("testcase") if case.find("failure") is not None}

    assert done.returncode == 1, done.stdout + done.stderr
    assert f"worse: {NAME}: the map of a tall picture has 3x" in done.stdout
    assert "map of a tall picture" in failures
    assert suites.get("failures") == str(len(failures))
    assert "figures got worse" in markdown.read_text(encoding="utf-8").splitlines()[0]


def test_a_baseline_of_another_kind_of_machine_is_pointed_out(
    bundle: Path, baseline: Path, tmp_path: Path
) -> None:
    document = json.loads(baseline.read_text(encoding="utf-8"))
    document["machine"]["cpu"] = "abacus"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(document), encoding="utf-8")
    done = bench(bundle, *SHORT, "--check", other)

    assert "the baseline's was abacus; its figures may not hold here" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tolerance", "ten"), "--tolerance ten: expected a part such as 10% or 0.1"),
        (("--batch", "0"), "--batch 0: expected counts of frames"),
        (("--batch", "5"), f"--batch 5: {NAME} takes 1 to 4 frames at once"),
        (("--precision", "fp64"), "--precision fp64: expected some of fp32, fp16, int8"),
        (("--size", "big"), "--size big: expected HEIGHTxWIDTH"),
        (("--junit", "bench.xml"), "--junit does nothing without --check. Leave it out"),
        (("--check", "missing.json"), "cannot read missing.json"),
        (("--save", "/proc/none/baseline.json"), "cannot write /proc/none/baseline.json"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: Sequence[str], message: str, bundle: Path) -> None:
    done = bench(bundle, *words)

    assert done.returncode == (1 if words[0] in ("--check", "--save") else 2)
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert message in done.stderr


def test_a_damaged_baseline_is_refused(bundle: Path, baseline: Path, tmp_path: Path) -> None:
    other = changed(baseline, tmp_path, "ratios", "none")
    done = bench(bundle, *SHORT, "--check", other)

    assert done.returncode == 1
    assert f"{other}: models[...].ratios: expected object, got str" in done.stderr
    assert "Make it again: saliency-bench MODEL... --save" in done.stderr
