"""From a bundle's ONNX file to a TensorRT engine and its receipt; needs neither torch nor onnx.

The builder is blind to precision: the ONNX file alone decides on it, and `precision_proof.py` holds the
engine to the file. Why there is one engine for each GPU: `docs/adr/020-one-engine-for-each-gpu.md`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...runtime.artifact import atomic_file
from ...runtime.backends.tensorrt.receipt import ENGINES_FOLDER, BuildOptions, Layer, Receipt, receipt_path
from ...runtime.bundle import Bundle
from ...runtime.contract import INPUT_NAME, Contract, Precision
from ...runtime.errors import BuildError, OutputError, UsageError
from ...runtime.machine import Machine, this_machine
from .build_progress import showing_progress
from .build_session import ProgressSink, noting_interrupts
from .build_targets import Target, choose_targets
from .layer_report import layers_in
from .network_report import ParsedNetwork, asked_dtypes, check_contract, check_weights, parse
from .precision_proof import built_dtypes, check_asked, counted, prove
from .tensorrt_api import Flavour, TensorRt, choose
from .tensorrt_types import IBuilderConfig
from .write_engine import device_memory_bytes, write_engine


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReport:
    """An engine that was built.

    Attributes:
        path: of the engine; its receipt lies beside it.
        receipt: what the receipt says.
    """

    path: Path
    receipt: Receipt

    def to_json(self) -> dict[str, Any]:
        """Give what a program wants to know, without the layers."""
        values = self.receipt.to_json()
        del values["layers"]
        return {"path": str(self.path), "receipt": str(receipt_path(self.path)), **values}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What one precision's engines are built from."""

    model: bytes
    origin: str
    contract: Contract
    onnx_sha256: str
    ranges_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workshop:
    """What engines are built with, and where they go."""

    api: TensorRt
    machine: Machine
    options: BuildOptions
    folder: Path
    progress: ProgressSink | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Product:
    """A serialised engine, and what is known of it."""

    engine: bytes
    build_s: float
    memory_bytes: int | None
    layers: tuple[Layer, ...]
    convolutions: dict[str, int]


def build_engines(
    bundle: Path,
    precision: Precision,
    flavour: Flavour = "auto",
    targets: Sequence[str] = (),
    *,
    options: BuildOptions | None = None,
    progress: ProgressSink | None = None,
) -> list[EngineReport]:
    """Build a bundle's engines of one precision into its folder `engines`.

    Args:
        bundle: the bundle's folder.
        precision: which of its models.
        flavour: what to build with; see `tensorrt_api.choose`.
        targets: compute capabilities such as `sm86`, an engine for each; see `build_targets.choose_targets`.
        options: how to build.
        progress: takes note of how far each build has come; None shows it on stderr.

    Returns:
        What was built; nothing for `none`, and for `auto` where neither flavour can be used.

    Raises:
        UsageError: the bundle is zipped or has no model of that precision, or a target or option is unknown.
        ArtifactError: the bundle is damaged, or its model is not what the manifest says.
        BackendError: the flavour cannot be used here.
        BuildError: TensorRT refuses the model, or built something other than was asked for.
        OutputError: the folder cannot be written, or another build is at work in it.
        KeyboardInterrupt: Ctrl-C; engines that were finished before are kept.
    """
    api = choose(flavour)
    if api is None:
        return []
    machine = this_machine()
    chosen = choose_targets(api, machine.gpu, targets, precision)
    with Bundle.open(bundle) as opened:
        source = _source(opened, precision)
    folder = bundle / ENGINES_FOLDER
    workshop = _Workshop(
        api=api, machine=machine, options=options or BuildOptions(), folder=folder, progress=progress
    )
    with _alone_in(folder):
        network = _checked_network(api, source)
        return [_make(workshop, source, network, target) for target in chosen]


def _source(bundle: Bundle, precision: Precision) -> _Source:
    if bundle.unpacked is not None:
        raise UsageError(f"{bundle.path} is zipped, and engines lie inside a bundle. Unzip it first")
    path = bundle.model(precision)
    model = path.read_bytes()
    lineage = bundle.manifest.get("lineage", {})
    return _Source(
        model=model,
        origin=path.name,
        contract=_contract(bundle.manifest, lineage, precision, str(bundle.path)),
        onnx_sha256=hashlib.sha256(model).hexdigest(),
        ranges_sha256=lineage.get("ranges_sha256") if precision == "int8" else None,
    )


def _contract(
    manifest: Mapping[str, Any], lineage: Mapping[str, Any], precision: Precision, origin: str
) -> Contract:
    names = ("network", "size_hw", "map_size_hw", "batch", "fit")
    values = {name: manifest[name] for name in names if name in manifest}
    weights = {"weights_sha256": lineage["weights_sha256"]} if "weights_sha256" in lineage else {}
    return Contract.from_mapping({**values, **weights, "precision": precision}, origin)


def _checked_network(api: TensorRt, source: _Source) -> ParsedNetwork:
    api.log.clear()
    network = parse(api, source.model, source.origin)
    check_contract(network.definition, source.contract, source.origin)
    check_weights(api, network.definition, source.origin)
    check_asked(source.contract.precision, asked_dtypes(api, network.definition), source.origin)
    return network


def _make(workshop: _Workshop, source: _Source, network: ParsedNetwork, target: Target) -> EngineReport:
    """Build, prove and write one engine."""
    api, precision = workshop.api, source.contract.precision
    path = workshop.folder / f"{_base_name(api, target)}-{precision}.engine"
    start_s = time.monotonic()
    engine = _build(workshop, source, network, target)
    build_s = time.monotonic() - start_s
    layers = layers_in("\n".join(api.log.facts)) or layers_in(api.describe(engine))
    asked = asked_dtypes(api, network.definition)
    prove(precision, asked, layers, path.name)
    product = _Product(
        engine=engine,
        build_s=build_s,
        memory_bytes=device_memory_bytes(api.log.facts),
        layers=layers,
        convolutions=counted(built_dtypes(asked, layers).values()),
    )
    receipt = _receipt(workshop, source, target, product)
    write_engine(path, engine, receipt)
    return EngineReport(path=path, receipt=receipt)


def _base_name(api: TensorRt, target: Target) -> str:
    """Name the GPU and the builder: `sm86-rtx1.7.1.116`, `orin-tensorrt10.3.0`."""
    return f"{target.name}-{api.flavour}{api.version}"


def _build(workshop: _Workshop, source: _Source, network: ParsedNetwork, target: Target) -> bytes:
    """Build one engine; Ctrl-C cancels it."""
    api, contract = workshop.api, source.contract
    api.log.clear()
    config = api.config(network.builder, workshop.options, target.ahead)
    _set_batch(network, config, contract)
    timing_file = workshop.folder / f"{_base_name(api, target)}.timing"
    if not api.builds_ahead:  # nothing is timed ahead of time
        api.use_timing_cache(config, timing_file.read_bytes() if timing_file.is_file() else b"")
    title = f"{contract.network} {contract.precision} for {target.name}"
    with noting_interrupts() as cancelled, _shown(workshop, title) as progress:
        engine = api.build(network.builder, network.definition, config, progress, cancelled)
    if engine is None:
        raise BuildError(f"{title}: {api.title} {api.version} builds no engine: {_reason(api.log.errors)}")
    if not api.builds_ahead:
        with atomic_file(timing_file) as temporary:
            temporary.write_bytes(api.timings(config))
    return engine


def _set_batch(network: ParsedNetwork, config: IBuilderConfig, contract: Contract) -> None:
    """Give a dynamic batch its smallest, usual and largest size; who asks for one wants the largest fast."""
    smallest, largest = contract.batch
    if smallest == largest:
        return
    profile = network.builder.create_optimization_profile()
    low, usual, high = ((count, *contract.size_hw, 3) for count in (smallest, largest, largest))
    profile.set_shape(INPUT_NAME, low, usual, high)
    config.add_optimization_profile(profile)


def _shown(workshop: _Workshop, title: str) -> AbstractContextManager[ProgressSink]:
    return nullcontext(workshop.progress) if workshop.progress else showing_progress(title)


def _reason(errors: Sequence[str]) -> str:
    """Give TensorRT's last error with a remedy; its search for a GPU that is not needed is no reason."""
    reasons = [error for error in errors if "Cuda Runtime" not in error] or ["it does not say why"]
    reason = " ".join(reasons[-1].split())
    remedy = "Close other programs, or set a smaller workspace" if "memory" in reason.lower() else ""
    return f"{reason}. {remedy or 'Export it again, or use another TensorRT'}"


def _receipt(workshop: _Workshop, source: _Source, target: Target, product: _Product) -> Receipt:
    return Receipt(
        sha256=hashlib.sha256(product.engine).hexdigest(),
        bytes=len(product.engine),
        flavour=workshop.api.flavour,
        version=workshop.api.version,
        asked_precision=source.contract.precision,
        contract=source.contract,
        targets=(target.ahead,) if target.ahead else (),
        gpu=target.gpu.name if target.gpu else None,
        compute_capability=target.compute_capability,
        driver=target.gpu.driver if target.gpu else None,
        system=workshop.machine.system,
        os=workshop.machine.os,
        architecture=workshop.machine.architecture,
        power_mode=workshop.machine.power_mode,
        onnx_sha256=source.onnx_sha256,
        weights_sha256=source.contract.weights_sha256,
        ranges_sha256=source.ranges_sha256,
        build_s=round(product.build_s, 3),
        device_memory_bytes=product.memory_bytes,
        options=workshop.options,
        convolutions=product.convolutions,
        dtype_counts=counted(layer.dtype for layer in product.layers if layer.outputs),
        layers=product.layers,
    )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder against other builds, and see first that it can be written.

    Raises:
        OutputError: it cannot be written, or another build is at work in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OutputError(
            f"cannot write {folder}: {error.strerror}. Choose a bundle that is writable"
        ) from error
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    """Take the folder's lock; the system frees it when the process ends, however that happens."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(f"another build is at work in {folder}. Wait until it has ended") from error
