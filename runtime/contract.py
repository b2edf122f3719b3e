"""What goes into a model and what comes out: the contract that travels inside every artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from .errors import ContractError

Precision = Literal["fp32", "fp16", "int8"]
Arithmetic = Literal["fp32", "fp16", "bf16", "int8"]
"""What a backend rounds to between layers; an fp16 model may be computed in any of the first three."""
Fit = Literal["stretch", "pad"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

INPUT_NAME = "frame"
OUTPUT_NAME = "saliency"
METADATA_KEY = "saliency_edge.contract"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Names, shapes and meaning of a deployed graph's input and output.

    The input `frame` is uint8 (N, H, W, 3), BGR, 0 to 255; the output `saliency` is float32 (N, h, w),
    0 to 1. Everything between lies inside the graph.

    Attributes:
        network: name of the network, such as `deep_half`.
        precision: of the graph's body.
        size_hw: H and W of `frame`, in pixels.
        map_size_hw: h and w of `saliency`, in cells.
        batch: smallest and largest N; equal where the batch is fixed.
        fit: how a frame is brought to `size_hw`: `stretch` ignores its aspect, `pad` keeps it.
        weights_sha256: of the checkpoint that the graph was made from.
    """

    network: str
    precision: Precision
    size_hw: tuple[int, int]
    map_size_hw: tuple[int, int]
    batch: tuple[int, int]
    fit: Fit
    weights_sha256: str

    def to_json(self) -> str:
        """Give the contract as one line of JSON, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], origin: str) -> Contract:
        """Read a contract from parsed JSON.

        Args:
            values: the fields by name.
            origin: where they were found, for the error's text.

        Raises:
            ContractError: fields are missing, unknown or of a wrong kind.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            differing = ", ".join(sorted(names.symmetric_difference(values)))
            raise ContractError(f"{origin}: contract fields differ ({differing}). Export it again")
        pairs = {name: _pair(values[name], name, origin) for name in ("size_hw", "map_size_hw", "batch")}
        if values["precision"] not in PRECISIONS or values["fit"] not in get_args(Fit):
            found = f"precision {values['precision']!r}, fit {values['fit']!r}"
            raise ContractError(f"{origin}: {found} is unknown to this version. Export it again")
        return cls(**{**values, **pairs})

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], origin: str) -> Contract:
        """Read the contract from an ONNX file's `metadata_props`.

        Raises:
            ContractError: there is none, or it cannot be understood.
        """
        if METADATA_KEY not in metadata:
            raise ContractError(f"{origin} carries no saliency contract. Make it with saliency-export")
        try:
            values = json.loads(metadata[METADATA_KEY])
        except ValueError as error:
            raise ContractError(f"{origin}: the contract is not JSON ({error}). Export it again") from error
        return cls.from_mapping(values, origin)


def _pair(value: Any, name: str, origin: str) -> tuple[int, int]:
    """Check a pair of positive integers, as JSON's list or Python's tuple."""
    if len(value) != 2 or not all(isinstance(item, int) and item > 0 for item in value):
        raise ContractError(f"{origin}: {name} is {value!r}, expected two positive integers. Export it again")
    return int(value[0]), int(value[1])
