"""Receipts: written by the builder, read on the device."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine_files import save_toy_engine
from saliency_edge.runtime.backends.tensorrt.receipt import (
    GoldenRecord,
    Layer,
    Receipt,
    read_receipt,
    receipt_path,
)
from saliency_edge.runtime.errors import ArtifactError

LAYER = Layer(
    name="conv1 + relu",
    type="CaskConvolution",
    onnx_nodes=("conv1",),
    inputs=("Int8",),
    weights="Int8",
    outputs=("Half",),
)
GOLDEN = GoldenRecord(
    gpu="Orin", driver="540", frames=3, max_abs=0.01, cc=0.9999, kldiv=0.001, latency_ms=4.2, kept=True
)


def test_a_receipt_survives_writing_and_reading(tmp_path: Path) -> None:
    receipt = save_toy_engine(tmp_path / "toy.engine", layers=(LAYER,), golden=GOLDEN, targets=("sm87",))

    assert read_receipt(tmp_path / "toy.engine") == receipt
    assert Receipt.from_json(json.loads(json.dumps(receipt.to_json())), "here") == receipt
    assert receipt.title == "TensorRT 10.3.0"


def without_layers_names(values: dict[str, Any]) -> None:
    values["layers"] = [{"name": "conv"}]


def with_a_list(values: dict[str, Any]) -> None:
    values["contract"]["batch"] = [1]


def with_an_option(values: dict[str, Any]) -> None:
    values["options"]["speed"] = 9


@pytest.mark.parametrize(
    ("spoil", "error", "expected"),
    [
        (lambda values: values.pop("gpu"), ArtifactError, "missing field gpu"),
        (lambda values: values.update(x=1), ArtifactError, "unknown field x"),
        (lambda values: values.update(schema=1), ArtifactError, "of this version: schema is 1, expected 2"),
        (without_layers_names, ArtifactError, r"layers\[0\]: missing field type"),
        (with_an_option, ArtifactError, r"unknown field options\.speed"),
        (with_a_list, ArtifactError, r"contract\.batch: expected array of length 2, got 1"),
    ],
)
def test_another_receipt_is_refused(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], object], error: type[Exception], expected: str
) -> None:
    engine = tmp_path / "toy.engine"
    values = json.loads(json.dumps(save_toy_engine(engine).to_json()))
    spoil(values)
    receipt_path(engine).write_text(json.dumps(values), encoding="utf-8")

    with pytest.raises(error, match=expected):
        read_receipt(engine)


def test_a_list_is_no_receipt(tmp_path: Path) -> None:
    receipt_path(tmp_path / "toy.engine").write_text("[]", encoding="utf-8")
    with pytest.raises(ArtifactError, match="not a receipt of an engine: expected an object"):
        read_receipt(tmp_path / "toy.engine")
