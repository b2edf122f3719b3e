"""The receipt beside each engine: what was asked for, what was built, from what, with what, for which GPU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...runtime.artifact import atomic_file, write_json
from ...runtime.contract import Contract, Precision
from .layer_report import Layer
from .tensorrt_api import BuildOptions, BuiltFlavour

SCHEMA = 1
_MEMORY = re.compile(r"Total (?:Activation|Weights) Memory: (\d+) bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """All that a device must know about an engine before it loads it; the keys of the JSON file.

    Attributes:
        sha256: of the engine.
        bytes: its size.
        flavour: `rtx` or `tensorrt`.
        version: of that package.
        asked_precision: what was asked for; `convolutions` and `layers` prove that it was built.
        contract: names, shapes and meaning of input and output.
        targets: compute capabilities that it was built for ahead of time, such as `sm86`; empty where it was
            built for the GPU at hand.
        gpu: name of that GPU; None where it was built ahead of time.
        compute_capability: of the GPU that the engine needs, such as `8.6`.
        driver: that it was built with; None where it was built ahead of time.
        os: operating system that it was built on.
        architecture: of the processor that it was built on.
        power_mode: of the Jetson that it was built on; None elsewhere.
        onnx_sha256: of the ONNX file.
        weights_sha256: of the checkpoint.
        ranges_sha256: of the activation ranges; None without int8.
        build_s: how long the build took.
        device_memory_bytes: for weights and tensors, as the builder reckons it; None where it does not say.
        options: how it was built.
        convolutions: number of convolutions by the datatype that they compute in.
        dtype_counts: number of layers by the datatype that they compute in, or read first.
        layers: all of them, with their datatypes.
        schema: version of this format.
    """

    sha256: str
    bytes: int
    flavour: BuiltFlavour
    version: str
    asked_precision: Precision
    contract: Contract
    targets: tuple[str, ...]
    gpu: str | None
    compute_capability: str
    driver: str | None
    os: str
    architecture: str
    power_mode: str | None
    onnx_sha256: str
    weights_sha256: str
    ranges_sha256: str | None
    build_s: float
    device_memory_bytes: int | None
    options: BuildOptions
    convolutions: dict[str, int]
    dtype_counts: dict[str, int]
    layers: tuple[Layer, ...]
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)


def receipt_path(engine: Path) -> Path:
    """Tell where an engine's receipt lies."""
    return engine.with_suffix(".receipt.json")


def write_engine(path: Path, engine: bytes, receipt: Receipt) -> None:
    """Write an engine and its receipt, both or none.

    Raises:
        OutputError: the folder is missing, read-only or full.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(engine)
        write_json(receipt_path(path), receipt.to_json())


def device_memory_bytes(facts: Sequence[str]) -> int | None:
    """Add up what a build's log says of the memory for weights and tensors; None where it says nothing."""
    found = [int(size) for fact in facts for size in _MEMORY.findall(fact)]
    return sum(found) if found else None
