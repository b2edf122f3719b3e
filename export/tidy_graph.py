"""The exporter's graph made fit to be read: human names, and nothing that tells of this machine.

Receipts, sensitivities and the int8 search speak of layers by these names, so they are stable:

- a convolution and its output tensor: the module, `conv1`, `blocks.4.0`; its weights `conv1.weight`;
- what follows it: that layer and the operator, `conv1.relu`, `conv1.maxpool`;
- what stands before and behind the network: `input.sub`, `output.exp`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

_BODY = "network.body"


def tidy(model: ir.Model) -> None:
    """Name and strip a graph as `torch.onnx.export` gave it, in place."""
    _rename(model)
    _strip(model)


def _rename(model: ir.Model) -> None:
    """Name nodes, their tensors and the constants that they read."""
    taken: Counter[str] = Counter()
    layer, outputs = "input", set(model.graph.outputs)
    for node in model.graph:
        own = _layer_of(node)
        behind = layer != "input" and _BODY not in node.metadata_props["namespace"]
        layer = own or ("output" if behind else layer)
        name = own or f"{layer}.{node.op_type.lower()}"
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"
        for value in node.outputs:
            if value not in outputs:
                value.name = node.name
        _rename_constants(node)


def _layer_of(node: ir.Node) -> str | None:
    """Name the module whose weights a convolution holds."""
    weight = node.inputs[1] if node.op_type in ("Conv", "ConvTranspose") else None
    return None if weight is None else _parameter_of(weight).removesuffix(".weight")


def _rename_constants(node: ir.Node) -> None:
    for position, value in enumerate(node.inputs):
        if value is not None and value.is_initializer():
            parameter = _parameter_of(value)
            value.name = parameter if parameter != value.name else f"{node.name}.constant_{position}"


def _parameter_of(value: ir.Value) -> str:
    """Give a tensor's name without the modules around the network."""
    return (value.name or "").removeprefix(f"{_BODY}.").removeprefix("network.")


def _strip(model: ir.Model) -> None:
    """Drop stack traces, documentation and the exporter's notes; choose the oldest file format that fits."""
    import onnx
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    ClearMetadataAndDocStringPass()(model)
    for node in model.graph:
        for value in (*node.inputs, *node.outputs):
            if value is not None:
                value.metadata_props.clear()
    model.producer_name, model.producer_version = "saliency-edge", ""
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    model.ir_version = onnx.helper.find_min_ir_version_for(opsets)
