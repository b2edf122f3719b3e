"""Bundles for tests that build engines: of a tiny network made by hand, and of the real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from saliency_edge.runtime.artifact import sha256_of
from saliency_edge.runtime.contract import (
    INPUT_NAME,
    METADATA_KEY,
    OUTPUT_NAME,
    PRECISIONS,
    Contract,
    Precision,
)

WEIGHTS_SHA256 = "ab" * 32
RANGES_SHA256 = "cd" * 32
TINY = Contract(
    network="tiny",
    precision="fp32",
    size_hw=(32, 48),
    map_size_hw=(32, 48),
    batch=(1, 1),
    fit="stretch",
    weights_sha256=WEIGHTS_SHA256,
)
_TINY_CHANNELS = (3, 32, 32, 1)
_SIDE = 3


def tiny_bundle(folder: Path, batch: tuple[int, int] = (1, 1)) -> Path:
    """Write a bundle of a network of three convolutions, in all precisions."""
    folder.mkdir(parents=True)
    contract = replace(TINY, batch=batch)
    for precision in PRECISIONS:
        onnx.save(tiny_model(replace(contract, precision=precision)), folder / f"{precision}.onnx")
    write_own_golden(folder, contract)
    write_manifest(folder, contract)
    return folder


def write_own_golden(folder: Path, contract: Contract) -> None:
    """Write golden frames whose maps are those of the bundle's fp32 model in ONNX Runtime.

    They are black: the precisions of these small networks have little in common on others.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "fp32.onnx", providers=["CPUExecutionProvider"])
    frames = np.zeros((2, *contract.size_hw, 3), np.uint8)
    inputs = [np.repeat(frame[np.newaxis], contract.batch[0], axis=0) for frame in frames]
    maps = np.stack([session.run([OUTPUT_NAME], {INPUT_NAME: batch})[0][0] for batch in inputs])
    np.savez(folder / "golden.npz", names=np.array(["first", "second"]), frames=frames, maps=maps)


def tiny_model(contract: Contract, *, poison: float | None = None) -> onnx.ModelProto:
    """Make the tiny network's graph.

    Args:
        contract: its precision and batch count.
        poison: a value for one of the weights.
    """
    body = np.float32 if contract.precision == "fp32" else np.float16
    graph = _TinyGraph(np.dtype(body))
    graph.add("Cast", [INPUT_NAME], "pixels", to=helper.np_dtype_to_tensor_dtype(graph.body))
    graph.add("Transpose", ["pixels"], "planes", perm=[0, 3, 1, 2])
    tensor = "planes"
    for number, (inside, outside) in enumerate(pairwise(_TINY_CHANNELS), start=1):
        kernel = np.random.default_rng(number).normal(0, 0.1, (outside, inside, _SIDE, _SIDE))
        if poison is not None and number == 2:
            kernel[0, 0, 0, 0] = poison
        add = graph.add_quantized_convolution if contract.precision == "int8" else graph.add_convolution
        tensor = add(f"conv{number}", tensor, kernel)
    graph.add("Cast", [tensor], "raw", to=TensorProto.FLOAT)
    graph.add("Squeeze", ["raw", graph.constant("axis", np.array([1]))], "flat")
    limits = [graph.constant("low", np.float32(0)), graph.constant("high", np.float32(1))]
    graph.add("Clip", ["flat", *limits], OUTPUT_NAME)
    return graph.model(contract)


class _TinyGraph:
    """A graph that grows node by node."""

    def __init__(self, body: np.dtype[np.floating]) -> None:
        self.body = body
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], output: str, **attributes: int | list[int]) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add_convolution(self, name: str, tensor: str, kernel: NDArray[np.float64]) -> str:
        return self._convolve(name, tensor, self.constant(f"{name}.weight", kernel.astype(self.body)))

    def add_quantized_convolution(self, name: str, tensor: str, kernel: NDArray[np.float64]) -> str:
        scales = np.abs(kernel).max(axis=(1, 2, 3)) / 127
        quantized = np.round(kernel / scales[:, None, None, None]).astype(np.int8)
        weight = self.constant(f"{name}.weight", quantized)
        weight_scale = self.constant(f"{name}.weight_scale", scales.astype(self.body))
        scale = self.constant(f"{name}.scale", np.asarray(2.0, self.body))
        zero = self.constant(f"{name}.zero", np.int8(0))
        zeros = self.constant(f"{name}.zeros", np.zeros(len(scales), np.int8))
        self.add("QuantizeLinear", [tensor, scale, zero], f"{name}.q")
        data = self.add("DequantizeLinear", [f"{name}.q", scale, zero], f"{name}.dq")
        kernels = self.add("DequantizeLinear", [weight, weight_scale, zeros], f"{name}.weight_dq", axis=0)
        return self._convolve(name, data, kernels)

    def _convolve(self, name: str, data: str, kernel: str) -> str:
        self.add("Conv", [data, kernel], name, pads=[_SIDE // 2] * 4)
        return self.add("Relu", [name], f"{name}.relu")

    def model(self, contract: Contract) -> onnx.ModelProto:
        smallest, largest = contract.batch
        count = smallest if smallest == largest else "batch"
        frame = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [count, *contract.size_hw, 3])
        saliency = helper.make_tensor_value_info(
            OUTPUT_NAME, TensorProto.FLOAT, [count, *contract.map_size_hw]
        )
        graph = helper.make_graph(self.nodes, "tiny", [frame], [saliency], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
        helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
        onnx.checker.check_model(model, full_check=True)
        return model


def network_bundle(
    folder: Path, network: str, size_hw: tuple[int, int], batch: tuple[int, int] = (1, 1)
) -> Path:
    """Write a bundle of one of the real networks with seeded random weights: fp32, fp16 and int8 models."""
    import torch

    from saliency_edge.export.range_scan import scan_ranges
    from saliency_edge.export.to_fp16 import fp16_from_fp32, kept_fp32
    from saliency_edge.export.to_onnx import contract_of, onnx_from_checkpoint
    from saliency_edge.train.checkpoint import Checkpoint
    from saliency_edge.train.networks import config_of
    from saliency_edge.train.networks.saliency_network import SaliencyNetwork

    folder.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SaliencyNetwork(replace(config_of(network), size_hw=size_hw)).eval()
    checkpoint = Checkpoint(network=model, sha256=WEIGHTS_SHA256, record={})
    contract = contract_of(checkpoint, batch)
    fp32 = onnx_from_checkpoint(checkpoint, batch)
    kept = kept_fp32(fp32, scan_ranges(fp32, contract, noise(contract, 0)))
    onnx.save(fp32, folder / "fp32.onnx")
    onnx.save(fp16_from_fp32(fp32, kept), folder / "fp16.onnx")
    quantize_bundle(folder, contract)
    write_own_golden(folder, contract)
    write_manifest(folder, contract)
    return folder


def noise(contract: Contract, seed: int) -> NDArray[np.uint8]:
    """Make a batch of random frames."""
    shape = (contract.batch[0], *contract.size_hw, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def quantize_bundle(folder: Path, contract: Contract) -> None:
    """Put symmetric Q/DQ around the fp32 model's convolutions, calibrated on noise."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    batches = iter([{INPUT_NAME: noise(contract, 1)}])

    class Frames(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(batches, None)

    quantize_static(
        folder / "fp32.onnx",
        folder / "int8.onnx",
        Frames(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )


def write_manifest(folder: Path, contract: Contract) -> None:
    """Write the manifest over the models that are there."""
    shared = {key: asdict(contract)[key] for key in ("network", "size_hw", "map_size_hw", "batch", "fit")}
    models = {path.stem: _entry(path) for path in sorted(folder.glob("*.onnx"))}
    lineage = {"weights_sha256": contract.weights_sha256, "ranges_sha256": RANGES_SHA256}
    golden = _entry(folder / "golden.npz")
    manifest = {"schema": 1, **shared, "models": models, "golden": golden, "lineage": lineage}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def replace_model(folder: Path, precision: Precision, model: bytes) -> None:
    """Put other bytes in a model's place, and let the manifest vouch for them."""
    path = folder / f"{precision}.onnx"
    path.write_bytes(model)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["models"][precision] = _entry(path)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def engine_files(bundle: Path) -> list[str]:
    """All that lies in the folder of engines, hidden files too."""
    folder = bundle / "engines"
    return sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []


def _entry(path: Path) -> Mapping[str, str | int]:
    return {"file": path.name, "sha256": sha256_of(path), "bytes": path.stat().st_size}
