"""Small models whose maps can be computed by hand, and bundles and clips to go with them.

The toy network's map is the mean of the three colours, averaged over each square of 8 x 8 pixels, in 0 to 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from saliency_edge.runtime.artifact import sha256_of
from saliency_edge.runtime.contract import METADATA_KEY, Contract, Fit, Precision
from saliency_edge.runtime.opencv import silence

CELL = 8
SIZE_HW = (24, 32)

silence()  # FFmpeg takes its level from the process's first video, which may be one of a test's own


def toy_contract(
    size_hw: tuple[int, int] = SIZE_HW,
    *,
    batch: tuple[int, int] = (1, 1),
    fit: Fit = "stretch",
    precision: Precision = "fp32",
) -> Contract:
    return Contract(
        network="toy",
        precision=precision,
        size_hw=size_hw,
        map_size_hw=(size_hw[0] // CELL, size_hw[1] // CELL),
        batch=batch,
        fit=fit,
        weights_sha256="0" * 64,
    )


def toy_model(contract: Contract, scale: float = 1 / 255) -> onnx.ModelProto:
    """Make the toy network with its contract inside; the mean is multiplied by `scale`."""
    smallest, largest = contract.batch
    batch = smallest if smallest == largest else "N"
    cell = [CELL, CELL]
    nodes = [
        helper.make_node("Cast", ["frame"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axis_colour"], ["grey"], keepdims=0),
        helper.make_node("Unsqueeze", ["grey", "axis_1"], ["grey_nchw"]),
        helper.make_node("AveragePool", ["grey_nchw"], ["cells"], kernel_shape=cell, strides=cell),
        helper.make_node("Squeeze", ["cells", "axis_1"], ["means"]),
        helper.make_node("Mul", ["means", "scale"], ["saliency"]),
    ]
    constants = [
        helper.make_tensor("axis_colour", TensorProto.INT64, [1], [3]),
        helper.make_tensor("axis_1", TensorProto.INT64, [1], [1]),
        helper.make_tensor("scale", TensorProto.FLOAT, [], [scale]),
    ]
    frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, [batch, *contract.size_hw, 3])
    saliency = helper.make_tensor_value_info("saliency", TensorProto.FLOAT, [batch, *contract.map_size_hw])
    graph = helper.make_graph(nodes, "toy", [frame], [saliency], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    return model


def deployed(
    name: str, body: Sequence[onnx.NodeProto], constants: dict[str, NDArray[Any]]
) -> onnx.ModelProto:
    """Put a body, from `data` (1, 3, 24, 32) BGR to `conv`, between the ends of a deployed graph."""
    nodes = [
        helper.make_node("Cast", ["frame"], ["pixels"], name="input.cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["data"], name="input.transpose", perm=[0, 3, 1, 2]),
        *body,
        helper.make_node("ReduceMax", ["conv", "axes"], ["saliency"], name="output.reducemax", keepdims=0),
    ]
    tensors = [numpy_helper.from_array(values, key) for key, values in constants.items()]
    tensors.append(numpy_helper.from_array(np.array([1]), "axes"))
    frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, 24, 32, 3])
    saliency = helper.make_tensor_value_info("saliency", TensorProto.FLOAT, [1, 24, 32])
    graph = helper.make_graph(nodes, name, [frame], [saliency], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: toy_contract().to_json()})
    return onnx.shape_inference.infer_shapes(model)


def save_toy(path: Path, contract: Contract | None = None, scale: float = 1 / 255) -> Path:
    onnx.save(toy_model(contract or toy_contract(), scale), path)
    return path


def toy_map(frame_bgr: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Compute the toy network's map of a fitted frame with numpy, (H, W, 3) to (h, w)."""
    height, width = frame_bgr.shape[:2]
    cells = frame_bgr.reshape(height // CELL, CELL, width // CELL, CELL, 3)
    mean: NDArray[np.float64] = cells.astype(np.float64).mean(axis=(1, 3, 4))
    return mean / 255


def save_toy_bundle(
    folder: Path, precisions: Sequence[Precision] = ("fp32", "fp16"), fit: Fit = "stretch"
) -> Path:
    """Write a bundle as saliency-export does."""
    folder.mkdir(parents=True)
    frames = np.stack([noise(SIZE_HW, seed) for seed in range(2)])
    maps = np.stack([toy_map(frame) for frame in frames]).astype(np.float32)
    np.savez(folder / "golden.npz", names=np.array(["first", "second"]), frames=frames, maps=maps)
    for precision in precisions:
        save_toy(folder / f"{precision}.onnx", toy_contract(precision=precision, fit=fit))
    shared = {
        key: value
        for key, value in asdict(toy_contract(fit=fit)).items()
        if key not in ("precision", "weights_sha256")
    }
    manifest = {
        "schema": 1,
        **shared,
        "models": {precision: entry_of(folder / f"{precision}.onnx") for precision in precisions},
        "golden": entry_of(folder / "golden.npz"),
        "lineage": {"weights_sha256": "0" * 64},
        "parity": {},
        "tools": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def entry_of(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256_of(path), "bytes": path.stat().st_size}


def noise(size_hw: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """Make a frame of smooth noise, unlike any of another seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def save_images(folder: Path, count: int, size_hw: tuple[int, int] = (48, 64)) -> list[NDArray[np.uint8]]:
    """Write `count` images called image0.png, image1.png, ..., and give them."""
    folder.mkdir(parents=True, exist_ok=True)
    images = [noise(size_hw, seed) for seed in range(count)]
    for number, image in enumerate(images):
        assert cv2.imwrite(str(folder / f"image{number}.png"), image)
    return images


def save_clip(path: Path, count: int, size_hw: tuple[int, int] = (48, 64), fps: float = 10.0) -> Path:
    """Write a video of `count` frames."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size_hw[::-1])
    assert writer.isOpened()
    for number in range(count):
        writer.write(noise(size_hw, number))
    writer.release()
    return path


def read_clip(path: Path) -> list[NDArray[np.uint8]]:
    """Read all frames of a video."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(np.asarray(read[1], np.uint8))
    capture.release()
    return frames
