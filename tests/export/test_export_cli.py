"""saliency-export as users type it: options, errors of one line, and the device's part without PyTorch."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from saliency_edge.export import cli
from saliency_edge.export.options import (
    asked_precisions,
    parse_batch,
    parse_budget,
    parse_limits,
    parse_targets,
)
from saliency_edge.runtime.errors import UsageError
from seeded_networks import save_seeded


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_seeded(tmp_path_factory.mktemp("weights") / "seeded.safetensors")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def run(*arguments: str | Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the command in this process, as its entry point does, and give its exit code."""
    monkeypatch.setattr(sys, "argv", ["saliency-export", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_export_with_json_prints_one_document(
    weights: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run("--weights", weights, "--fp16", "--engine", "none", "--json", monkeypatch=monkeypatch)
    document = json.loads(capsys.readouterr().out)

    assert code == 0
    assert document["bundle"] == "deep_half"
    assert document["engines"] == []
    assert document["manifest"] == json.loads((elsewhere / "deep_half" / "manifest.json").read_text())


def test_engines_are_built_into_the_bundle_and_on_the_device(
    weights: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="builds engines for real")
    options = ("--fp32", "--fp16", "--engine", "rtx", "--target", "sm86")
    assert run("--weights", weights, *options, monkeypatch=monkeypatch) == 0
    said = capsys.readouterr().out
    engines = sorted(path.name for path in (elsewhere / "deep_half" / "engines").glob("*.engine"))

    assert [name.rpartition("-")[2] for name in engines] == ["fp16.engine", "fp32.engine"]
    assert all(f"engine {name}: " in said for name in engines)
    assert "8 in Half, 2 in Float" in said
    assert "10 in Float" in said
    assert said.endswith("next: saliency-run deep_half VIDEO --output overlay.mp4\n")

    shutil.rmtree(elsewhere / "deep_half" / "engines")
    assert run("deep_half", "--engine", "rtx", "--target", "sm89", "--json", monkeypatch=monkeypatch) == 0
    document = json.loads(capsys.readouterr().out)
    assert [Path(engine["path"]).is_file() for engine in document["engines"]] == [True]
    assert document["engines"][0]["compute_capability"] == "8.9"


def test_device_part_loads_neither_torch_nor_onnx() -> None:
    program = (
        "import sys; sys.argv = ['saliency-export', 'nosuch', '--fp16'];"
        "from saliency_edge.export.cli import main\n"
        "try: main()\n"
        "except SystemExit: print({'torch', 'onnx', 'onnxruntime', 'onnxscript'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
    assert done.stderr.strip() == "error: no such bundle: nosuch. Make one with saliency-export"


def damaged(kind: str, weights: Path, folder: Path) -> Path:
    path = folder / "weights.safetensors"
    match kind:
        case "zero bytes":
            path.write_bytes(b"")
        case "truncated":
            path.write_bytes(weights.read_bytes()[:100_000])
        case "pickle":
            path.write_bytes(pickle.dumps({"conv1.weight": [1.0]}))
        case "torch zip":
            torch.save({"conv1.weight": torch.zeros(1)}, path)
        case "text":
            path.write_text("not weights", encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["missing", "zero bytes", "truncated", "pickle", "torch zip", "text"])
def test_weights_that_are_none_are_refused_in_one_line(
    kind: str,
    weights: Path,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = damaged(kind, weights, elsewhere.parent)

    assert run("--weights", path, monkeypatch=monkeypatch) == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert ("pickle" in said.err) == (kind in ("pickle", "torch zip"))
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--min-cc", "0.99"], "--min-cc is for int8: give --int8 too"),
        (["--int8", "--min-cc", "high"], "--min-cc high: expected MEAN,WORST"),
        (["--int8", "--max-kld", "0.1,0.2,0.3"], "--max-kld 0.1,0.2,0.3: expected MEAN,WORST"),
        (["--int8", "--search-budget", "0,4"], "--search-budget 0,4: expected FRAMES,SETS"),
        (["--int8", "--calib", "photos", "--ranges", "x.json"], "Give one of them"),
        (["nosuch", "--int8", "--calib", "photos"], "--calib is for an export"),
        (["--network", "deep_fool"], "unknown network 'deep_fool'. Choose one of deep_half, deep_full"),
        (["--network", "deep_full"], "no weights ship for deep_full"),
        (["--size", "240"], "--size 240: expected HEIGHTxWIDTH"),
        (["--size", "242x320"], "multiples of 4"),
        (["--size", "16x16"], "from 32 on"),
        (["--network", "mlnet", "--size", "100x100"], "multiples of 8"),
        (["--size", "9999x9999"], "up to 4096"),
        (["--batch", "8-1"], "--batch 8-1: expected"),
        (["--opset", "11"], "opset 11: choose one from"),
        (["nosuch", "--size", "240x320"], "--size is for an export"),
        (["seeded.safetensors"], "Export it: saliency-export --weights seeded.safetensors"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(
    arguments: list[str],
    expected: str,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*arguments, monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err

    assert expected in said
    assert said.count("\n") == 1
    assert list(elsewhere.iterdir()) == []


def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--weights", weights, "--output", "/proc/saliency/bundle", monkeypatch=monkeypatch) == 1
    said = capsys.readouterr()

    assert said.err.startswith("error: cannot write /proc/saliency/bundle")
    assert said.out == ""


def test_another_networks_weights_are_refused(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--weights", weights, "--network", "mlnet", monkeypatch=monkeypatch) == 1
    assert "holds deep_half, not mlnet. Choose --network deep_half" in capsys.readouterr().err


def test_option_texts_are_understood() -> None:
    assert [parse_batch(text) for text in ("1", "64", "1-8")] == [(1, 1), (64, 64), (1, 8)]
    assert parse_targets("sm86, sm120,") == ("sm86", "sm120")
    assert parse_targets(None) == ()
    assert asked_precisions(fp32=False, fp16=False, int8=False) == ("fp16",)
    assert asked_precisions(fp32=True, fp16=False, int8=False) == ("fp32",)
    assert asked_precisions(fp32=True, fp16=True, int8=False) == ("fp32", "fp16")
    assert asked_precisions(fp32=False, fp16=False, int8=True) == ("int8",)
    assert asked_precisions(fp32=False, fp16=True, int8=True) == ("fp16", "int8")
    assert parse_limits("--min-cc", "0.998,0.99", 1) == (0.998, 0.99)
    assert parse_limits("--max-kld", "0.01", 1000) == (0.01, 0.01)
    assert parse_budget("2,8") == (2, 8)


@pytest.mark.parametrize("text", ["", "0", "65", "2-1", "1-65", "1-", "a", "1.5"])
def test_batches_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--batch"):
        parse_batch(text)
