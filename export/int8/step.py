"""The int8 step of an export: ranges and frames for the search, then the search."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...calib.audit import FramesAudit, audit_frames
from ...calib.calibrate import Calibrator, check_frames
from ...calib.frames import FrameRef, fitted_frames
from ...calib.graph import CalibratedModel
from ...calib.ranges import ActivationRanges, shipped_ranges
from ...calib.selection import select_frames
from ...runtime.contract import Contract
from ...runtime.errors import InputError, UsageError
from ...runtime.progress import progress
from ..frames import FrameSet
from .gate import Gate, shipped_gate_frames, shipped_probes, unseen
from .options import Int8Options
from .search import Int8Search, search_int8
from .search_cache import SearchCache
from .start import Int8Source

if TYPE_CHECKING:
    import onnx

    from ..to_onnx import Original

MOST_FRAMES = 512
"""Of a user's frames, those that are chosen."""
MOST_GATE_FRAMES = 24
_GATE_SHARE = 0.25
_FEWEST_FRAMES = 16
_METHOD = 8
"""Counts up when what is measured changes: a search that was stopped goes on by its own rules only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Graphs:
    """What the int8 step starts from.

    Attributes:
        exported: the fp32 graph that activation ranges belong to.
        fp32: the same with Concats split, see `branches.py`.
        body: see `start.Int8Source`.
        rounded: see `start.Int8Source`.
    """

    exported: onnx.ModelProto
    fp32: onnx.ModelProto
    body: onnx.ModelProto
    rounded: onnx.ModelProto


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Step:
    """What the int8 step gives.

    Attributes:
        search: its result and its graph.
        ranges: that the scales were chosen from.
        gate: frames and PyTorch's maps that the result was judged by.
        audit: of the user's frames; None where the ranges were there.
    """

    search: Int8Search
    ranges: ActivationRanges
    gate: Gate
    audit: FramesAudit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    """Ranges, and frames that took no part in them, fitted; what the user's frames cover."""

    ranges: ActivationRanges
    judged: FrameSet
    probes: FrameSet
    audit: FramesAudit | None = None


def make_int8(
    original: Original,
    contract: Contract,
    graphs: Int8Graphs,
    options: Int8Options,
    cache_file: Path,
) -> Int8Step:
    """Find an int8 graph that passes the gate.

    Args:
        original: gives the reference maps.
        contract: of the fp32 graph.
        graphs: to start from.
        options: how.
        cache_file: where a search that is stopped leaves what it has measured.

    Raises:
        UsageError: no ranges ship for this network.
        ContractError: the ranges belong to another graph.
        InputError: the user's frames cannot be read, or are too few.
        ParityError: a map holds NaN.
    """
    material = _material(contract, graphs.exported, options)
    judged = material.judged
    gate = Gate(
        limits=options.limits,
        frames=judged,
        references=original.maps(judged.pixels),
        contract=contract,
    )
    source = Int8Source(fp32=graphs.fp32, body=graphs.body, rounded=graphs.rounded, ranges=material.ranges)
    cache = SearchCache(cache_file, _content(source, material, options))
    search = search_int8(source, gate, material.probes, options.budget, cache)
    cache.remove()
    return Int8Step(search=search, ranges=material.ranges, gate=gate, audit=material.audit)


def _material(contract: Contract, fp32: onnx.ModelProto, options: Int8Options) -> _Material:
    if options.calib is not None:
        return _users_material(contract, fp32, options.calib)
    path = options.ranges or shipped_ranges(contract.network)
    if path is None:
        raise UsageError(f"no activation ranges ship for {contract.network}. Give frames: --calib PATH")
    ranges = ActivationRanges.load(path)
    ranges.check(fp32)
    judged = unseen(shipped_gate_frames(contract), ranges)
    return _Material(ranges=ranges, judged=judged, probes=shipped_probes(contract))


def _users_material(contract: Contract, fp32: onnx.ModelProto, calib: Path) -> _Material:
    """Split the user's frames, seeded: near-duplicates are dropped first, so that the two parts differ."""
    selection = select_frames([str(calib)], MOST_FRAMES, seed=0)
    refs = selection.refs
    check_frames(fitted_frames(refs, contract, None))
    if len(refs) < _FEWEST_FRAMES:
        raise InputError(
            f"{calib} holds {len(refs)} different frames; calibration and its gate need {_FEWEST_FRAMES}, "
            "better some hundred. Give more"
        )
    order = np.random.default_rng(0).permutation(len(refs))
    count = min(MOST_GATE_FRAMES, round(_GATE_SHARE * len(refs)))
    judged, rest = ([refs[place] for place in sorted(part)] for part in (order[:count], order[count:]))
    probes = rest[:: max(1, len(rest) // MOST_GATE_FRAMES)]
    return _Material(
        ranges=_ranges(contract, fp32, rest),
        judged=_fitted(judged, contract),
        probes=_fitted(probes, contract),
        audit=audit_frames([item.inspected for item in selection.chosen]),
    )


def _ranges(contract: Contract, fp32: onnx.ModelProto, refs: Sequence[FrameRef]) -> ActivationRanges:
    calibrator = Calibrator(CalibratedModel(graph=fp32, contract=contract, path=Path("the fp32 graph")))
    with progress("frames calibrated", len(refs)) as advance:
        for pixels in fitted_frames(refs, contract, None):
            calibrator.add(pixels)
            advance()
    return calibrator.ranges()


def _fitted(refs: Sequence[FrameRef], contract: Contract) -> FrameSet:
    pixels = np.stack(list(fitted_frames(refs, contract, None)))
    return FrameSet(names=tuple(ref.name for ref in refs), pixels=pixels)


def _content(source: Int8Source, material: _Material, options: Int8Options) -> dict[str, object]:
    """Give all that measurements depend on."""
    parts = (material.judged, material.probes)
    return {
        "method": _METHOD,
        "ranges": asdict(material.ranges.key),
        "body": hashlib.sha256(source.rounded.SerializeToString(deterministic=True)).hexdigest(),
        "frames": [hashlib.sha256(part.pixels.tobytes()).hexdigest() for part in parts],
        "limits": asdict(options.limits),
        "budget": asdict(options.budget),
    }
