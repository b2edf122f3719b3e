"""Whether frames are enough and of every kind, whether ranges converged: an audit in words and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.fit import resize
from ..runtime.stream.sources.open_source import open_source
from .ranges import OBSERVERS, ActivationRanges, Change, Observer, Step
from .selection import KINDS, Features, InspectedFrame, Kind, near_duplicates

CONVERGED = 0.01
"""Scales have converged when half of the frames give the same within this share."""

MIN_KIND_SHARE = 0.02
"""Fewer of a kind than this, and the frames do not stand for what a camera meets."""

STILL = 1.0
"""Mean change of grey levels from frame to frame, of 255, below which a clip shows no motion."""

_FEATURES = ("luminance", "contrast", "texture", "saturation")
_MOTION_HW = (60, 80)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a feature is spread over the frames: its 5th, 50th and 95th percentile."""

    p5: float
    p50: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesAudit:
    """What frames cover.

    Attributes:
        frames: how many.
        duplicates: how many look like an earlier one.
        spreads: by feature, each 0 to 255.
        kinds: how many frames are dark, bright, flat, colourful.
        motion: of each clip, the mean change of grey levels from one frame to the next, 0 to 255.
    """

    frames: int
    duplicates: int
    spreads: Mapping[str, Spread]
    kinds: Mapping[Kind, int]
    motion: Mapping[str, float]

    def advice(self) -> list[str]:
        """Say what to add or to leave out, a sentence each; nothing where all is well."""
        lacking = [kind for kind, count in self.kinds.items() if count < MIN_KIND_SHARE * self.frames]
        advice = [f"add {kind} frames: {self.kinds[kind]} of {self.frames} are" for kind in lacking]
        if self.duplicates > self.frames / 10:
            advice.append(f"leave out near-duplicates: {self.duplicates} of {self.frames} (select does it)")
        still = [clip for clip, motion in self.motion.items() if motion < STILL]
        return advice + [f"{clip} hardly moves: it counts as one image" for clip in still]

    def to_json(self) -> dict[str, Any]:
        """Give all figures and the advice as plain JSON values."""
        return {**asdict(self), "advice": self.advice()}


def audit_frames(inspected: Sequence[InspectedFrame]) -> FramesAudit:
    """Audit inspected frames; clips among them are read once more, for their motion."""
    features = [item.features for item in inspected]
    clips = dict.fromkeys(item.ref.path for item in inspected if item.ref.index is not None)
    return FramesAudit(
        frames=len(inspected),
        duplicates=len(near_duplicates(features)),
        spreads={name: _spread(features, name) for name in _FEATURES},
        kinds={kind: sum(kind in item.kinds for item in features) for kind in KINDS},
        motion={str(clip): motion_of(clip) for clip in clips},
    )


def motion_of(clip: Path) -> float:
    """Measure a clip's mean absolute change of grey levels from frame to frame, 0 to 255; 0 for one frame.

    Raises:
        InputError: it cannot be read.
    """
    with closing(open_source(str(clip))) as source:
        greys = (_small_grey(frame.image_bgr) for frame in source.frames())
        changes = [float(np.abs(after - before).mean()) for before, after in pairwise(greys)]
    return round(float(np.mean(changes or [0.0])), 2)


def largest_changes(ranges: ActivationRanges, step: Step) -> dict[Observer, Change]:
    """Give each observer's largest difference between such a part of the frames and all of them."""
    changes = sorted(ranges.changes, key=lambda change: change.relative)
    worst = {change.observer: change for change in changes if change.step == step}
    return {observer: worst[observer] for observer in OBSERVERS if observer in worst}


def convergence_texts(ranges: ActivationRanges) -> list[str]:
    """Say what more frames would do to each observer's scales, in words."""
    return [_convergence_text(change) for change in largest_changes(ranges, "half").values()]


def _convergence_text(change: Change) -> str:
    if change.relative <= CONVERGED:
        return f"{change.observer}: more frames like these would change no scale by more than {CONVERGED:.0%}"
    return (
        f"{change.observer}: more frames like these may change a scale by {change.relative:.1%} "
        f"({change.tensor})"
    )


def _spread(features: Sequence[Features], name: str) -> Spread:
    p5, p50, p95 = np.percentile([getattr(item, name) for item in features], (5, 50, 95)).round(1)
    return Spread(p5=float(p5), p50=float(p50), p95=float(p95))


def _small_grey(frame_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(resize(frame_bgr, _MOTION_HW), cv2.COLOR_BGR2GRAY), np.float32)


_STEPS: tuple[Step, ...] = ("eighth", "quarter", "half")


def ranges_text(ranges: ActivationRanges) -> str:
    """Show the thresholds of every tensor, and how they converged."""
    width = max(len(name) for name in ranges.tensors)
    rows = [f"{'threshold':<{width}}" + "".join(f"{_short(name):>10}" for name in OBSERVERS)]
    for name, tensor in ranges.tensors.items():
        figures = "".join(f"{tensor.thresholds[observer]:>10.4g}" for observer in OBSERVERS)
        rows.append(f"{name:<{width}}{figures}")
    return "\n".join([*rows, "", convergence_table(ranges)])


def convergence_table(ranges: ActivationRanges) -> str:
    """Show how far scales of a part of the frames lie from those of all, and what follows."""
    rows = [f"{'scale off by, at most':<24}" + "".join(f"{_short(name):>10}" for name in OBSERVERS)]
    for step in _STEPS:
        changes = largest_changes(ranges, step)
        if changes:  # of a few frames, an eighth may hold none
            figures = "".join(f"{change.relative:>10.1%}" for change in changes.values())
            rows.append(f"{f'{step} of {ranges.frames} frames':<24}{figures}")
    return "\n".join([*rows, "", *convergence_texts(ranges)])


def audit_text(frames: FramesAudit | None, ranges: ActivationRanges | None) -> str:
    """Give an audit for people."""
    parts = [] if frames is None else [_frames_text(frames)]
    parts += [] if ranges is None else [convergence_table(ranges)]
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
            "verdicts": convergence_texts(ranges),
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
