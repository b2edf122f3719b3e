"""The bundle that ships: it is what the shipped weights give, and a name is enough to run it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from saliency_edge.calib.frames import shipped_frames
from saliency_edge.export.int8.scales import quantized_weights
from saliency_edge.runtime import Predictor
from saliency_edge.runtime.artifact import sha256_of
from saliency_edge.runtime.bundle import Bundle
from saliency_edge.runtime.errors import ArtifactError, UsageError
from saliency_edge.runtime.ready import READY, WEIGHTS, find_model, ready_names, unpack, unpacked_bundle
from saliency_edge.train.checkpoint import load_checkpoint, shipped_weights
from seeded_networks import torch_maps

LARGEST_BYTES = 2_000_000


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    unpacked_bundle.cache_clear()


@pytest.mark.parametrize("name", ready_names())
def test_it_is_of_the_shipped_weights_and_whole(name: str) -> None:
    with Bundle.open(find_model(Path(name))) as bundle:
        assert bundle.manifest["lineage"]["weights_sha256"] == sha256_of(shipped_weights(name)), (
            "the weights have changed: make ready-bundle"
        )
        assert set(bundle.models) == {"fp16", "int8"}
        for precision in bundle.models:
            assert bundle.model(precision).is_file()  # its hash is the manifest's
        assert bundle.golden_file().is_file()
        assert bundle.manifest["int8"]["passed"]
    assert (READY / f"{name}.npz").stat().st_size < LARGEST_BYTES


def test_its_weights_are_the_checkpoints() -> None:
    """fp16 as they are; int8 rounded at the file's own scales by what the export rounds with."""
    files = unpack(READY / "lite2.npz")
    state = load_checkpoint(shipped_weights("lite2")).network.state_dict()
    half, int8 = (
        {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in onnx.load_from_string(content).graph.initializer
        }
        for content in (files["fp16.onnx"], files["int8.onnx"])
    )
    kernels = [name for name in half if name.endswith("conv.weight")]
    assert len(kernels) > 60
    for name in kernels:
        own = state[f"body.{name}"].numpy()
        np.testing.assert_array_equal(half[name], own.astype(np.float16))
        np.testing.assert_array_equal(int8[f"{name}.quantized"], quantized_weights(own)[0])


def test_a_name_is_enough_and_the_map_is_pytorchs() -> None:
    frame_bgr = shipped_frames()[0][1]
    with Predictor("lite2", precision="fp16", backend="onnxruntime") as predictor:
        size_hw, fit = predictor.contract.size_hw, predictor.contract.fit
        cells = predictor(frame_bgr, output="cells")
        assert predictor(frame_bgr).shape == frame_bgr.shape[:2]
    from saliency_edge.runtime.fit import crop_map, fit_frame, window_of

    fitted = fit_frame(frame_bgr, size_hw, fit)
    expected = torch_maps(load_checkpoint(shipped_weights("lite2")), fitted[None])[0]
    expected = crop_map(expected, window_of(frame_bgr.shape[:2], size_hw, fit))
    np.testing.assert_allclose(cells, expected, atol=4e-3)


def test_the_cache_is_used_again_and_mended() -> None:
    folder = unpacked_bundle("lite2")
    stamp = (folder / "int8.onnx").stat().st_mtime_ns
    unpacked_bundle.cache_clear()
    assert unpacked_bundle("lite2") == folder
    assert (folder / "int8.onnx").stat().st_mtime_ns == stamp

    (folder / "int8.onnx").write_bytes(b"cut off")
    unpacked_bundle.cache_clear()
    assert (
        hashlib.sha256((unpacked_bundle("lite2") / "int8.onnx").read_bytes()).hexdigest()
        == (json.loads((folder / "manifest.json").read_text())["models"]["int8"]["sha256"])
    )


def test_without_a_cache_a_temporary_folder_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = unpacked_bundle("lite2")
    assert (folder / "manifest.json").is_file()
    assert tmp_path not in folder.parents


def test_a_bundle_of_that_name_in_the_folder_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lite2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_model(Path("lite2")) == Path("lite2")
    with pytest.raises(ArtifactError, match=r"lite2 is no bundle: it holds no manifest\.json"):
        Predictor("lite2")


def test_other_networks_names_get_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"none ships ready .*lite2.*saliency-export --network deep_half"):
        Predictor("deep_half")
    with pytest.raises(ArtifactError, match=r"no such model: nothing\. .* one that ships: lite2"):
        Predictor("nothing")


def test_damage_is_one_line(tmp_path: Path) -> None:
    packed = tmp_path / "lite2.npz"
    packed.write_bytes((READY / "lite2.npz").read_bytes()[:-5000])
    with pytest.raises(ArtifactError, match="ships as lite2 is damaged"):
        unpack(packed)


def test_it_needs_neither_torch_nor_onnx(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom saliency_edge.runtime.ready import unpacked_bundle\nunpacked_bundle('lite2')\n"
        "print(*sorted({'torch', 'onnx', 'safetensors'} & set(sys.modules)))"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
    assert (WEIGHTS / "lite2.safetensors").is_file()
