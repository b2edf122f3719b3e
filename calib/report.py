"""What `saliency-calib` prints, as text and as JSON values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .audit import FramesAudit, largest_changes, settled_texts
from .ranges import OBSERVERS, ActivationRanges, Step
from .selection import Selection

_STEPS: tuple[Step, ...] = ("eighth", "quarter", "half")


def selection_text(selection: Selection) -> str:
    """Say how many frames were chosen, and why."""
    counts = ", ".join(f"{count} {why}" for why, count in selection.counts().items() if count)
    return (
        f"looked at   {selection.seen} frames, {selection.duplicates} of them near-duplicates\n"
        f"chosen      {len(selection.chosen)}: {counts}"
    )


def selection_json(selection: Selection) -> dict[str, Any]:
    """Give the same as plain JSON values."""
    return {
        "seen": selection.seen,
        "duplicates": selection.duplicates,
        "frames": len(selection.chosen),
        "counts": selection.counts(),
    }


def ranges_text(ranges: ActivationRanges) -> str:
    """Show the thresholds of every tensor, and how they settled."""
    width = max(len(name) for name in ranges.tensors)
    rows = [f"{'threshold':<{width}}" + "".join(f"{_short(name):>10}" for name in OBSERVERS)]
    for name, tensor in ranges.tensors.items():
        figures = "".join(f"{tensor.thresholds[observer]:>10.4g}" for observer in OBSERVERS)
        rows.append(f"{name:<{width}}{figures}")
    return "\n".join([*rows, "", settling_text(ranges)])


def settling_text(ranges: ActivationRanges) -> str:
    """Show how far scales of a part of the frames lie from those of all, and what follows."""
    rows = [f"{'scale off by, at most':<24}" + "".join(f"{_short(name):>10}" for name in OBSERVERS)]
    for step in _STEPS:
        changes = largest_changes(ranges, step)
        if changes:  # of a few frames, an eighth may hold none
            figures = "".join(f"{change.relative:>10.1%}" for change in changes.values())
            rows.append(f"{f'{step} of {ranges.frames} frames':<24}{figures}")
    return "\n".join([*rows, "", *settled_texts(ranges)])


def audit_text(frames: FramesAudit | None, ranges: ActivationRanges | None) -> str:
    """Give an audit for people."""
    parts = [] if frames is None else [_frames_text(frames)]
    parts += [] if ranges is None else [settling_text(ranges)]
    return "\n\n".join(parts)


def audit_json(frames: FramesAudit | None, ranges: ActivationRanges | None) -> dict[str, Any]:
    """Give an audit as plain JSON values."""
    document: dict[str, Any] = {}
    if frames is not None:
        document["frames"] = frames.to_json()
    if ranges is not None:
        changes = [asdict(change) for change in ranges.changes]
        document["ranges"] = {
            "frames": ranges.frames,
            "changes": changes,
            "verdicts": settled_texts(ranges),
        }
    return document


def _frames_text(audit: FramesAudit) -> str:
    rows = [f"{audit.frames} frames, {audit.duplicates} of them near-duplicates", ""]
    rows.append(f"{'0 to 255':<12}{'5%':>8}{'50%':>8}{'95%':>8}")
    rows += [
        f"{name:<12}{spread.p5:>8.1f}{spread.p50:>8.1f}{spread.p95:>8.1f}"
        for name, spread in audit.spreads.items()
    ]
    rows += [f"{'motion':<12}{motion:>16.1f}  {clip}" for clip, motion in audit.motion.items()]
    rows += ["", ", ".join(f"{count} {kind}" for kind, count in audit.kinds.items())]
    return "\n".join([*rows, *(audit.advice() or ["these frames cover what a camera meets"])])


def _short(observer: str) -> str:
    return observer.removeprefix("percentile_")
