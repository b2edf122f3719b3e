"""What goes into a model and what comes out: the contract that travels inside every artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from .errors import ContractError
from .records import Side, parse_json, to_record

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
    size_hw: tuple[Side, Side]
    map_size_hw: tuple[Side, Side]
    batch: tuple[Side, Side]
    fit: Fit
    weights_sha256: str

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            ValueError: the smallest batch is larger than the largest.
        """
        if self.batch[0] > self.batch[1]:
            raise ValueError(f"batch {list(self.batch)} is no range from smallest to largest")

    def to_json(self) -> str:
        """Contract as one line of JSON, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_mapping(cls, values: Any, origin: str) -> Contract:
        """Read a contract from parsed JSON.

        Args:
            values: the fields by name.
            origin: where they were found, for the error's text.

        Raises:
            ContractError: fields are missing, unknown or of a wrong kind.
        """
        name = f"{origin}: the contract"
        return to_record(values, cls, name, remedy="Export it again", error=ContractError)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], origin: str) -> Contract:
        """Read the contract from an ONNX file's `metadata_props`.

        Raises:
            ContractError: there is none, or it cannot be understood.
        """
        if METADATA_KEY not in metadata:
            raise ContractError(f"{origin} carries no saliency contract. Make it with saliency-export")
        values = parse_json(metadata[METADATA_KEY], f"{origin}: the contract", error=ContractError)
        return cls.from_mapping(values, origin)
