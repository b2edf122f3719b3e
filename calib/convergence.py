"""How ranges settle with the number of frames, seen in the one pass that takes them.

Frames are dealt to eight parts by their hashes, so what is found does not depend on their order. The
thresholds of an eighth, a quarter and each half of the frames are held against those of all. For frames
drawn alike, half and all differ by as much as all and very many: the variance of either difference is
that of one frame divided by the number of frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .histogram import TensorCounter
from .observers import thresholds_of
from .ranges import OBSERVERS, Change, Observer, Step, TensorRange

PARTS = 8
_STEPS: tuple[tuple[Step, range], ...] = (
    ("eighth", range(1)),
    ("quarter", range(2)),
    ("half", range(4)),
    ("half", range(4, 8)),
)


def part_of(frame_hash: str) -> int:
    """Deal a frame to a part, by the last digit of its hash."""
    return int(frame_hash[-1], 16) % PARTS


def changes_of(
    counters: Mapping[str, Sequence[TensorCounter]],
    tensors: Mapping[str, TensorRange],
    frame_hashes: Sequence[str],
) -> tuple[Change, ...]:
    """Hold the thresholds of parts of the frames against those of all.

    Args:
        counters: of each tensor, one for each part.
        tensors: the ranges on all frames.
        frame_hashes: of all frames.

    Returns:
        For each step and observer the tensor that lies farthest off; parts without a frame are left out.
    """
    changes: list[Change] = []
    for step, members in _STEPS:
        frames = sum(part_of(digest) in members for digest in frame_hashes)
        if frames:
            found = {
                name: thresholds_of(TensorCounter.merged([parts[part] for part in members]).magnitudes())
                for name, parts in counters.items()
            }
            changes += [_largest(observer, step, frames, found, tensors) for observer in OBSERVERS]
    return tuple(changes)


def _largest(
    observer: Observer,
    step: Step,
    frames: int,
    found: Mapping[str, Mapping[Observer, float]],
    tensors: Mapping[str, TensorRange],
) -> Change:
    relative = {
        name: abs(thresholds[observer] / tensors[name].thresholds[observer] - 1)
        for name, thresholds in found.items()
    }
    tensor = max(relative, key=lambda name: relative[name])
    return Change(observer=observer, step=step, frames=frames, tensor=tensor, relative=relative[tensor])
