"""TensorRT-RTX builds the int8 graphs on a CPU, and computes their convolutions in Int8."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_bundles import RANGES_SHA256, network_bundle, replace_model
from quantizing import minmax_convs, seeded
from saliency_edge.export.int8.quantize import quantize
from saliency_edge.export.tensorrt.build import build_engines
from seeded_networks import SMALL_HW

FLOAT_CONVOLUTIONS = {"deep_half": 2, "mlnet_small": 1}
"""Those that compute the map."""


@pytest.mark.parametrize("name", ["deep_half", "mlnet_small"])
def test_engines_compute_in_int8(name: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="builds engines for real")
    bundle = network_bundle(tmp_path / "bundle", name, SMALL_HW[name])
    source = seeded(name).source
    model = quantize(source.body, minmax_convs(source.fp32, source.ranges))
    replace_model(bundle, "int8", model.SerializeToString(deterministic=True))

    targets = ("sm86", "sm89", "sm120")
    receipts = [report.receipt for report in build_engines(bundle, "int8", "rtx", targets)]

    convolutions = sum(node.op_type in ("Conv", "ConvTranspose") for node in model.graph.node)
    assert [receipt.targets for receipt in receipts] == [(target,) for target in targets]
    for receipt in receipts:
        assert receipt.convolutions["Int8"] == convolutions - FLOAT_CONVOLUTIONS[name]
        assert receipt.ranges_sha256 == RANGES_SHA256
        correlations = [layer for layer in receipt.layers if layer.type == "correlation"]
        assert sum(layer.inputs[0] == "Int8" for layer in correlations) >= receipt.convolutions["Int8"]
