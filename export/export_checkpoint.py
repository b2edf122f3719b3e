"""The way from a checkpoint or a foreign ONNX file to a bundle, in a folder that appears when it is whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..runtime.artifact import atomic_folder
from ..runtime.contract import Contract, Precision
from ..runtime.errors import ParityError
from .bundle import (
    RANGES_NAME,
    Measured,
    check_bundle_folder,
    check_outputs,
    write_golden,
    write_manifest,
    write_model,
)
from .frames import FrameSet, fitted
from .int8.layers import float_operators
from .int8.options import Int8Options
from .options import DEFAULT_OPSET
from .ort_session import ort_maps
from .parity import Parity, compare
from .range_scan import RangeScan, scan_ranges
from .report.page import Material, report_bundle
from .speed import Speed, measure_speed, rival_bundles
from .summary import INT8_REMEDY, contract_line, files_line, gate_lines, parity_lines, range_line
from .tensorrt.build import EnginePlan, Say, build_all, check_plan, why_none
from .to_fp16 import fp16_from_fp32, kept_fp32, rounded_as_fp16
from .to_onnx import CheckpointOriginal, Original, opset_of

if TYPE_CHECKING:
    import onnx

    from .foreign import ForeignFormat
    from .int8.step import Int8Step
    from .tensorrt.build import EngineReport

    _Rivals: TypeAlias = Mapping[int, onnx.ModelProto]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPlan:
    """What is to be exported.

    Attributes:
        weights: the checkpoint, or the foreign ONNX file.
        network: take it as this network; None for its own.
        size_hw: take it at this size, in pixels; None for its own.
        output: the bundle's folder; None for one named for the network, in the current folder.
        precisions: asked for; the fp32 graph is made in any case.
        batch: smallest and largest number of frames in a batch; None for the original's own.
        opset: of ONNX's own operators.
        engines: that are built of the precisions asked for.
        int8: how int8 is made, where it is asked for.
        foreign: how a foreign ONNX file is read; None for a checkpoint.
    """

    weights: Path
    network: str | None
    size_hw: tuple[int, int] | None
    output: Path | None
    precisions: tuple[Precision, ...]
    batch: tuple[int, int] | None
    opset: int
    engines: EnginePlan
    int8: Int8Options = field(default_factory=Int8Options)
    foreign: ForeignFormat | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What has become of a plan.

    Attributes:
        bundle: its folder.
        manifest: the content of its manifest.json.
        engines: that were built into it.
    """

    bundle: Path
    manifest: Mapping[str, Any]
    engines: Sequence[EngineReport]

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        engines = [engine.to_json() for engine in self.engines]
        return {"bundle": str(self.bundle), "manifest": self.manifest, "engines": engines}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measuring:
    """What graphs are measured with: frames, and what the original makes of some of them."""

    scanned: FrameSet
    compared: FrameSet
    references: NDArray[np.float32]
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graphs:
    """What was made of the original.

    Attributes:
        contract: of the fp32 graph.
        models: graphs by precision.
        kept_fp32: why some nodes of the fp16 graph stay fp32, by the node's name.
        rounded: the fp16 graph as a device shows it, its rounding written out; None without an fp16 graph.
    """

    contract: Contract
    models: Mapping[Precision, onnx.ModelProto]
    kept_fp32: Mapping[str, str]
    rounded: onnx.ModelProto | None


def export_checkpoint(plan: ExportPlan, say: Say) -> Exported:
    """Export a checkpoint, or a foreign ONNX file, to a bundle that has proved itself equal to it.

    Args:
        plan: what to export.
        say: takes the lines that people read.

    Raises:
        SaliencyError: an option, the weights or the output cannot be, a graph leaves the tolerance, or an
            engine cannot be built. What was at the output before is still there.
    """
    original = _original(plan)
    output = plan.output or Path(original.name)
    cache_file = _cache_file(output)
    check_outputs(output, cache_file if "int8" in plan.precisions else None, plan.weights, plan.int8)
    check_plan(plan.precisions, plan.engines)
    with atomic_folder(output, check_bundle_folder) as folder:
        material, rivals = _fill(folder, original, plan, cache_file, say)
        manifest = material.manifest
        reports = build_all(folder, _made(plan.precisions, manifest), plan.engines, say)
        if not reports and plan.engines.flavour == "auto":
            say(f"no engine built: {why_none(plan.engines)}")
        if "int8" in manifest["models"]:
            material = replace(material, speed=_speed(folder, rivals, plan.engines, say))
        report_bundle(folder, material)
    say(files_line(output, manifest))
    if "int8" in plan.precisions and "int8" not in manifest["models"]:
        raise ParityError(f"{output} holds fp16 alone: no int8 graph passes the gate. {INT8_REMEDY}")
    engines = [replace(report, path=output / report.path.relative_to(folder)) for report in reports]
    return Exported(bundle=output, manifest=manifest, engines=engines)


def _original(plan: ExportPlan) -> Original:
    """Load what is exported."""
    if plan.foreign is not None:
        from .foreign import ForeignOnnx

        return ForeignOnnx.load(plan.weights, plan.foreign, plan.size_hw)
    from ..train.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(plan.weights, network=plan.network, size_hw=plan.size_hw)
    return CheckpointOriginal(path=plan.weights, checkpoint=checkpoint)


def _speed(folder: Path, rivals: _Rivals, engines: EnginePlan, say: Say) -> Speed:
    """Time int8 beside fp16, and beside the other sets of the Pareto front."""
    with rival_bundles(folder, rivals, engines, say) as bundles:
        speed = measure_speed(folder, bundles)
    say(speed.sentence())
    return speed


def _fill(
    folder: Path, original: Original, plan: ExportPlan, cache_file: Path, say: Say
) -> tuple[Material, _Rivals]:
    """Make the graphs, measure them, and write the bundle's files.

    Returns:
        What the report is made from, and the int8 graphs beside the one that the bundle got.
    """
    batch = plan.batch or original.own_batch
    contract = original.contract(batch)
    fp32 = original.graph(batch, plan.opset)
    say(contract_line(contract, plan.weights, opset_of(fp32)))
    measuring = _measuring(original)
    scan = scan_ranges(fp32, contract, measuring.scanned.pixels)
    say(range_line(scan))
    graphs = _graphs(contract, fp32, scan, plan.precisions)
    int8 = _int8(original, graphs, measuring, plan, cache_file) if "int8" in plan.precisions else None
    if int8 is not None:
        int8.ranges.save(folder / RANGES_NAME)
        graphs = _with_int8(graphs, int8)
    parities = _parities(graphs, measuring)
    result, temporal = (int8.search.result, int8.search.temporal) if int8 else (None, None)
    for line in (*parity_lines(parities), *(gate_lines(result, original.label) if result else ())):
        say(line)
    if result is not None and (others := float_operators(fp32)):
        counted = ", ".join(f"{count} {kind}" for kind, count in others.items())
        say(f"  and left in float, as int8 is for convolutions: {counted}")
    if temporal is not None:
        say(temporal.sentence("int8"))
    for parity in parities:
        parity.check()
    for precision, model in graphs.models.items():
        write_model(folder, model, precision)
    write_golden(folder, measuring.compared.every(2), measuring.references[::2])
    measured = Measured(
        scan=scan, kept_fp32=graphs.kept_fp32, parities=parities, int8=result, temporal=temporal
    )
    manifest = write_manifest(folder, contract, original, measured)
    material = _report_material(manifest, measured, graphs, measuring, int8)
    return material, int8.search.rivals if int8 else {}


def _report_material(
    manifest: Mapping[str, Any],
    measured: Measured,
    graphs: _Graphs,
    measuring: _Measuring,
    int8: Int8Step | None,
) -> Material:
    """Gather what the report is made from; the frames are the gate's where int8 keeps it."""
    gate = int8.gate if int8 is not None and int8.search.measured is not None else None
    return Material(
        contract=graphs.contract,
        manifest=manifest,
        fp32=graphs.models["fp32"],
        others=_as_measured(graphs, int8),
        frames=gate.frames if gate else measuring.compared,
        references=gate.references if gate else measuring.references,
        int8=measured.int8,
        ranges=int8.ranges if int8 else None,
        audit=int8.audit if int8 else None,
        temporal=measured.temporal,
    )


def _as_measured(graphs: _Graphs, int8: Int8Step | None) -> dict[Precision, onnx.ModelProto]:
    """Give the graphs beside fp32 with fp16's rounding written out, as a device shows it."""
    found: dict[Precision, onnx.ModelProto] = {}
    if graphs.rounded is not None:
        found["fp16"] = graphs.rounded
    if int8 is not None and int8.search.measured is not None:
        found["int8"] = int8.search.measured
    return found


def _int8(
    original: Original, graphs: _Graphs, measuring: _Measuring, plan: ExportPlan, cache_file: Path
) -> Int8Step:
    """Search an int8 graph; its body is fp16 where the opset has fp16 scales, else fp32."""
    from .int8.branches import split_concats
    from .int8.step import Int8Graphs, make_int8

    exported = graphs.models["fp32"]
    fp32 = split_concats(exported)
    body = rounded = fp32
    if opset_of(exported) >= DEFAULT_OPSET and graphs.rounded is not None:
        # The parts of a sum may reach further than the sum: they are scanned by themselves.
        kept = kept_fp32(fp32, scan_ranges(fp32, graphs.contract, measuring.scanned.pixels))
        body, rounded = fp16_from_fp32(fp32, kept), rounded_as_fp16(fp32, kept)
    bodies = Int8Graphs(exported=exported, fp32=fp32, body=body, rounded=rounded)
    return make_int8(original, graphs.contract, bodies, plan.int8, cache_file)


def _with_int8(graphs: _Graphs, step: Int8Step) -> _Graphs:
    model = step.search.model
    return graphs if model is None else replace(graphs, models={**graphs.models, "int8": model})


def _cache_file(output: Path) -> Path:
    """Name the file beside a bundle that an int8 search which is stopped leaves."""
    return output.parent / f".{output.name}.int8-search.json"


def _made(asked: Sequence[Precision], manifest: Mapping[str, Any]) -> list[Precision]:
    """Leave out a precision that the bundle does not hold; fp16 takes the place of int8."""
    made: Mapping[Precision, object] = manifest["models"]
    return [precision for precision in asked if precision in made] or ["fp16"]


def _measuring(original: Original) -> _Measuring:
    """Take the shipped frames: all for the ranges, which is quick, every other one to compare."""
    from ..calib.frames import shipped_frames

    scanned = fitted(shipped_frames(), original.size_hw, original.fit)
    compared = scanned.every(2)
    references = original.maps(compared.pixels)
    return _Measuring(scanned=scanned, compared=compared, references=references, reference=original.label)


def _graphs(
    contract: Contract, fp32: onnx.ModelProto, scan: RangeScan, precisions: Sequence[Precision]
) -> _Graphs:
    """Make the other graphs from the fp32 one and its ranges."""
    if not {"fp16", "int8"} & set(precisions):
        return _Graphs(contract=contract, models={"fp32": fp32}, kept_fp32={}, rounded=None)
    kept = kept_fp32(fp32, scan)
    return _Graphs(
        contract=contract,
        models={"fp32": fp32, "fp16": fp16_from_fp32(fp32, kept)},
        kept_fp32=kept,
        rounded=rounded_as_fp16(fp32, kept),
    )


def _parities(graphs: _Graphs, measuring: _Measuring) -> list[Parity]:
    """Compare every graph with the original; fp16 also with its rounding written out."""
    found = [
        _parity(graphs.contract, precision, model, measuring) for precision, model in graphs.models.items()
    ]
    if graphs.rounded is not None:
        found.append(_parity(graphs.contract, "fp16", graphs.rounded, measuring, rounded=True))
    return found


def _parity(
    contract: Contract,
    precision: Precision,
    model: onnx.ModelProto,
    measuring: _Measuring,
    *,
    rounded: bool = False,
) -> Parity:
    compared = measuring.compared
    maps = ort_maps(model, replace(contract, precision=precision), compared.pixels)
    names, reference = compared.names, measuring.reference
    return compare(precision, names, maps, measuring.references, rounded=rounded, reference=reference)
