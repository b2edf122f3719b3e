"""Make the two small graphs that `saliency-bench` measures a machine with; runtime may not import onnx.

Both keep the contract of a saliency model, so each backend loads them as it loads any model. Their weights
are written as one number and a shape, which the backend unfolds when it loads them: the files stay small.

    python tests/bench/make_reference.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from saliency_edge.runtime.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, Contract

ASSETS = Path(__file__).resolve().parents[2] / "runtime" / "bench" / "assets"

FRAME_HW = (240, 320)
CHANNELS = (3, 64, 192, 192, 1)
KERNELS = (8, 5, 5, 1)
PRODUCTS = 4
PRODUCT_SIDE = 1024


class _Graph:
    """A graph that grows node by node."""

    def __init__(self, name: str, size_hw: tuple[int, int], map_size_hw: tuple[int, int]) -> None:
        self.contract = Contract(
            network=name,
            precision="fp32",
            size_hw=size_hw,
            map_size_hw=map_size_hw,
            batch=(1, 1),
            fit="stretch",
            weights_sha256="0" * 64,
        )
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.add("Cast", [INPUT_NAME], "levels", to=TensorProto.FLOAT)
        self.add("Mul", ["levels", self.constant("scale", np.float32(1 / 255))], "pixels")

    def add(self, operator: str, inputs: list[str], output: str, **attributes: int | list[int]) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: np.generic | list[int]) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def filled(self, name: str, shape: list[int], value: float) -> str:
        """Add a tensor that is one number everywhere."""
        filling = helper.make_tensor(f"{name}.value", TensorProto.FLOAT, [1], [value])
        node = helper.make_node("ConstantOfShape", [self.constant(f"{name}.shape", shape)], [name], name=name)
        node.attribute.append(helper.make_attribute("value", filling))
        self.nodes.append(node)
        return name

    def save(self) -> None:
        contract = self.contract
        frame = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [1, *contract.size_hw, 3])
        saliency = helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [1, *contract.map_size_hw])
        graph = helper.make_graph(self.nodes, contract.network, [frame], [saliency], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
        onnx.checker.check_model(model, full_check=True)
        ASSETS.mkdir(parents=True, exist_ok=True)
        path = ASSETS / f"{contract.network}.onnx"
        path.write_bytes(model.SerializeToString(deterministic=True))
        print(f"{path.name}: {path.stat().st_size} bytes")


def make_convolutions() -> None:
    """Convolutions as saliency networks have them, 1.5 GMAC; each gives means of what it sees.

    Their weights, 5 MB, do not fit into the caches next to a core, as a network's do not.
    """
    grid_hw = (FRAME_HW[0] // KERNELS[0], FRAME_HW[1] // KERNELS[0])
    graph = _Graph("convolutions", FRAME_HW, grid_hw)
    tensor = graph.add("Transpose", ["pixels"], "planes", perm=[0, 3, 1, 2])
    for number, kernel in enumerate(KERNELS):
        inside, outside = CHANNELS[number], CHANNELS[number + 1]
        shape = [outside, inside, kernel, kernel]
        weight = graph.filled(f"conv{number}.weight", shape, 1 / (inside * kernel * kernel))
        pads = [kernel // 2] * 4 if number else [0] * 4
        strides = [1, 1] if number else [kernel] * 2
        graph.add("Conv", [tensor, weight], f"conv{number}", pads=pads, strides=strides)
        tensor = graph.add("Relu", [f"conv{number}"], f"relu{number}")
    graph.add("Squeeze", [tensor, graph.constant("axis", [1])], OUTPUT_NAME)
    graph.save()


def make_products() -> None:
    """Matrix products one after another, 4.3 GMAC, as fast as a backend can multiply."""
    graph = _Graph("products", (8, 8), (8, 8))
    side = PRODUCT_SIDE
    graph.add("ReduceMean", ["pixels"], "level", keepdims=0)
    tensor = graph.add("Add", [graph.filled("ones", [side, side], 1.0), "level"], "matrix")
    for number in range(PRODUCTS):
        weight = graph.filled(f"weight{number}", [side, side], 1 / side)
        tensor = graph.add("MatMul", [tensor, weight], f"product{number}")
    graph.add("ReduceMean", [tensor], "mean", keepdims=0)
    graph.add("Expand", ["mean", graph.constant("shape", [1, 8, 8])], OUTPUT_NAME)
    graph.save()


if __name__ == "__main__":
    make_convolutions()
    make_products()
