"""Regressions to be planted: each makes one thing worse, as a careless change would."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from saliency_edge.runtime import fit
from saliency_edge.runtime.backends import backend
from saliency_edge.runtime.bench import timing
from saliency_edge.runtime.contract import Fit

LEAKED_BYTES = 10_486  # a frame: 1 MB in 100 frames
SLEEP_S = 0.002

_Image = NDArray[np.uint8]


def sleep_in_fit(patch: pytest.MonkeyPatch) -> None:
    def slow(frame_bgr: _Image, size_hw: tuple[int, int], how: Fit) -> _Image:
        time.sleep(SLEEP_S)
        return fit.fit_frame(frame_bgr, size_hw, how)

    patch.setattr(timing, "fit_frame", slow)


def copy_too_many(patch: pytest.MonkeyPatch) -> None:
    def copying(frame_bgr: _Image, size_hw: tuple[int, int], how: Fit) -> _Image:
        return fit.fit_frame(frame_bgr.copy(), size_hw, how)

    patch.setattr(timing, "fit_frame", copying)


def leak(patch: pytest.MonkeyPatch) -> None:
    kept: list[_Image] = []

    def leaking(saliency: NDArray[np.float32], window: fit.Window) -> NDArray[np.float32]:
        kept.append(np.ones(LEAKED_BYTES, np.uint8))
        return fit.crop_map(saliency, window)

    patch.setattr(timing, "crop_map", leaking)


def wrong_resize_mode(patch: pytest.MonkeyPatch) -> None:
    def linear(image: _Image, size_hw: tuple[int, int]) -> _Image:
        return np.asarray(cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)

    patch.setattr(fit, "resize", linear)


def channel_swap(patch: pytest.MonkeyPatch) -> None:
    def swapped(
        frame_bgr: _Image, size_hw: tuple[int, int], how: Fit, shown_hw: tuple[int, int] | None
    ) -> _Image:
        return np.ascontiguousarray(fit.fit_frame(frame_bgr, size_hw, how, shown_hw)[..., ::-1])

    patch.setattr(backend, "fit_frame", swapped)


def crop_off_by_one(patch: pytest.MonkeyPatch) -> None:
    """Shift the window down by one cell: the map keeps its size."""

    def shifted(saliency: NDArray[np.float32], window: fit.Window) -> NDArray[np.float32]:
        return fit.crop_map(np.roll(saliency, -1, axis=0), window)

    patch.setattr(backend, "crop_map", shifted)


def cast_pairs(model: onnx.ModelProto) -> None:
    """Put a Cast to fp16 and back behind each convolution."""
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type == "Conv":
            output, node.output[0] = node.output[0], f"{node.output[0]}.wide"
            half = f"{output}.half"
            nodes.append(_cast(node.output[0], half, TensorProto.FLOAT16))
            nodes.append(_cast(half, output, TensorProto.FLOAT))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _cast(tensor: str, output: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [tensor], [output], name=f"{output}.cast", to=to)


def six_bits(model: onnx.ModelProto) -> None:
    """Round the weights of one convolution in the middle to 6 bits."""
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    name = convolutions[len(convolutions) // 2].input[1]
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    weights = numpy_helper.to_array(tensor)
    step = np.abs(weights).max() / 31
    rounded = (weights / step).round().astype(np.float32) * np.float32(step)
    tensor.CopyFrom(numpy_helper.from_array(rounded, name))


@contextmanager
def slower(part: float) -> Iterator[None]:
    """Let each inference of a model last longer by a part of what it takes; the reference's does not."""
    infer = timing.ModelWorkload._infer

    def slow(loop: timing.ModelWorkload) -> None:
        start_s = time.perf_counter()
        infer(loop)
        time.sleep(part * (time.perf_counter() - start_s))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing.ModelWorkload, "_infer", slow)
        yield
