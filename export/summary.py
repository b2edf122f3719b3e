"""What saliency-export says: lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..runtime.contract import Contract
from .int8.results import GateFigures, GateLimits, Int8Result
from .parity import Parity
from .range_scan import FP16_MAX, RangeScan

_COLUMNS = ("", "max abs", "allowed", "mean abs", "SQNR dB", "CC", "allowed", "KLDiv", "peak shift")
_WIDTHS = (12, 9, 9, 10, 9, 11, 9, 9, 12)
_GATE_COLUMNS = ("", "CC mean", "CC worst", "KLDiv mean", "KLDiv worst", "peak p95")
_ROUNDED_NOTE = (
    "  fp16_rounded: each tensor rounded to half, as a device does and ONNX Runtime on a CPU does not"
)
INT8_REMEDY = "Give frames of your own (--calib PATH), or widen the gate (--min-cc, --max-kld)"
_MIB = 1 << 20


def contract_line(contract: Contract, weights: Path, opset: int) -> str:
    """Say what is exported."""
    (height, width), (map_height, map_width), (smallest, largest) = (
        contract.size_hw,
        contract.map_size_hw,
        contract.batch,
    )
    batch = f"batch {smallest}" if smallest == largest else f"batch {smallest} to {largest}"
    return (
        f"{contract.network} from {weights.name} ({contract.weights_sha256[:8]}): "
        f"frame {height}x{width} to map {map_height}x{map_width}, {batch}, opset {opset}"
    )


def range_line(scan: RangeScan) -> str:
    """Say how near the graph comes to fp16's limit."""
    name, value = scan.largest()
    near = {**scan.near(), **scan.near_squares()}
    verdict = f"kept in fp32: {', '.join(near)}" if near else "no layer needs fp32 for it"
    return (
        f"ranges of {scan.frames} frames: up to {value:.4g} ({name}), fp16 ends at {FP16_MAX:.0f}; {verdict}"
    )


def parity_lines(parities: Sequence[Parity]) -> list[str]:
    """Lay out the worst of each graph as a table."""
    title = f"parity with {parities[0].reference} in ONNX Runtime, worst of {len(parities[0].frames)} frames"
    rows = [_laid_out(row) for row in (_COLUMNS, *(_parity_row(parity) for parity in parities))]
    notes = [_ROUNDED_NOTE] if any(parity.rounded for parity in parities) else []
    return [title, *rows, *notes]


def gate_lines(result: Int8Result, reference: str = "PyTorch") -> list[str]:
    """Say what int8 keeps on the gate's frames, and which layers stay float and why."""
    figures, limits = result.figures, result.limits
    verdict = "kept" if result.passed else "not kept: " + "; ".join(result.failures())
    count = len(result.parity.frames)
    title = f"int8 gate against {reference} on {count} frames that did not calibrate: {verdict}"
    rows = (_GATE_COLUMNS, _gate_row("int8", figures), _gate_row("allowed", limits))
    kept = [f"    {node}: {reason}" for node, reason in result.kept().items()]
    share = f"  {result.int8_macs_share:.2%} of the multiplications in int8"
    repairs = f", after {' and '.join(result.repairs)}" if result.repairs else ""
    runtimes = [_runtime_line(name, verdict) for name, verdict in result.runtimes.items()]
    return [title, *map(_gate_laid_out, rows), *runtimes, f"{share}{repairs}; kept in float:", *kept]


def _runtime_line(name: str, verdict: Mapping[str, Any]) -> str:
    """Say what one runtime makes of the finished int8 graph."""
    if verdict["figures"] is None:
        return f"  {name}: does not run it ({verdict['refusal']})"
    figures = verdict["figures"]
    outcome = "FAILED: " + "; ".join(verdict["failures"]) if verdict["failures"] else "passed"
    return (
        f"  {name}: CC mean {figures['cc_mean']:.5f}, worst {figures['cc_worst']:.5f}, "
        f"edge cases {verdict['edge_case_error']:.3f}: {outcome}"
    )


def _gate_row(label: str, values: GateFigures | GateLimits) -> tuple[str, ...]:
    return (
        label,
        f"{values.cc_mean:.6g}",
        f"{values.cc_worst:.6g}",
        f"{values.kldiv_mean:.2g}",
        f"{values.kldiv_worst:.2g}",
        f"{values.peak_shift_p95:.1f} cells",
    )


def _gate_laid_out(cells: Sequence[str]) -> str:
    return "  " + cells[0].ljust(_WIDTHS[0]) + "".join(f"{cell:>14}" for cell in cells[1:])


def _parity_row(parity: Parity) -> tuple[str, ...]:
    worst, allowed = parity.worst(), parity.tolerance
    return (
        parity.label,
        f"{worst.max_abs:.1e}",
        f"{allowed.max_abs:.0e}",
        f"{worst.mean_abs:.1e}",
        f"{worst.sqnr_db:.1f}",
        f"{worst.cc:.7f}",
        f"{allowed.min_cc}",
        f"{worst.kldiv:.1e}",
        f"{worst.peak_shift_cells:.1f} cells",
    )


def _laid_out(cells: Sequence[str]) -> str:
    first, *others = (f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
    return "  " + "".join((first.strip().ljust(_WIDTHS[0]), *others))


def files_line(output: Path, manifest: Mapping[str, Any]) -> str:
    """Say what lies in the bundle."""
    entries = [*manifest["models"].values(), manifest["golden"]]
    files = ", ".join(f"{entry['file']} {entry['bytes'] / _MIB:.1f} MiB" for entry in entries)
    return f"bundle {output}: {files}"
