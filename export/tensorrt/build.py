"""From a bundle's ONNX file to a TensorRT engine and its receipt; needs neither torch nor onnx.

The builder is blind to precision: the ONNX file alone decides on it, and `precision_proof.py` compares the
engine with the file. Why there is one engine for each GPU: `docs/adr/020-one-engine-for-each-gpu.md`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.artifact import atomic_file
from ...runtime.backends.tensorrt.receipt import (
    ENGINES_FOLDER,
    BuildOptions,
    Layer,
    Receipt,
    receipt_path,
    write_receipt,
)
from ...runtime.bundle import Bundle
from ...runtime.contract import INPUT_NAME, Contract, Precision
from ...runtime.errors import BackendError, BuildError, OutputError, UsageError
from ...runtime.machine import Gpu, Machine, this_machine
from .library import Flavour, ProgressSink, TensorRt, choose, noting_interrupts, showing_progress
from .precision_proof import (
    ParsedNetwork,
    asked_dtypes,
    built_dtypes,
    check_asked,
    check_contract,
    check_weights,
    counted,
    layers_in,
    parse,
    prove,
)
from .types import IBuilderConfig

if TYPE_CHECKING:
    from .library import Flavour


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
        """The receipt as plain JSON values, without the layers."""
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
class _BuildContext:
    """What engines are built with, and where they go."""

    api: TensorRt
    machine: Machine
    options: BuildOptions
    folder: Path
    progress: ProgressSink | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _BuiltEngine:
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
    context = _BuildContext(
        api=api, machine=machine, options=options or BuildOptions(), folder=folder, progress=progress
    )
    with _alone_in(folder):
        network = _checked_network(api, source)
        return [_make(context, source, network, target) for target in chosen]


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


def _make(context: _BuildContext, source: _Source, network: ParsedNetwork, target: Target) -> EngineReport:
    """Build, prove and write one engine."""
    api, precision = context.api, source.contract.precision
    path = context.folder / f"{_base_name(api, target)}-{precision}.engine"
    start_s = time.monotonic()
    engine = _build(context, source, network, target)
    build_s = time.monotonic() - start_s
    layers = layers_in("\n".join(api.log.facts)) or layers_in(api.describe(engine))
    asked = asked_dtypes(api, network.definition)
    prove(precision, asked, layers, path.name)
    built = _BuiltEngine(
        engine=engine,
        build_s=build_s,
        memory_bytes=device_memory_bytes(api.log.facts),
        layers=layers,
        convolutions=counted(built_dtypes(asked, layers).values()),
    )
    receipt = _receipt(context, source, target, built)
    write_engine(path, engine, receipt)
    return EngineReport(path=path, receipt=receipt)


def _base_name(api: TensorRt, target: Target) -> str:
    """Name the GPU and the builder: `sm86-rtx1.7.1.116`, `orin-tensorrt10.3.0`."""
    return f"{target.name}-{api.flavour}{api.version}"


def _build(context: _BuildContext, source: _Source, network: ParsedNetwork, target: Target) -> bytes:
    """Build one engine; Ctrl-C cancels it."""
    api, contract = context.api, source.contract
    api.log.clear()
    config = api.config(network.builder, context.options, target.ahead)
    _set_batch(network, config, contract)
    timing_file = context.folder / f"{_base_name(api, target)}.timing"
    if not api.builds_ahead:  # nothing is timed ahead of time
        api.use_timing_cache(config, timing_file.read_bytes() if timing_file.is_file() else b"")
    title = f"{contract.network} {contract.precision} for {target.name}"
    with noting_interrupts() as cancelled, _shown(context, title) as progress:
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


def _shown(context: _BuildContext, title: str) -> AbstractContextManager[ProgressSink]:
    return nullcontext(context.progress) if context.progress else showing_progress(title)


def _reason(errors: Sequence[str]) -> str:
    """Give TensorRT's last error with a remedy; its search for a GPU that is not needed is no reason."""
    reasons = [error for error in errors if "Cuda Runtime" not in error] or ["it does not say why"]
    reason = " ".join(reasons[-1].split())
    remedy = "Close other programs, or set a smaller workspace" if "memory" in reason.lower() else ""
    return f"{reason}. {remedy or 'Export it again, or use another TensorRT'}"


def _receipt(context: _BuildContext, source: _Source, target: Target, built: _BuiltEngine) -> Receipt:
    return Receipt(
        sha256=hashlib.sha256(built.engine).hexdigest(),
        bytes=len(built.engine),
        flavour=context.api.flavour,
        version=context.api.version,
        asked_precision=source.contract.precision,
        contract=source.contract,
        targets=(target.ahead,) if target.ahead else (),
        gpu=target.gpu.name if target.gpu else None,
        compute_capability=target.compute_capability,
        driver=target.gpu.driver if target.gpu else None,
        system=context.machine.system,
        os=context.machine.os,
        architecture=context.machine.architecture,
        power_mode=context.machine.power_mode,
        onnx_sha256=source.onnx_sha256,
        weights_sha256=source.contract.weights_sha256,
        ranges_sha256=source.ranges_sha256,
        build_s=round(built.build_s, 3),
        device_memory_bytes=built.memory_bytes,
        options=context.options,
        convolutions=built.convolutions,
        dtype_counts=counted(layer.dtype for layer in built.layers if layer.outputs),
        layers=built.layers,
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


Say = Callable[[str], None]
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlan:
    """What engines are to be built.

    Attributes:
        flavour: what to build with; `auto` builds nothing where nothing can be used.
        targets: compute capabilities such as `sm86`; none leaves them to the builder.
        options: how they are built.
    """

    flavour: Flavour
    targets: tuple[str, ...]
    options: BuildOptions = field(default_factory=BuildOptions)


def check_plan(precisions: Sequence[Precision], plan: EnginePlan) -> None:
    """See that a plan can be, before any other work is done.

    Raises:
        UsageError: a target is unknown, or an option is not this flavour's.
        BackendError: the flavour cannot be used here.
    """
    from ...runtime.machine import find_gpu
    from .library import choose

    api = choose(plan.flavour)
    if api is not None:
        api.check_options(plan.options)
        for precision in precisions:
            choose_targets(api, find_gpu(), plan.targets, precision)


def build_all(
    bundle: Path, precisions: Sequence[Precision], plan: EnginePlan, say: Say
) -> list[EngineReport]:
    """Build a bundle's engines of some precisions, where that can be done here.

    Args:
        bundle: the bundle's folder.
        precisions: of its models.
        plan: what to build.
        say: takes the lines that people read.

    Raises:
        SaliencyError: as `build_engines`.
    """

    reports = [
        report
        for precision in precisions
        for report in build_engines(bundle, precision, plan.flavour, plan.targets, options=plan.options)
    ]
    for report in reports:
        say(_engine_line(report))
    return reports


def build_bundle(bundle: Path, precisions: Sequence[Precision], plan: EnginePlan, say: Say) -> dict[str, Any]:
    """Build a bundle's engines alone; to build none is a failure then.

    Returns:
        What was built, as plain JSON values.

    Raises:
        SaliencyError: as `build_engines`; also where no engine can be built here.
    """
    if bundle.suffix == ".safetensors":
        raise UsageError(f"{bundle} is a checkpoint. Export it: saliency-export --weights {bundle}")
    reports = build_all(bundle, precisions, plan, say)
    if not reports:
        raise BackendError(f"no engine built: {why_none(plan)}")
    return {"bundle": str(bundle), "engines": [report.to_json() for report in reports]}


def why_none(plan: EnginePlan) -> str:
    """Say why a plan builds no engine here."""
    from .library import available_flavours

    if plan.flavour == "none":
        return "--engine none was given"
    return "; ".join(status.problem for status in available_flavours() if status.problem)


def _engine_line(report: EngineReport) -> str:
    receipt = report.receipt
    proof = ", ".join(f"{count} in {dtype}" for dtype, count in receipt.convolutions.items())
    return (
        f"engine {report.path.name}: {receipt.bytes / _MIB:.1f} MiB, built in {receipt.build_s:.1f} s, "
        f"its convolutions: {proof}"
    )


DEFAULT_TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120")
"""What is built for where there is no GPU: Turing, both kinds of Ampere, Ada and Blackwell."""

# TensorRT-RTX has no int8 for Turing: its support matrix says so, and its builder takes Half instead (seen).
_WITHOUT_INT8 = ("sm75",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A GPU to build for.

    Attributes:
        name: as it stands in the engine's file name, such as `sm86` or `nvidia-h100-80gb-hbm3`.
        compute_capability: such as `8.6`.
        gpu: the GPU of this machine; None for one that is built for ahead of time.
    """

    name: str
    compute_capability: str
    gpu: Gpu | None = None

    @property
    def ahead(self) -> str | None:
        """Its name where it is built for ahead of time, such as `sm86`; None for this machine's GPU."""
        return None if self.gpu else self.name


def choose_targets(
    api: TensorRt, gpu: Gpu | None, names: Sequence[str], precision: Precision
) -> list[Target]:
    """Check the targets that the user names, or choose.

    Args:
        api: what will be built with.
        gpu: this machine's, if any.
        names: compute capabilities such as `sm86`; without any, this machine's GPU, or else
            `DEFAULT_TARGETS`.
        precision: what will be built.

    Raises:
        UsageError: a name is unknown, or the flavour builds for this machine's GPU only.
    """
    if names and not api.targets:
        raise UsageError(f"{api.title} builds for the GPU of this machine only: leave --target out")
    if not names and gpu:
        return [_for_this_gpu(gpu)]
    chosen = [name.lower() for name in names] or _defaults(api, precision)
    unknown = [name for name in chosen if name not in api.targets]
    if unknown:
        raise UsageError(
            f"unknown target {unknown[0]!r}. {api.title} {api.version} has {', '.join(api.targets)}"
        )
    return [_ahead(name) for name in dict.fromkeys(chosen)]


def _defaults(api: TensorRt, precision: Precision) -> list[str]:
    left_out = _WITHOUT_INT8 if precision == "int8" else ()
    return [name for name in DEFAULT_TARGETS if name in api.targets and name not in left_out]


def _for_this_gpu(gpu: Gpu) -> Target:
    name = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    return Target(name=name, compute_capability=gpu.compute_capability, gpu=gpu)


def _ahead(name: str) -> Target:
    digits = name.removeprefix("sm")
    return Target(name=name, compute_capability=f"{digits[:-1]}.{digits[-1]}")


_MEMORY = re.compile(r"Total (?:Activation|Weights) Memory: (\d+) bytes")


def write_engine(path: Path, engine: bytes, receipt: Receipt) -> None:
    """Write an engine and its receipt, both or none.

    Raises:
        OutputError: the folder is missing, read-only or full.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(engine)
        write_receipt(path, receipt)


def device_memory_bytes(facts: Sequence[str]) -> int | None:
    """Add up what a build's log says of the memory for weights and tensors; None where it says nothing."""
    found = [int(size) for fact in facts for size in _MEMORY.findall(fact)]
    return sum(found) if found else None
