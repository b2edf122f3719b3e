"""The response to edge-case frames: what a network gives before its output is scaled by the map's peak."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from onnx import numpy_helper

from quantizing import minmax_convs, seeded
from saliency_edge.export.check.edge_cases import (
    MAX_INT8_RESPONSE_ERROR,
    ResponseReference,
    response_graph,
)
from saliency_edge.export.int8.quantize import quantize
from saliency_edge.export.ort_session import cpu_session, ort_maps

NETWORKS = ("deep_half", "mlnet_small")


def responses(model: onnx.ModelProto, pixels: np.ndarray) -> np.ndarray:
    session = cpu_session(response_graph(model))
    return np.concatenate([session.run(None, {"frame": frame[None]})[0] for frame in pixels])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_response_over_its_peak_is_the_map(name: str) -> None:
    start = seeded(name)
    pixels = start.gate.frames.pixels
    found = responses(start.source.fp32, pixels)[:, 0]
    peaks = found.max(axis=(1, 2), keepdims=True)

    assert found.min() >= 0
    assert_allclose(found / peaks, ort_maps(start.source.fp32, start.contract, pixels), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_graphs_have_no_error_and_a_false_response_is_found(name: str) -> None:
    start = seeded(name)
    reference = ResponseReference.measure(start.source.fp32, start.gate.frames.pixels, (1, 1))
    session = cpu_session(response_graph(start.source.fp32))

    def run(frames: np.ndarray) -> np.ndarray:
        return session.run(None, {"frame": frames})[0]  # type: ignore[no-any-return]

    assert max(reference.errors(run, (1, 1)).values()) == 0
    strong = reference.errors(lambda frames: run(frames) + 0.1 * reference.photograph_peak, (1, 1))
    assert min(strong.values()) == pytest.approx(0.1, rel=1e-3)
    assert min(strong.values()) > MAX_INT8_RESPONSE_ERROR


@pytest.mark.parametrize("name", NETWORKS)
def test_int8_graphs_are_cut_at_the_same_place(name: str) -> None:
    start = seeded(name)
    model = quantize(start.source.body, minmax_convs(start.source.fp32, start.source.ranges))
    cut = response_graph(model)

    assert [output.name for output in cut.graph.output] == ["saliency"]
    assert not any(node.op_type == "ReduceMax" for node in cut.graph.node)
    assert [size.dim_value for size in cut.graph.output[0].type.tensor_type.shape.dim[1:]] == [
        1,
        *start.contract.map_size_hw,
    ]
    kept = {tensor.name for tensor in cut.graph.initializer}
    assert kept < {tensor.name for tensor in model.graph.initializer}
    scale = next(tensor for tensor in cut.graph.initializer if tensor.name.endswith("weight.quantized"))
    assert numpy_helper.to_array(scale).dtype == np.int8
