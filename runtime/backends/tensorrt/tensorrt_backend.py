"""TensorRT and TensorRT-RTX as a backend: a bundle's engines that fit this machine, by their receipts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ...bundle import Bundle
from ...contract import PRECISIONS, Precision
from ...errors import ArtifactError, BuildError, SaliencyError
from ...machine import Gpu, this_machine
from ..backend import GPU_TIER, Candidate, LoadOptions, ModelSource, Say
from .engine import TensorRtModel
from .libraries import find_runtime
from .receipt import (
    ENGINES_FOLDER,
    TITLES,
    Environment,
    Receipt,
    check_compatibility,
    gpu_of,
    read_receipt,
    rebuild_command,
    verify_integrity,
)

_BUILDER = "saliency_edge.export.cli"


class TensorRtBackend:
    """Engines on an NVIDIA GPU."""

    name = "tensorrt"
    suffixes: tuple[str, ...] = (".engine",)

    def probe(self, source: ModelSource, _options: LoadOptions) -> Sequence[Candidate]:
        """List the engines that fit; where none does, the likeliest with the reason."""
        if source.file is not None:
            return [self._candidate(source.file, source)] if source.file.suffix == ".engine" else []
        if source.bundle is None:
            return []
        gpu = this_machine().gpu
        found: dict[Precision, list[Candidate]] = {}
        for path in _engines_in(source.bundle, gpu):
            candidate = self._candidate(path, source)
            if candidate.precision is not None and candidate.precision in source.precisions:
                found.setdefault(candidate.precision, []).append(candidate)
        if not found:
            return [self._missing(source, gpu)]
        sound = [item for group in found.values() for item in group if item.problem is None]
        return sound or found.get("fp16", next(iter(found.values())))[:1]

    def load(self, _source: ModelSource, candidate: Candidate, _options: LoadOptions) -> TensorRtModel:
        """Load an engine; see `Backend.load`."""
        receipt = read_receipt(candidate.file)
        verify_integrity(candidate.file, receipt)
        return TensorRtModel.load(candidate.file, receipt)

    def _candidate(self, path: Path, source: ModelSource) -> Candidate:
        """Judge an engine by its receipt, without loading it."""
        machine = this_machine()
        receipt, environment, problem = None, {}, None
        try:
            receipt = _receipt_of(path)
            if source.file is not None or not path.is_file():
                verify_integrity(path, receipt)
            gpu = gpu_of(machine)
            runtime = find_runtime(receipt.flavour)
            environment = {
                "version": runtime.title,
                "device": f"{gpu.name} of compute capability {gpu.compute_capability}",
                "driver": gpu.driver,
            }
            here = Environment(
                machine=machine,
                version=runtime.version,
                lean=runtime.lean,
                onnx_sha256=_onnx_sha256(source.bundle, receipt.asked_precision),
            )
            check_compatibility(path, receipt, here)
        except SaliencyError as error:
            problem = error
        precision = receipt.asked_precision if receipt else _precision_in(path)
        return Candidate(
            backend=self.name,
            title=TITLES[receipt.flavour] if receipt else "TensorRT",
            file=path,
            precision=precision,
            sha256=receipt.sha256 if receipt else None,
            environment=environment,
            tier=GPU_TIER,
            problem=problem,
            expected=machine.gpu is not None or source.file is not None,
            rebuild=self._rebuild(source, precision) if machine.gpu is not None else None,
        )

    def _missing(self, source: ModelSource, gpu: Gpu | None) -> Candidate:
        """Say that a bundle has no engine; where a GPU waits for one, with the command that builds it."""
        assert source.bundle is not None
        precision = "fp16" if "fp16" in source.precisions else source.precisions[0]
        path = source.bundle.path
        command = f"saliency-export {path} --{precision}"
        problem: SaliencyError = ArtifactError(
            f"{path} holds no {precision} engine. Build one here: {command}"
        )
        try:
            gpu_of(this_machine())
        except SaliencyError as error:
            problem = error
        folder = source.bundle.folder / ENGINES_FOLDER
        return Candidate(
            backend=self.name,
            title="TensorRT",
            file=folder,
            precision=precision,
            tier=GPU_TIER,
            problem=problem,
            expected=gpu is not None,
            rebuild=self._rebuild(source, precision) if gpu is not None else None,
        )

    def _rebuild(self, source: ModelSource, precision: Precision | None) -> Callable[[Say], Candidate] | None:
        """Offer to build an engine again, where it lies in a bundle."""
        bundle = source.bundle
        if bundle is None or precision is None:
            return None

        def rebuild(say: Say) -> Candidate:
            rebuild_engine(bundle, precision, say)
            everything = ModelSource(path=source.path, bundle=bundle, precisions=(precision,))
            return next(iter(self.probe(everything, LoadOptions())))

        return rebuild


def rebuild_engine(bundle: Bundle, precision: Precision, say: Say) -> None:
    """Build a bundle's engine again, in a process of its own: `docs/adr/025-rebuild-in-a-process.md`.

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


def _engines_in(bundle: Bundle, gpu: Gpu | None) -> list[Path]:
    """List a bundle's engines: those for this GPU first, and of these the newest."""
    ranked = []
    for path in sorted((bundle.folder / ENGINES_FOLDER).glob("*.engine")):
        try:
            capability = read_receipt(path).compute_capability
        except ArtifactError:
            ranked.append((2, 0.0, path))
            continue
        is_for_another = gpu is None or capability != gpu.compute_capability
        ranked.append((int(is_for_another), -path.stat().st_mtime, path))
    return [path for *_, path in sorted(ranked)]


def _receipt_of(path: Path) -> Receipt:
    try:
        return read_receipt(path)
    except ArtifactError as error:
        raise ArtifactError(f"{error}. {rebuild_command(path, None)}") from error


def _precision_in(engine: Path) -> Precision | None:
    """Read the precision off an engine's name, which ends with it, where its receipt is what is wrong."""
    return next((name for name in PRECISIONS if engine.stem.endswith(f"-{name}")), None)


def _onnx_sha256(bundle: Bundle | None, precision: Precision) -> str | None:
    model = bundle.models.get(precision) if bundle is not None else None
    return model.sha256 if model is not None else None
