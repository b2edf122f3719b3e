"""The proof of an engine's precision, and the receipt that records it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import onnx
import pytest

from engine_bundles import RANGES_SHA256, TINY, WEIGHTS_SHA256, tiny_bundle
from saliency_edge.export.tensorrt.build import EngineReport, build_engines, device_memory_bytes, write_engine
from saliency_edge.export.tensorrt.precision_proof import check_asked, prove
from saliency_edge.runtime.artifact import sha256_of
from saliency_edge.runtime.backends.tensorrt.receipt import Layer, Receipt, receipt_path
from saliency_edge.runtime.contract import PRECISIONS, Precision
from saliency_edge.runtime.errors import BuildError, OutputError

DTYPES = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}


def layer(node: str, dtype: str, *, type: str = "correlation", outputs: str | None = None) -> Layer:
    """A layer that computes one ONNX node."""
    weights = dtype if type == "correlation" else None
    return Layer(
        name=f"{node}_myl0_1",
        type=type,
        onnx_nodes=(node,),
        inputs=(dtype,),
        weights=weights,
        outputs=(outputs or dtype,),
    )


class TestProof:
    """The rule of `precision_proof`, clause by clause."""

    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_an_engine_that_is_as_asked_passes(self, precision: Precision) -> None:
        dtype = DTYPES[precision]

        prove(precision, {"conv1": dtype}, [layer("conv1", dtype, outputs="Float")], "e")

    def test_a_node_that_the_file_keeps_in_fp32_passes(self) -> None:
        prove("fp16", {"a": "Half", "b": "Float"}, [layer("a", "Half"), layer("b", "Float")], "e")

    @pytest.mark.parametrize(
        ("precision", "asked", "built"),
        [("fp16", "Half", "Float"), ("int8", "Int8", "Half"), ("fp32", "Float", "Half")],
    )
    def test_one_convolution_of_another_datatype_fails(
        self, precision: Precision, asked: str, built: str
    ) -> None:
        layers = [layer("conv1", asked), layer("conv2", built)]

        with pytest.raises(BuildError, match=rf"1 of 2 .*conv2 asked {asked}, built {built}\)"):
            prove(precision, {"conv1": asked, "conv2": asked}, layers, "e")

    def test_a_convolution_that_is_not_found_fails(self) -> None:
        with pytest.raises(BuildError, match="conv2 asked Half, built unknown"):
            prove("fp16", {"conv1": "Half", "conv2": "Half"}, [layer("conv1", "Half")], "e")

    def test_helpers_around_a_convolution_do_not_count(self) -> None:
        pad = layer("conv1", "UInt8", type="kgen", outputs="Half")

        prove("fp16", {"conv1": "Half"}, [pad, layer("conv1", "Half")], "e")

    def test_a_convolution_in_a_kernel_of_unknown_kind_is_taken_at_its_datatype(self) -> None:
        prove("fp16", {"conv1": "Half"}, [layer("conv1", "Half", type="novelty")], "e")
        with pytest.raises(BuildError, match="built Float"):
            prove("fp16", {"conv1": "Half"}, [layer("conv1", "Float", type="novelty")], "e")

    def test_fp32_allows_no_half_anywhere(self) -> None:
        layers = [layer("conv1", "Float"), layer("pool", "Float", type="kgen", outputs="Half")]

        with pytest.raises(BuildError, match=r"not fp32: 1 layers are not \(pool_myl0_1\)"):
            prove("fp32", {"conv1": "Float"}, layers, "e")

    def test_tensorrt_names_fused_nodes_in_the_layer(self) -> None:
        fused = Layer(
            name="conv1 + conv1.relu",
            type="CaskConvolution",
            onnx_nodes=(),
            inputs=("Half",),
            weights="Half",
            outputs=(),
        )

        prove("fp16", {"conv1": "Half"}, [fused], "e")

    @pytest.mark.parametrize(
        ("precision", "asked", "found"),
        [
            ("fp16", {"a": "Float", "b": "Float"}, "2 Float"),
            ("int8", {"a": "Half"}, "1 Half"),
            ("fp32", {"a": "Float", "b": "Half"}, "1 Float, 1 Half"),
            ("fp16", {}, "none"),
        ],
    )
    def test_a_file_of_another_precision_fails(
        self, precision: Precision, asked: Mapping[str, str], found: str
    ) -> None:
        with pytest.raises(BuildError, match=f"f.onnx is no {precision} model; its convolutions: {found}"):
            check_asked(precision, asked, "f.onnx")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EngineReport]:
    pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX here: pip install 'saliency-edge[rtx]'")
    bundle = tiny_bundle(tmp_path_factory.mktemp("receipts") / "tiny")
    return {precision: build_engines(bundle, precision, "rtx", ["sm86"])[0] for precision in PRECISIONS}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_says_what_is_there(reports: dict[str, EngineReport], precision: Precision) -> None:
    report = reports[precision]
    receipt = json.loads(receipt_path(report.path).read_text(encoding="utf-8"))
    model = report.path.parent.parent / f"{precision}.onnx"

    assert receipt["sha256"] == sha256_of(report.path)
    assert receipt["bytes"] == report.path.stat().st_size
    assert receipt["onnx_sha256"] == sha256_of(model)
    assert receipt["weights_sha256"] == WEIGHTS_SHA256
    assert receipt["ranges_sha256"] == (RANGES_SHA256 if precision == "int8" else None)
    assert receipt["asked_precision"] == receipt["contract"]["precision"] == precision
    assert (receipt["targets"], receipt["compute_capability"], receipt["gpu"]) == (["sm86"], "8.6", None)
    assert receipt["device_memory_bytes"] > sum(
        tensor.ByteSize() for tensor in onnx.load(model).graph.initializer
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_its_layers_do_all_of_the_models_nodes(
    reports: dict[str, EngineReport], precision: Precision
) -> None:
    report = reports[precision]
    nodes = {node.name for node in onnx.load(report.path.parent.parent / f"{precision}.onnx").graph.node}
    done = {name for layer in report.receipt.layers for name in layer.onnx_nodes}

    assert done <= nodes
    assert {"conv1", "conv2", "conv3"} <= done
    assert report.receipt.convolutions == {DTYPES[precision]: 3}
    assert sum(report.receipt.dtype_counts.values()) == len(report.receipt.layers)


def test_the_report_leaves_out_the_layers(reports: dict[str, EngineReport]) -> None:
    report = reports["fp16"]
    values = report.to_json()
    written = json.loads(receipt_path(report.path).read_text(encoding="utf-8"))

    assert written.keys() - values.keys() == {"layers"}
    assert values.keys() - written.keys() == {"path", "receipt"}


def test_engine_and_receipt_come_together_or_not_at_all(
    reports: dict[str, EngineReport], tmp_path: Path
) -> None:
    path = tmp_path / "e.engine"
    receipt_path(path).mkdir()  # a folder where the receipt should go: it cannot be replaced

    with pytest.raises(OutputError, match=re.escape(str(receipt_path(path)))):
        write_engine(path, b"engine", reports["fp16"].receipt)

    assert [item.name for item in tmp_path.iterdir()] == ["e.receipt.json"]


def test_device_memory_is_summed_from_the_log() -> None:
    facts = [
        "Total Activation Memory: 8929280 bytes",
        "Total Weights Memory: 13196160 bytes",
        "Max Scratch Memory: 7",
    ]

    assert device_memory_bytes(facts) == 8929280 + 13196160
    assert device_memory_bytes(["Layers:"]) is None


def test_receipt_has_all_keys_that_are_promised() -> None:
    promised = (
        "sha256 bytes flavour version asked_precision targets gpu compute_capability driver os architecture "
        "onnx_sha256 weights_sha256 ranges_sha256 build_s layers dtype_counts device_memory_bytes options"
    )

    assert set(promised.split()) <= {*Receipt.__slots__}
    assert TINY.weights_sha256 == WEIGHTS_SHA256
