"""Edge-case frames, which are no photographs: where an implementation divides by zero, or overflows.

Some networks hardly respond to them: MLNet's raw map of a black frame peaks at a fiftieth of a photograph's,
and its division by the peak magnifies each rounding fifty times. There a correlation of int8 maps means
nothing. So int8 is compared before the output is scaled, as a share of what photographs give
(docs/adr/071-edge-case-frames.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from ...runtime.artifact import temporary_folder
from ...runtime.contract import OUTPUT_NAME
from ..frames import FrameSet

if TYPE_CHECKING:
    import onnx

    from .backends import Runner

MAX_INT8_RESPONSE_ERROR = 0.05
"""Largest error of an int8 graph's response to an edge-case frame, as a share of photographs' peak."""


def edge_case_frames(size_hw: tuple[int, int]) -> FrameSet:
    """Make a black, a white and a noisy frame, one hot pixel on black, and a gradient.

    Args:
        size_hw: of the frames, in pixels.
    """
    black = np.zeros((*size_hw, 3), np.uint8)
    hot = black.copy()
    hot[size_hw[0] // 3, size_hw[1] // 2] = 255
    gradient = black.copy()
    gradient[:] = np.linspace(0, 255, size_hw[1], dtype=np.uint8)[None, :, None]
    noise = np.random.default_rng(7).integers(0, 256, black.shape, np.uint8)
    frames = {"black": black, "white": ~black, "noise": noise, "hot pixel": hot, "gradient": gradient}
    return FrameSet(names=tuple(frames), pixels=np.stack(list(frames.values())))


def response_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Cut a deployed graph before its output is scaled by the map's peak.

    Args:
        model: a deployed graph of any precision; it stays as it is.

    Returns:
        The graph whose output `saliency` is the response, float32 (N, 1, h, w): a density, at least 0, of no
        particular unit. A network that gives the logarithm of a density is followed by an Exp. A graph that
        does not scale by its peak is given back as it is: there the map is the response.
    """
    import onnx
    from onnx import TensorProto, helper

    scaled = [node for node in model.graph.node if node.op_type == "ReduceMax"]
    if not scaled:
        return model
    peak = scaled[-1]
    is_logarithm = any(node.op_type == "Sub" and peak.output[0] in node.input for node in model.graph.node)
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.node[:]
    needed, nodes = {peak.input[0]}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    cut.graph.node.extend(reversed(nodes))
    constants = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    del cut.graph.initializer[:]
    cut.graph.initializer.extend(constants)
    raw = "response" if is_logarithm else OUTPUT_NAME
    cut.graph.node.append(helper.make_node("Cast", [peak.input[0]], [raw], name=raw, to=TensorProto.FLOAT))
    if is_logarithm:
        cut.graph.node.append(helper.make_node("Exp", [raw], [OUTPUT_NAME], name="response.exp"))
    # OpenCV wants a shape of the output, which is the input's of ReduceMax.
    output = helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, None)
    for value in model.graph.value_info:
        if value.name == peak.input[0]:
            output.type.tensor_type.shape.CopyFrom(value.type.tensor_type.shape)
    del cut.graph.output[:]
    cut.graph.output.append(output)
    return cut


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseReference:
    """What the fp32 graph responds to edge-case frames.

    Attributes:
        frames: K of them.
        responses: (K, 1, h, w) of the fp32 graph, see `response_graph`.
        photograph_peak: smallest peak of its responses to real frames.
    """

    frames: FrameSet
    responses: NDArray[np.float32]
    photograph_peak: float

    @classmethod
    def measure(
        cls, fp32: onnx.ModelProto, photographs: NDArray[np.uint8], batch: tuple[int, int]
    ) -> ResponseReference:
        """Run the fp32 graph on edge-case frames and on photographs.

        Args:
            fp32: the deployed fp32 graph.
            photographs: (K, H, W, 3) BGR, at the network's size.
            batch: smallest and largest number of frames in a batch.
        """
        from ..ort_session import cpu_session
        from .backends import batched_maps

        session = cpu_session(response_graph(fp32))

        def run(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
            return cast("NDArray[np.float32]", session.run(None, {"frame": frames})[0])

        frames = edge_case_frames((photographs.shape[1], photographs.shape[2]))
        peaks = batched_maps(run, photographs, batch).reshape(len(photographs), -1).max(axis=1)
        return cls(
            frames=frames,
            responses=batched_maps(run, frames.pixels, batch),
            photograph_peak=max(float(peaks.min()), float(np.finfo(np.float32).tiny)),
        )

    def errors_of(
        self, model: onnx.ModelProto, load: Callable[[Path], Runner], batch: tuple[int, int]
    ) -> dict[str, float]:
        """Errors of another deployed graph's responses in some runtime, see `errors`.

        Args:
            model: the graph, not cut.
            load: opens an `.onnx` file in the runtime; what it raises is raised.
            batch: smallest and largest number of frames in a batch.
        """
        with temporary_folder("response") as folder:
            path = folder / "response.onnx"
            path.write_bytes(response_graph(model).SerializeToString())
            return self.errors(load(path), batch)

    def errors(self, run: Runner, batch: tuple[int, int]) -> dict[str, float]:
        """Largest error of another graph's responses, as a share of `photograph_peak`, by the frame's name.

        Args:
            run: the other graph, cut by `response_graph`, in some runtime.
            batch: smallest and largest number of frames in a batch.
        """
        from .backends import batched_maps

        found = batched_maps(run, self.frames.pixels, batch).reshape(self.responses.shape)
        errors = np.abs(found.astype(np.float64) - self.responses).reshape(len(found), -1).max(axis=1)
        return dict(zip(self.frames.names, (errors / self.photograph_peak).tolist(), strict=True))
