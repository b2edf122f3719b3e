"""The receipt beside each engine, and whether an engine may run here, told from it before it is loaded.

The builder writes it: what was asked for, what was built, from what, with what, for which GPU. The runtime
reads it before it loads the engine, because TensorRT itself finds out late or not at all: an engine of
another version or GPU crashes, or is wrong. The golden check adds what it found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ...artifact import sha256_of, write_json
from ...bundle import MANIFEST_NAME
from ...contract import Contract, Precision
from ...errors import ArtifactError, BackendError, ContractError
from ...machine import Gpu, Machine
from ...records import Count, check_schema, read_json, to_record

UNKNOWN = "unknown"
"""Datatype of a tensor that TensorRT does not tell: `N/A due to dynamic shapes`."""

# Kernels that multiply and add, `runtime_fusion` with a cast behind; generated ones (`kgen`) move and scale.
_COMPUTES = re.compile(r"correlation|conv|gemm|gett|matrixmultiply|fusion", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of an engine.

    Attributes:
        name: TensorRT's own.
        type: TensorRT's own, such as `correlation`, `kgen` or `CaskConvolution`.
        onnx_nodes: names of the ONNX nodes that it does, or does a part of.
        inputs: datatypes of its inputs: `Float`, `Half`, `Int8`, ...
        weights: datatype of the weights; None where it has none.
        outputs: datatypes of its outputs.
    """

    name: str
    type: str
    onnx_nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    weights: str | None
    outputs: tuple[str, ...]

    @property
    def computes(self) -> bool:
        """Whether it is a convolution or a matrix product."""
        return _COMPUTES.search(self.type) is not None

    @property
    def dtype(self) -> str:
        """Datatype that it computes in; both, as `Half x Int8`, where input and weights differ."""
        first = next(iter(self.inputs or self.outputs), UNKNOWN)
        if self.weights is None or self.weights == first:
            return first
        return self.weights if first == UNKNOWN else f"{first} x {self.weights}"


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
        max_abs: largest absolute difference of a cell; None where a map is not all numbers.
        cc: smallest correlation.
        kldiv: largest Kullback-Leibler divergence from PyTorch's map, in nats; None likewise.
        latency_ms: median of one inference, from a frame in host memory to its map there.
        kept: whether all frames lie within the tolerance.
    """

    gpu: str
    driver: str
    frames: Count
    max_abs: float | None
    cc: float
    kldiv: float | None
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
            built for the GPU of this machine.
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
        """Fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any, origin: str) -> Receipt:
        """Read a receipt from parsed JSON.

        Args:
            values: the fields by name.
            origin: where they were found, for the error's text.

        Raises:
            ArtifactError: fields are missing, unknown or of a wrong kind.
        """
        values = check_schema(values, SCHEMA, origin, "a receipt of an engine")
        return to_record(values, cls, origin)


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
    return Receipt.from_json(read_json(path), str(path))


def write_receipt(engine: Path, receipt: Receipt) -> None:
    """Write the receipt of an engine.

    Raises:
        OutputError: the folder is missing, read-only or full.
    """
    write_json(receipt_path(engine), receipt.to_json())


_AMPERE = (8, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where an engine is to run.

    Attributes:
        machine: with its GPU.
        version: of the installed TensorRT or TensorRT-RTX.
        lean: whether that is the lean runtime.
        onnx_sha256: of the ONNX file as it is now; None where there is none beside the engine.
    """

    machine: Machine
    version: str
    lean: bool = False
    onnx_sha256: str | None = None


def verify_integrity(engine: Path, receipt: Receipt) -> None:
    """Hold an engine's file against its receipt.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    remedy = rebuild_command(engine, receipt.asked_precision)
    if not engine.is_file():
        raise ArtifactError(f"no such engine: {engine}. {remedy}")
    size_bytes = engine.stat().st_size
    if size_bytes != receipt.bytes:
        raise ArtifactError(
            f"{engine} is damaged: {size_bytes} bytes, its receipt says {receipt.bytes}. {remedy}"
        )
    found = sha256_of(engine)
    if found != receipt.sha256:
        raise ArtifactError(
            f"{engine} is damaged: sha256 {found[:8]}… is not the receipt's {receipt.sha256[:8]}…. {remedy}"
        )


def check_compatibility(engine: Path, receipt: Receipt, environment: Environment) -> None:
    """Hold an engine's receipt against the machine, the installed TensorRT and the ONNX file.

    Raises:
        BackendError: there is no GPU.
        ContractError: the engine is for another environment, or made from another file.
    """
    gpu = gpu_of(environment.machine)
    misfit = next(_misfits(receipt, environment, gpu), None)
    if misfit is not None:
        raise ContractError(f"{engine} {misfit}. {rebuild_command(engine, receipt.asked_precision)}")


def gpu_of(machine: Machine) -> Gpu:
    """GPU of a machine.

    Raises:
        BackendError: there is none, or no driver.
    """
    if machine.gpu is None:
        raise BackendError(
            "TensorRT engines need an NVIDIA GPU and its driver; none is found here (nvidia-smi shows both)"
        )
    return machine.gpu


def rebuild_command(engine: Path, precision: Precision | None) -> str:
    """Say how an engine is built again."""
    bundle = bundle_of(engine) or "BUNDLE"
    return f"Rebuild it: saliency-export {bundle}" + (f" --{precision}" if precision else "")


def bundle_of(engine: Path) -> Path | None:
    """Find the bundle that an engine lies in; None where it lies elsewhere."""
    folder = engine.parent.parent
    lies_in_one = engine.parent.name == ENGINES_FOLDER and (folder / MANIFEST_NAME).is_file()
    return folder if lies_in_one else None


def _misfits(receipt: Receipt, environment: Environment, gpu: Gpu) -> Iterator[str]:
    """Tell all that does not fit, the most telling first."""
    machine = environment.machine
    if receipt.architecture != machine.architecture:
        yield f"was built on {receipt.architecture}; this is {machine.architecture}"
    if receipt.flavour == "tensorrt" and receipt.system != machine.system:
        yield f"was built on {receipt.system}; this is {machine.system}"
    if not _gpu_fits(receipt, gpu):
        built_for = f"{receipt.gpu or 'any GPU'} of compute capability {receipt.compute_capability}"
        yield f"was built for {built_for}; this is {gpu.name} of {gpu.compute_capability}"
    if not _version_fits(receipt, environment):
        lean = " lean, which runs version-compatible engines only" if environment.lean else ""
        yield f"was built by {receipt.title}; this is {environment.version}{lean}"
    if environment.onnx_sha256 not in (None, receipt.onnx_sha256):
        name = f"{receipt.asked_precision}.onnx"
        yield (
            f"was built from another {name} (sha256 {receipt.onnx_sha256[:8]}…; this one is "
            f"{environment.onnx_sha256[:8]}…)"
        )


def _gpu_fits(receipt: Receipt, gpu: Gpu) -> bool:
    """Tell whether the GPU is the one, or one of the kind that was asked for."""
    if receipt.options.hardware_compatible:
        return _numbers(gpu.compute_capability) >= _AMPERE
    same_model = receipt.flavour == "rtx" or receipt.gpu == gpu.name
    return receipt.compute_capability == gpu.compute_capability and same_model


def _version_fits(receipt: Receipt, environment: Environment) -> bool:
    """Tell whether the versions are one, or the engine is for later ones too (of its major version)."""
    if not receipt.options.version_compatible:
        return receipt.version == environment.version and not environment.lean
    built, here = _numbers(receipt.version), _numbers(environment.version)
    return built[:1] == here[:1] and built <= here


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
