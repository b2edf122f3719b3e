"""The engine of a bundle that fits this machine: found by the receipts, checked, and built anew if asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ...bundle import Bundle
from ...contract import Precision
from ...errors import ArtifactError, BuildError, OutputError, SaliencyError
from ...machine import Gpu, Machine, this_machine
from ...parity import GoldenReport, check_golden
from ..backend import Say
from .engine import TensorRtModel
from .libraries import find_runtime
from .receipt import (
    ENGINES_FOLDER,
    Environment,
    GoldenRecord,
    Receipt,
    bundle_of,
    check_compatibility,
    gpu_of,
    read_receipt,
    rebuild_command,
    verify_integrity,
    write_receipt,
)

_BUILDER = "saliency_edge.export.cli"
_DIGITS = 6


def open_bundled_engine(bundle: Bundle, precision: Precision) -> TensorRtModel:
    """Open the engine of a bundle that fits this machine.

    Raises:
        BackendError: there is no GPU, or what runs the engine is not installed.
        ArtifactError: the bundle has no engine of that precision, or none that fits; the likeliest is named.
        ParityError: the engine's maps are not PyTorch's.
    """
    machine = this_machine()
    gpu = gpu_of(machine)
    problems: list[SaliencyError] = []
    for path in _candidates(bundle.folder / ENGINES_FOLDER, precision, gpu):
        try:
            return open_engine(path, bundle, machine)
        except SaliencyError as error:
            problems.append(error)
    if problems:
        raise problems[0]
    command = f"saliency-export {bundle.path} --{precision}"
    raise ArtifactError(f"{bundle.path} holds no {precision} engine. Build one here: {command}")


def has_engines(bundle: Bundle) -> bool:
    """Tell whether a bundle carries engines, for whatever machine and precision."""
    return any((bundle.folder / ENGINES_FOLDER).glob("*.engine"))


def open_engine(path: Path, bundle: Bundle | None = None, machine: Machine | None = None) -> TensorRtModel:
    """Open an engine that its receipt lets run here, and whose maps are PyTorch's.

    Args:
        path: of the `.engine`.
        bundle: that it is from; None looks around the engine.
        machine: that this is; None looks at it.

    Raises:
        ArtifactError: the engine has no receipt, is damaged, or is for another environment.
        BackendError: there is no GPU, or what runs the engine is not installed.
        ParityError: its maps are not PyTorch's.
    """
    if bundle is None and (folder := bundle_of(path)) is not None:
        with Bundle.open(folder) as found:
            return open_engine(path, found, machine)
    receipt = _receipt_of(path)
    verify_integrity(path, receipt)
    machine = machine or this_machine()
    gpu = gpu_of(machine)
    check_compatibility(path, receipt, _environment(receipt, machine, bundle))
    engine = TensorRtModel.load(path, receipt)
    if bundle is not None:
        _check_once(engine, path, receipt, bundle, gpu)
    return engine


def rebuild_engine(bundle: Bundle, precision: Precision, say: Say) -> None:
    """Build a bundle's engine anew, in a process of its own: `docs/adr/025-rebuild-in-a-process.md`.

    Args:
        bundle: a folder.
        precision: of the engine.
        say: takes the builder's lines, as they come.

    Raises:
        BuildError: it cannot be built.
    """
    command = [sys.executable, "-m", _BUILDER, str(bundle.path), f"--{precision}", "--json"]
    say(f"building the {precision} engine of {bundle.path} for this machine")
    last = ""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as builder:
        assert builder.stderr is not None
        for line in builder.stderr:
            last = line.strip() or last
            if not last.startswith("error: "):
                say(last)
    if builder.returncode != 0:
        raise BuildError(last.removeprefix("error: ") or f"the builder ended with {builder.returncode}")


def record_golden(path: Path, report: GoldenReport) -> None:
    """Write into an engine's receipt what the golden check has found; a read-only bundle keeps none."""
    worst, gpu = report.worst, gpu_of(this_machine())
    record = GoldenRecord(
        gpu=gpu.name,
        driver=gpu.driver,
        frames=len(report.frames),
        max_abs=round(worst.max_abs, _DIGITS),
        cc=round(worst.cc, _DIGITS),
        kldiv=round(worst.kldiv, _DIGITS),
        latency_ms=round(worst.latency_ms, _DIGITS),
        kept=report.kept,
    )
    with suppress(OutputError):
        write_receipt(path, replace(read_receipt(path), golden=record))


def _candidates(folder: Path, precision: Precision, gpu: Gpu) -> Sequence[Path]:
    """List engines of a precision, and those without a readable receipt: the likeliest first."""
    ranked = []
    for path in sorted(folder.glob("*.engine")):
        try:
            receipt = read_receipt(path)
        except ArtifactError:
            ranked.append((2, 0.0, path))
            continue
        if receipt.asked_precision == precision:
            is_for_another = receipt.compute_capability != gpu.compute_capability
            ranked.append((int(is_for_another), -path.stat().st_mtime, path))
    return [path for *_, path in sorted(ranked)]


def _receipt_of(path: Path) -> Receipt:
    try:
        return read_receipt(path)
    except ArtifactError as error:
        raise ArtifactError(f"{error}. {rebuild_command(path, None)}") from error


def _environment(receipt: Receipt, machine: Machine, bundle: Bundle | None) -> Environment:
    runtime = find_runtime(receipt.flavour)
    models = bundle.models if bundle is not None else {}
    model = models.get(receipt.asked_precision)
    return Environment(
        machine=machine,
        version=runtime.version,
        lean=runtime.lean,
        onnx_sha256=model.sha256 if model is not None else None,
    )


def _check_once(engine: TensorRtModel, path: Path, receipt: Receipt, bundle: Bundle, gpu: Gpu) -> None:
    """Make the golden check, unless the receipt says that this GPU and driver have passed it.

    Raises:
        ParityError: the maps are not PyTorch's; the engine is closed.
    """
    done = receipt.golden
    if done is not None and done.kept and (done.gpu, done.driver) == (gpu.name, gpu.driver):
        return
    try:
        report = check_golden(engine, bundle.golden_file(), on_gpu=True)
        record_golden(path, report)
        report.check()
    except SaliencyError:
        engine.close()
        raise
