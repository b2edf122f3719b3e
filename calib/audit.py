"""Whether frames are enough and of every kind: an audit in words and figures."""

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
from ..runtime.video.sources import open_source
from .features import KINDS, Features, Kind, near_duplicates
from .ranges import OBSERVERS, ActivationRanges, Change, Observer, Step
from .selection import Looked

SETTLED = 0.01
"""Scales are settled when half of the frames give the same within this share."""

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
        return advice + [f"{clip} hardly moves: it counts as one picture" for clip in still]

    def to_json(self) -> dict[str, Any]:
        """Give all figures and the advice as plain JSON values."""
        return {**asdict(self), "advice": self.advice()}


def audit_frames(looked: Sequence[Looked]) -> FramesAudit:
    """Audit frames that were looked at; clips among them are read once more, for their motion."""
    features = [item.features for item in looked]
    clips = dict.fromkeys(item.ref.path for item in looked if item.ref.index is not None)
    return FramesAudit(
        frames=len(looked),
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


def settled_texts(ranges: ActivationRanges) -> list[str]:
    """Say what more frames would do to each observer's scales, in words."""
    return [_settled_text(change) for change in largest_changes(ranges, "half").values()]


def _settled_text(change: Change) -> str:
    if change.relative <= SETTLED:
        return f"{change.observer}: more frames like these would change no scale by more than {SETTLED:.0%}"
    return (
        f"{change.observer}: more frames like these may change a scale by {change.relative:.1%} "
        f"({change.tensor})"
    )


def _spread(features: Sequence[Features], name: str) -> Spread:
    p5, p50, p95 = np.percentile([getattr(item, name) for item in features], (5, 50, 95)).round(1)
    return Spread(p5=float(p5), p50=float(p50), p95=float(p95))


def _small_grey(frame_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(resize(frame_bgr, _MOTION_HW), cv2.COLOR_BGR2GRAY), np.float32)
