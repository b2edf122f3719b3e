"""Every command on input that cannot be: one line that says so, an exit code, and no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import onnx
import pytest

from dataset_files import save_map, save_photo
from saliency_edge.runtime.contract import METADATA_KEY
from toy_models import save_clip, save_toy, save_toy_bundle

DEEP = "[" * 100_000 + "]" * 100_000


def edited(source: Path, path: Path, edit: str) -> None:
    """Write an ONNX file that is changed in one respect."""
    model = onnx.load(source)
    if edit == "ir":
        model.ir_version = 99
    elif edit == "opset":
        model.opset_import[0].version = 99
    elif edit == "external":
        tensor = model.graph.initializer[0]
        for field in ("raw_data", "float_data", "int64_data"):
            tensor.ClearField(field)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "weights.bin"
    else:
        next(item for item in model.metadata_props if item.key == METADATA_KEY).value = edit
    path.write_bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    save_toy_bundle(folder / "toy")
    save_clip(folder / "clip.mp4", 3)
    whole = save_toy(folder / "toy.onnx")
    edits = {"list": "[]", "deep": DEEP} | {name: name for name in ("ir", "opset", "external")}
    for name, edit in edits.items():
        edited(whole, folder / f"{name}.onnx", edit)
    for name, text in {"deep": DEEP, "list": "[]", "nan": '{"schema": NaN}', "empty": ""}.items():
        (folder / f"{name}.json").write_text(text)
        shutil.copytree(folder / "toy", folder / f"{name}_bundle")
        (folder / f"{name}_bundle" / "manifest.json").write_text(text)
    for number in (1, 2, 3):
        save_photo(folder / f"plain/images/{number}.jpg")
        save_map(folder / f"plain/maps/{number}.png")
    shutil.copytree(folder / "plain", folder / "binary")
    (folder / "binary" / "fixations.csv").write_bytes(bytes(range(256)) * 9)
    (folder / "salicon" / "annotations").mkdir(parents=True)
    (folder / "salicon" / "annotations" / "fixations_val2014.json").write_text(DEEP)
    (folder / "pickle.safetensors").write_bytes(b"\x80\x04K\x01.")
    (folder / "junk.safetensors").write_bytes(b"\xff" * 50)
    return folder


CASES = [
    ("saliency-run deep_bundle clip.mp4", 1, "nested deeper than"),
    ("saliency-run list_bundle clip.mp4", 1, "the manifest is not one: expected an object, found a list"),
    ("saliency-run nan_bundle clip.mp4", 1, "schema is None, expected 1"),
    ("saliency-run empty_bundle clip.mp4", 1, "manifest.json is not JSON"),
    ("saliency-run list.onnx clip.mp4", 1, "the contract: expected object, got array"),
    ("saliency-run deep.onnx clip.mp4", 1, "the contract is nested deeper than"),
    ("saliency-run ir.onnx clip.mp4", 1, "has IR version 99, ONNX Runtime"),
    ("saliency-run opset.onnx clip.mp4", 1, "has opset 99 of ai.onnx, ONNX Runtime"),
    ("saliency-run external.onnx clip.mp4", 1, "keeps weights in another file"),
    ("saliency-calib audit deep.json", 1, "Make one: saliency-calib select"),
    ("saliency-calib audit list.json", 1, "is not a list of frames: expected an object"),
    ("saliency-calib audit --ranges deep.json", 1, "Compute them again: saliency-calib ranges"),
    ("saliency-calib audit --ranges nan.json", 1, "schema is None, expected 1"),
    ("saliency-calib select plain --output x.json --seed -1", 2, "--seed -1: expected a number from 0"),
    ("saliency-calib ranges external.onnx plain --output x.json", 1, "keeps weights in another file"),
    ("saliency-bench toy --check deep.json", 1, "Make it again: saliency-bench MODEL... --save"),
    ("saliency-bench toy --check list.json", 1, "is not a baseline of saliency-bench"),
    ("saliency-bench toy --threads 10000", 2, "--threads 10000: this machine has"),
    ("saliency-bench toy --seconds nan", 2, "--seconds"),
    ("saliency-bench toy --leak inf", 2, "--leak inf: expected"),
    ("saliency-bench toy --batch 99999999999", 2, "--batch 99999999999: expected"),
    ("saliency-bench toy --tolerance nan", 2, "--tolerance nan: expected"),
    ("saliency-eval toy plain --seed -1", 2, "--seed -1: expected a number from 0"),
    ("saliency-eval toy plain --sigma nan", 2, "--sigma"),
    ("saliency-eval toy plain --sigma inf", 2, "expected"),
    ("saliency-eval toy binary", 1, "fixations.csv"),
    ("saliency-eval toy salicon --layout salicon", 1, "is not SALICON's JSON"),
    ("saliency-eval pickle.safetensors plain", 1, "is a pickle"),
    ("saliency-eval junk.safetensors plain", 1, "is no safetensors file, or it is damaged"),
    ("saliency-train fit plain --output run --learning-rate nan", 2, "--learning-rate nan: expected"),
    ("saliency-train fit plain --output run --learning-rate -1", 2, "--learning-rate -1.0: expected"),
    ("saliency-train fit plain --output run --ema 2", 2, "--ema 2: expected a decay"),
    ("saliency-train fit plain --output run --ema nan", 2, "--ema nan: expected"),
    ("saliency-train fit plain --output run --backbone-rate -1", 2, "--backbone-rate -1.0: expected"),
    ("saliency-train fit plain --output run --backbone-rate inf", 2, "--backbone-rate inf: expected"),
    ("saliency-train fit plain --output run --validation-share 1", 2, "--validation-share 1.0: expected"),
    ("saliency-train fit plain --output run --validation-share nan", 2, "--validation-share nan: expected"),
    ("saliency-train fit plain --output run --seed -1", 2, "--seed -1: expected"),
    ("saliency-train fit plain --output run --workers 100000", 2, "--workers 100000: expected"),
    ("saliency-train fit plain --output run --batch 999999999", 2, "--batch 999999999: expected"),
    ("saliency-train fit plain --output run --loss 0*kld", 2, "WEIGHT above 0"),
    ("saliency-train fit plain --output run --steps 0", 2, "--steps"),
    ("saliency-export --int8 --min-cc 2,2", 2, "--min-cc 2,2: expected"),
    ("saliency-export --int8 --min-cc nan", 2, "--min-cc nan: expected"),
    ("saliency-export --int8 --max-kld -1", 2, "--max-kld -1: expected"),
    ("saliency-export --int8 --max-peak-shift nan", 2, "--max-peak-shift"),
    ("saliency-export --int8 --search-budget 999999999,1", 2, "--search-budget 999999999,1: expected"),
    ("saliency-export --workspace 99999999999", 2, "--workspace 99999999999: expected"),
    ("saliency-export --batch 99999999999", 2, "--batch 99999999999: expected"),
    ("saliency-export --size 99999999999x1", 2, "--size 99999999999x1: expected"),
    ("saliency-export --fp16 deep_bundle --engine rtx", 1, "nested deeper than"),
]


@pytest.mark.parametrize(("words", "code", "message"), CASES, ids=[words for words, _, _ in CASES])
def test_bad_input_is_one_line(
    words: str,
    code: int,
    message: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command, *rest = words.split()
    (script,) = entry_points(group="console_scripts", name=command)
    before = sorted(path.name for path in place.rglob("*"))
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", [command, *rest])
    with pytest.raises(SystemExit) as raised:
        script.load()()
    lines = capfd.readouterr().err.strip().splitlines()

    assert raised.value.code == code
    assert message in lines[-1]
    assert "Traceback" not in "".join(lines)
    assert "internal error" not in "".join(lines)
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert sorted(path.name for path in place.rglob("*")) == before, "nothing is left behind"


@pytest.mark.parametrize("words", ["saliency-run deep_bundle clip.mp4", "saliency-eval toy binary"])
def test_so_it_is_in_a_process_of_its_own(words: str, place: Path) -> None:
    command, *rest = words.split()
    program = str(Path(sys.executable).parent / command)
    done = subprocess.run([program, *rest], cwd=place, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_the_traceback_can_be_seen(place: Path) -> None:
    environment = {**os.environ, "SALIENCY_DEBUG": "1"}
    words = [str(Path(sys.executable).parent / "saliency-run"), "deep_bundle", "clip.mp4"]
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].startswith("error: ")
