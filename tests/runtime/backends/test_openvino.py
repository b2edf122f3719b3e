"""OpenVINO's maps against hand-computed ones, its cache of compiled models, and files that are wrong."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest

from saliency_edge.runtime.backends.backend import infer_each, submit
from saliency_edge.runtime.backends.openvino_backend import OpenVinoBackend, OpenVinoModel
from saliency_edge.runtime.contract import METADATA_KEY
from saliency_edge.runtime.errors import ArtifactError, BackendError, ContractError
from saliency_edge.runtime.machine import cache_folder, cpu_features
from toy_models import SIZE_HW, noise, save_toy, toy_contract, toy_map, toy_model

pytest.importorskip("openvino", reason="no OpenVINO here: pip install 'saliency-edge[openvino]'")


@pytest.mark.parametrize("batch", [(1, 1), (3, 3), (1, 4)], ids=["one", "three", "dynamic"])
@pytest.mark.parametrize("threads", [None, 1])
def test_maps_are_the_networks_own(tmp_path: Path, batch: tuple[int, int], threads: int | None) -> None:
    path = save_toy(tmp_path / "toy.onnx", toy_contract(batch=batch))
    frames = np.stack([noise(SIZE_HW, seed) for seed in range(max(batch[0], batch[1] - 1))])
    with closing(OpenVinoModel.load(path, threads=threads)) as model:
        maps = model.infer(frames)

    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, [toy_map(frame) for frame in frames], atol=1e-6)


def test_submitted_frames_keep_their_order_and_their_maps(tmp_path: Path) -> None:
    """Two requests take turns: a map that is not taken yet must not become that of a later frame."""
    frames = [noise(SIZE_HW, seed)[np.newaxis] for seed in range(7)]
    with closing(OpenVinoModel.load(save_toy(tmp_path / "toy.onnx"))) as model:
        pending = [submit(model, batch) for batch in frames]
        maps = [each.result()[0] for each in reversed(pending)][::-1]

    np.testing.assert_allclose(maps, [toy_map(batch[0]) for batch in frames], atol=1e-6)


def test_a_frame_may_be_overwritten_once_it_is_submitted(tmp_path: Path) -> None:
    frame = noise(SIZE_HW, 1)[np.newaxis].copy()
    expected = toy_map(frame[0])
    with closing(OpenVinoModel.load(save_toy(tmp_path / "toy.onnx"))) as model:
        pending = submit(model, frame)
        frame[:] = 0
        np.testing.assert_allclose(pending.result()[0], expected, atol=1e-6)


def load_and_keep(path: Path) -> None:
    with closing(OpenVinoModel.load(path)) as model:
        model.keep()


def blobs() -> list[Path]:
    return sorted((cache_folder() / "openvino").glob("*.blob"))


def test_compiled_models_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    path = save_toy(tmp_path / "toy.onnx")
    load_and_keep(path)
    assert len(blobs()) == 1

    def not_again(*_: object, **__: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(openvino.Core, "compile_model", not_again)
    frame = noise(SIZE_HW, 4)
    with closing(OpenVinoModel.load(path)) as model:
        np.testing.assert_allclose(model.infer(frame[np.newaxis])[0], toy_map(frame), atol=1e-6)


@pytest.mark.parametrize("damage", ["cut off", "one bit", "empty", "junk"])
def test_a_damaged_compiled_model_is_made_again(tmp_path: Path, damage: str) -> None:
    """OpenVINO's own cache takes a file with wrong bits without a word, and its maps are wrong."""
    path, frame = save_toy(tmp_path / "toy.onnx"), noise(SIZE_HW, 4)
    load_and_keep(path)
    (blob,) = blobs()
    whole = blob.read_bytes()
    middle = len(whole) // 2
    blob.write_bytes(
        {
            "cut off": whole[:middle],
            "one bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "empty": b"",
            "junk": b"junk" * 100,
        }[damage]
    )
    with closing(OpenVinoModel.load(path)) as model:
        np.testing.assert_allclose(model.infer(frame[np.newaxis])[0], toy_map(frame), atol=1e-6)
        model.keep()
    digest, content = blob.read_bytes()[:64], blob.read_bytes()[64:]
    assert sha256(content).hexdigest().encode() == digest


def test_another_model_of_the_same_name_is_another_compiled_model(tmp_path: Path) -> None:
    path, frame = tmp_path / "toy.onnx", noise(SIZE_HW, 4)
    for scale in (1 / 255, 1 / 510):
        save_toy(path, scale=scale)
        with closing(OpenVinoModel.load(path)) as model:
            found = model.infer(frame[np.newaxis])[0]
            model.keep()
        np.testing.assert_allclose(found, toy_map(frame) * scale * 255, atol=1e-6)
    assert len(blobs()) == 2


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    load_and_keep(save_toy(tmp_path / "toy.onnx"))


def test_old_compiled_models_go(tmp_path: Path) -> None:
    for number in range(20):
        load_and_keep(save_toy(tmp_path / "toy.onnx", scale=1 / (255 + number)))
    assert len(blobs()) == 16


@pytest.mark.parametrize(
    "content",
    [b"", b"hello\n" * 20, toy_model(toy_contract()).SerializeToString()[:200], b"\x08"],
    ids=["empty", "text", "cut off", "one byte"],
)
def test_a_damaged_file_is_refused_in_one_line(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "toy.onnx"
    path.write_bytes(content)

    with pytest.raises((ArtifactError, ContractError), match=r"toy\.onnx") as raised:
        OpenVinoModel.load(path)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        ({"size_hw": (48, 64)}, "its contract says"),
        ({"map_size_hw": (24, 32)}, "its contract says"),
        ({"batch": (2, 2)}, "its contract says"),
        ({"batch": (1, 8)}, "its contract says"),
    ],
)
def test_a_graph_that_breaks_its_contract(
    tmp_path: Path, lie: dict[str, tuple[int, int]], message: str
) -> None:
    model = toy_model(toy_contract())
    onnx.helper.set_model_props(model, {METADATA_KEY: replace(toy_contract(), **lie).to_json()})  # type: ignore[arg-type]
    onnx.save(model, tmp_path / "toy.onnx")

    with pytest.raises(ContractError, match=message):
        OpenVinoModel.load(tmp_path / "toy.onnx")


def test_a_model_without_contract(tmp_path: Path) -> None:
    model = toy_model(toy_contract())
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")

    with pytest.raises(ContractError, match="carries no saliency contract"):
        OpenVinoModel.load(tmp_path / "foreign.onnx")


def test_without_openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match=r"pip install 'saliency-edge\[openvino\]'"):
        OpenVinoModel.load(save_toy(tmp_path / "toy.onnx"))


def test_arithmetic_is_what_the_processor_really_does(tmp_path: Path) -> None:
    path = save_toy(tmp_path / "toy.onnx", toy_contract(precision="fp16"))
    with closing(OpenVinoModel.load(path)) as model:
        assert model.arithmetic == "fp32"  # asked for, so that fp16 is as exact as its weights
    if cpu_features() & {"avx512_bf16", "amx_bf16"}:
        with closing(OpenVinoModel.load(path, arithmetic="bf16")) as model:
            assert model.arithmetic == "bf16"
            assert model.description.endswith("CPU, fp16 in bf16")
    else:
        with pytest.raises(BackendError, match="computes fp16 in"):
            OpenVinoModel.load(path, arithmetic="bf16")


def test_it_is_named_as_the_option_names_it() -> None:
    assert OpenVinoBackend.name == "openvino"


def test_files_are_computed_several_at_once(tmp_path: Path) -> None:
    path = save_toy(tmp_path / "toy.onnx")
    frames = [noise(SIZE_HW, seed)[np.newaxis] for seed in range(9)]
    with closing(OpenVinoModel.load(path, throughput=True)) as model:
        assert model.slots == int(model._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) + 1
        found = [maps[0] for _, maps, _ in infer_each(model, enumerate(frames), ahead=True)]

    np.testing.assert_allclose(found, [toy_map(batch[0]) for batch in frames], atol=1e-6)


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from saliency_edge.runtime.backends.openvino_backend import OpenVinoModel
signal.signal(signal.SIGINT, lambda *_: print("handled", flush=True))
path = Path(sys.argv[1])
first, second = OpenVinoModel.load(path), OpenVinoModel.load(path, threads=1)
first.close()
del first
os.kill(os.getpid(), signal.SIGINT)
second.close()
del second
os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_signal_finds_its_stack_when_models_have_gone(tmp_path: Path) -> None:
    """The first of two goes first, as it does where a faster one is found."""
    path = save_toy(tmp_path / "toy.onnx")
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "handled\nhandled\n"), done.stderr
