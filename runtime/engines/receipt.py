"""The receipt beside each engine: what was asked for, what was built, from what, with what, for which GPU.

The builder writes it, the runtime reads it before it loads the engine, the golden check adds what it found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..artifact import read_json, write_json
from ..contract import Contract, Precision
from ..errors import ArtifactError
from .layer import Layer

BuiltFlavour: TypeAlias = Literal["rtx", "tensorrt"]

TITLES: Mapping[BuiltFlavour, str] = {"rtx": "TensorRT-RTX", "tensorrt": "TensorRT"}
ENGINES_FOLDER = "engines"
SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How engines are built.

    Attributes:
        workspace_mib: memory that a layer may use besides its tensors; None leaves it to TensorRT.
        optimization_level: 0 to 5, how long the builder searches; None leaves it to TensorRT.
        version_compatible: the engine runs on later TensorRT versions of the same major one too.
        hardware_compatible: the engine runs on every GPU from Ampere on, not only on this one.
        tf32: fp32 convolutions may round their inputs to 10 bits of mantissa.
    """

    workspace_mib: int | None = None
    optimization_level: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    tf32: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenRecord:
    """What the golden check found: an engine's maps against PyTorch's, the worst of the golden frames.

    Attributes:
        gpu: that the engine ran on.
        driver: of that GPU; another driver asks for another check.
        frames: how many there were.
        max_abs: largest absolute difference of a cell.
        cc: smallest correlation.
        kldiv: largest Kullback-Leibler divergence from PyTorch's map, in nats.
        latency_ms: median of one inference, from a frame in host memory to its map there.
        kept: whether all frames lie within the tolerance.
    """

    gpu: str
    driver: str
    frames: int
    max_abs: float
    cc: float
    kldiv: float
    latency_ms: float
    kept: bool


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
        system: kind of operating system that it was built on, such as `Linux`.
        os: its name and version.
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
        golden: what the golden check found on the device; None before it.
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
    system: str
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
    golden: GoldenRecord | None = None
    schema: int = SCHEMA

    @property
    def title(self) -> str:
        """Name and version of what built it, for people."""
        return f"{TITLES[self.flavour]} {self.version}"

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], origin: str) -> Receipt:
        """Read a receipt from parsed JSON.

        Args:
            values: the fields by name.
            origin: where they were found, for the error's text.

        Raises:
            ArtifactError: fields are missing, unknown or of a wrong kind.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names or values["schema"] != SCHEMA:
            differing = ", ".join(sorted(names.symmetric_difference(values))) or f"schema {values['schema']}"
            raise ArtifactError(f"{origin} is of another version of saliency-edge ({differing})")
        try:
            parts = {
                "contract": Contract.from_mapping(values["contract"], origin),
                "targets": tuple(values["targets"]),
                "options": BuildOptions(**values["options"]),
                "layers": tuple(map(_layer, values["layers"])),
                "golden": None if values["golden"] is None else GoldenRecord(**values["golden"]),
            }
        except (TypeError, KeyError) as error:
            raise ArtifactError(f"{origin} is no receipt of an engine ({error})") from error
        return cls(**{**values, **parts})


def receipt_path(engine: Path) -> Path:
    """Tell where an engine's receipt lies."""
    return engine.with_suffix(".receipt.json")


def read_receipt(engine: Path) -> Receipt:
    """Read the receipt beside an engine.

    Raises:
        ArtifactError: there is none, or it cannot be understood.
    """
    path = receipt_path(engine)
    if not path.is_file():
        raise ArtifactError(f"{engine} has no {path.name} beside it")
    values = read_json(path)
    if not isinstance(values, dict):
        raise ArtifactError(f"{path} is no receipt of an engine")
    return Receipt.from_json(values, str(path))


def write_receipt(engine: Path, receipt: Receipt) -> None:
    """Write the receipt of an engine.

    Raises:
        OutputError: the folder is missing, read-only or full.
    """
    write_json(receipt_path(engine), receipt.to_json())


def _layer(values: Mapping[str, Any]) -> Layer:
    names = ("onnx_nodes", "inputs", "outputs")
    return Layer(**{**values, **{name: tuple(values[name]) for name in names}})
