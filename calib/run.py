"""The work behind `saliency-calib`, without its printing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime.contract import Contract
from ..runtime.errors import ArtifactError
from ..runtime.fit import fit_frame, resize
from ..runtime.progress import progress
from .calibrate import Calibrator, check_frames
from .graph import CalibratedModel
from .material import FrameRef, find_frames, read_frames
from .ranges import ActivationRanges
from .selection import Selection, look_at, select


def select_frames(sources: Sequence[str], count: int, seed: int) -> Selection:
    """Look at all frames of the sources and choose `count` of them.

    Raises:
        InputError: a source holds no frames, or one cannot be read.
    """
    return select(look_at(find_frames(sources)), count, seed)


def fitted_frames(
    refs: Sequence[FrameRef], contract: Contract, shown_hw: tuple[int, int] | None
) -> Iterator[NDArray[np.uint8]]:
    """Read frames at a network's size, (H, W, 3) BGR, one at a time.

    Args:
        refs: the frames.
        contract: of the network.
        shown_hw: the aspect that squashed photographs are shown at; None: as their pixels are.
    """
    for _, frame_bgr in read_frames(refs):
        shown = frame_bgr if shown_hw is None else resize(frame_bgr, shown_hw)
        yield fit_frame(shown, contract.size_hw, contract.fit)


def make_ranges(
    model: CalibratedModel,
    refs: Sequence[FrameRef],
    *,
    shown_hw: tuple[int, int] | None = None,
    present: Path | None = None,
) -> tuple[ActivationRanges, bool]:
    """Take the ranges of a model on frames, or find that a file holds them.

    Args:
        model: the fp32 graph.
        refs: the frames.
        shown_hw: the aspect that squashed photographs are shown at.
        present: a file that may hold these very ranges, or stale ones, or be missing.

    Returns:
        The ranges, and whether they were made anew.

    Raises:
        InputError: the frames cannot be read, or cannot calibrate.
        ArtifactError: the model's tensors become NaN or infinite.
    """
    hashes = check_frames(fitted_frames(refs, model.contract, shown_hw))
    found = _fresh(present, model, hashes)
    if found is not None:
        return found, False
    calibrator = Calibrator(model)
    with progress("frames calibrated", len(refs)) as advance:
        for pixels in fitted_frames(refs, model.contract, shown_hw):
            calibrator.add(pixels)
            advance()
    return calibrator.ranges(), True


def _fresh(path: Path | None, model: CalibratedModel, hashes: tuple[str, ...]) -> ActivationRanges | None:
    """Read ranges that are still right; what is stale or no ranges at all is made anew."""
    if path is None or not path.is_file():
        return None
    try:
        ranges = ActivationRanges.load(path)
        ranges.check(model.graph, hashes)
    except ArtifactError:
        return None
    return ranges
