"""Whether an engine may run here, told from its receipt before the engine is loaded.

TensorRT itself finds out late or not at all: an engine of another version or GPU crashes, or is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..artifact import sha256_of
from ..bundle import MANIFEST_NAME
from ..contract import Precision
from ..errors import ArtifactError, BackendError, ContractError
from ..machine import Gpu, Machine
from .receipt import ENGINES_FOLDER, Receipt

_AMPERE = (8, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
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


def check_whole(engine: Path, receipt: Receipt) -> None:
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


def check_fits(engine: Path, receipt: Receipt, place: Place) -> None:
    """Hold an engine's receipt against the machine, the installed TensorRT and the ONNX file.

    Raises:
        BackendError: there is no GPU.
        ContractError: the engine is for another place, or made from another file.
    """
    gpu = gpu_of(place.machine)
    misfit = next(_misfits(receipt, place, gpu), None)
    if misfit is not None:
        raise ContractError(f"{engine} {misfit}. {rebuild_command(engine, receipt.asked_precision)}")


def gpu_of(machine: Machine) -> Gpu:
    """Give a machine's GPU.

    Raises:
        BackendError: there is none, or no driver.
    """
    if machine.gpu is None:
        raise BackendError(
            "TensorRT engines need an NVIDIA GPU and its driver; none is found here (nvidia-smi shows both)"
        )
    return machine.gpu


def rebuild_command(engine: Path, precision: Precision | None) -> str:
    """Say how an engine is built anew."""
    bundle = bundle_of(engine) or "BUNDLE"
    return f"Rebuild it: saliency-export {bundle}" + (f" --{precision}" if precision else "")


def bundle_of(engine: Path) -> Path | None:
    """Find the bundle that an engine lies in; None where it lies elsewhere."""
    folder = engine.parent.parent
    lies_in_one = engine.parent.name == ENGINES_FOLDER and (folder / MANIFEST_NAME).is_file()
    return folder if lies_in_one else None


def _misfits(receipt: Receipt, place: Place, gpu: Gpu) -> Iterator[str]:
    """Tell all that does not fit, the most telling first."""
    machine = place.machine
    if receipt.architecture != machine.architecture:
        yield f"was built on {receipt.architecture}; this is {machine.architecture}"
    if receipt.flavour == "tensorrt" and receipt.system != machine.system:
        yield f"was built on {receipt.system}; this is {machine.system}"
    if not _gpu_fits(receipt, gpu):
        built_for = f"{receipt.gpu or 'any GPU'} of compute capability {receipt.compute_capability}"
        yield f"was built for {built_for}; this is {gpu.name} of {gpu.compute_capability}"
    if not _version_fits(receipt, place):
        lean = " lean, which runs version-compatible engines only" if place.lean else ""
        yield f"was built by {receipt.title}; this is {place.version}{lean}"
    if place.onnx_sha256 not in (None, receipt.onnx_sha256):
        name = f"{receipt.asked_precision}.onnx"
        yield (
            f"was built from another {name} (sha256 {receipt.onnx_sha256[:8]}…; this one is "
            f"{place.onnx_sha256[:8]}…)"
        )


def _gpu_fits(receipt: Receipt, gpu: Gpu) -> bool:
    """Tell whether the GPU is the one, or one of the kind that was asked for."""
    if receipt.options.hardware_compatible:
        return _numbers(gpu.compute_capability) >= _AMPERE
    same_model = receipt.flavour == "rtx" or receipt.gpu == gpu.name
    return receipt.compute_capability == gpu.compute_capability and same_model


def _version_fits(receipt: Receipt, place: Place) -> bool:
    """Tell whether the versions are one, or the engine is for later ones too (of its major version)."""
    if not receipt.options.version_compatible:
        return receipt.version == place.version and not place.lean
    built, here = _numbers(receipt.version), _numbers(place.version)
    return built[:1] == here[:1] and built <= here


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
