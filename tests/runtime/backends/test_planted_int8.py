"""An int8 model of the shipped weights whose scales are damaged in one layer: no backend takes it.

The damage is vouched for by the manifest: only the maps can show it. The limits of the gate alone let most of
it through, what the export has measured of the model does not.
"""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from engine_bundles import replace_model, write_manifest
from saliency_edge.runtime.backends.backend import LoadOptions, infer_one
from saliency_edge.runtime.backends.onnxruntime_backend import OnnxRuntimeModel
from saliency_edge.runtime.backends.select import check_model, load_model
from saliency_edge.runtime.contract import METADATA_KEY
from saliency_edge.runtime.errors import ParityError
from saliency_edge.runtime.parity import GoldenFrames, correlation, divergence

pytest.importorskip("torch", reason="the shipped weights are exported by PyTorch")

BACKENDS = ["onnxruntime", "openvino"]
DAMAGE = [("conv1.weight_scale", 2.0), ("conv4.weight_scale", 0.5), ("conv8.weight_scale", 1.3)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """deep_half at 64 x 88 as fp32 and int8, with the promise that an export writes."""
    from bench_bundles import save_bench_bundle

    folder = save_bench_bundle(tmp_path_factory.mktemp("planted") / "deep_half")
    golden = GoldenFrames.read(folder / "golden.npz")
    quantize(folder, golden.pixels)
    with closing(OnnxRuntimeModel.load(folder / "int8.onnx")) as model:
        write_manifest(folder, replace(model.contract, precision="fp32"))
        maps = [infer_one(model, frame) for frame in golden.pixels]
    frames = {
        name: {
            "max_abs": float(np.abs(found - expected).max()),
            "cc": correlation(found, expected),
            "kldiv": divergence(found, expected),
        }
        for name, found, expected in zip(golden.names, maps, golden.maps, strict=True)
    }
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["parity"] = {"int8": {"frames": frames}}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def quantize(folder: Path, pixels: NDArray[np.uint8]) -> None:
    """Put symmetric Q/DQ around the convolutions, calibrated on the golden frames."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    batches = iter([{"frame": frame[np.newaxis]} for frame in pixels])

    class Frames(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(batches, None)

    path = folder / "int8.onnx"
    quantize_static(
        folder / "fp32.onnx",
        path,
        Frames(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )
    model = onnx.load(path)
    contract = json.loads({item.key: item.value for item in model.metadata_props}[METADATA_KEY])
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps({**contract, "precision": "int8"})})
    onnx.save(model, path)


def planted(sound: Path, folder: Path, scale: str, factor: float) -> Path:
    shutil.copytree(sound, folder)
    model = onnx.load(folder / "int8.onnx")
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == scale)
    damaged = numpy_helper.to_array(tensor) * np.float32(factor)
    tensor.CopyFrom(numpy_helper.from_array(damaged.astype(np.float32), scale))
    replace_model(folder, "int8", model.SerializeToString())
    return folder


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_sound_model_passes(sound: Path, backend: str) -> None:
    pytest.importorskip(backend, reason=f"no {backend} here")
    report = check_model(sound, "int8", LoadOptions(backend=backend, keep_records=False))
    assert [row.problem for row in report.rows] == [None] * len(report.rows)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("scale", "factor"), DAMAGE)
def test_a_damaged_layer_is_refused_in_one_line_and_another_precision_taken(
    sound: Path, tmp_path: Path, backend: str, scale: str, factor: float
) -> None:
    pytest.importorskip(backend, reason=f"no {backend} here")
    folder = planted(sound, tmp_path / "bundle", scale, factor)
    said: list[str] = []
    options = LoadOptions(backend=backend, say=said.append)
    with closing(load_model(folder, None, options)) as model:
        assert model.contract.precision == "fp32"
    (line,) = said
    assert "int8 differs from PyTorch on" in line
    assert line.endswith("runs fp32.onnx in its place")

    with pytest.raises(ParityError, match="int8 differs from PyTorch on"):
        load_model(folder, "int8", options)
