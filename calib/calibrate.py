"""From an fp32 graph and frames to activation ranges: one pass, one frame at a time.

The same pass shows how ranges converge with the number of frames. Frames are dealt to eight parts by their
hashes, so the result does not depend on their order; the thresholds of an eighth, a quarter and each half of
the frames are compared with those of all. For frames drawn alike, half and all differ by as much as all and
very many: the variance of either difference is that of one frame divided by the number of frames.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..runtime.backends.onnxruntime_backend import first_line, open_session
from ..runtime.contract import INPUT_NAME
from ..runtime.errors import ArtifactError, BackendError, InputError
from ..runtime.progress import progress
from .frames import FrameRef, fitted_frames
from .graph import CalibratedModel, model_hash, observed_tensors, size_hw_of_model, weights_hash
from .observers import TensorCounter, thresholds_of
from .ranges import METHOD, OBSERVERS, ActivationRanges, Change, Observer, RangesKey, Step, TensorRange

if TYPE_CHECKING:
    import onnx


PARTS = 8
_STEPS: tuple[tuple[Step, range], ...] = (
    ("eighth", range(1)),
    ("quarter", range(2)),
    ("half", range(4)),
    ("half", range(4, 8)),
)

MIN_DISTINCT_FRAMES = 8
"""Fewer different frames tell too little of what a tensor can become."""

MIN_CONTRAST = 4.0
"""Standard deviation of pixels, of 255, below which a frame shows nothing."""

_HASH_DIGITS = 16


class Calibrator:
    """Runs frames through a graph and counts its tensors' magnitudes, in memory that does not grow."""

    def __init__(self, model: CalibratedModel) -> None:
        """Open the graph in ONNX Runtime on the CPU.

        Raises:
            ContractError: it has nothing to calibrate.
            BackendError: onnxruntime is missing, or refuses the graph.
        """
        names = observed_tensors(model.graph)
        self._model = model
        self._session = open_session(_observed(model.graph, names), cpu_only=True)
        self._counters = {name: [TensorCounter() for _ in range(PARTS)] for name in names}
        self._hashes: list[str] = []

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Run one frame.

        Args:
            pixels: (H, W, 3) BGR, 0 to 255, at the network's size.

        Raises:
            ArtifactError: a tensor becomes NaN or infinite; it is named.
            BackendError: ONNX Runtime fails.
        """
        batch = np.repeat(pixels[None], self._model.contract.batch[0], axis=0)
        try:
            tensors = self._session.run(list(self._counters), {INPUT_NAME: batch})
        except Exception as error:  # ONNX Runtime's errors share no other base
            raise BackendError(f"ONNX Runtime failed on {self._model.path}: {first_line(error)}") from error
        digest = frame_hash(pixels)
        for (name, parts), values in zip(self._counters.items(), tensors, strict=True):
            self._count(name, parts[part_of(digest)], values[0])  # a batch's other frames are the same one
        self._hashes.append(digest)

    def ranges(self) -> ActivationRanges:
        """Compute the ranges of the frames so far; their order does not matter."""
        tensors = {name: _range_of(TensorCounter.merged(parts)) for name, parts in self._counters.items()}
        return ActivationRanges(
            key=_key(self._model.graph, self._hashes),
            frames=len(self._hashes),
            tensors=tensors,
            changes=changes_of(self._counters, tensors, self._hashes),
        )

    def _count(self, name: str, counter: TensorCounter, values: NDArray[np.float32]) -> None:
        try:
            counter.add(values)
        except ValueError as error:
            raise ArtifactError(
                f"{self._model.path}: {name} becomes NaN or infinite on frame {len(self._hashes) + 1}. "
                "Check the weights: saliency-export refuses broken ones"
            ) from error


def frame_hash(pixels: NDArray[np.uint8]) -> str:
    """Hash of a frame's pixels at the network's size: 16 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()[:_HASH_DIGITS]


def check_frames(frames: Iterable[NDArray[np.uint8]]) -> tuple[str, ...]:
    """Check frames before any work is done.

    Args:
        frames: (H, W, 3) BGR, 0 to 255, at the network's size.

    Returns:
        Their hashes, sorted, as they stand in the ranges' key.

    Raises:
        InputError: they cannot calibrate: blank, all the same, too few.
    """
    hashes, blank = [], 0
    for pixels in frames:
        hashes.append(frame_hash(pixels))
        blank += float(pixels.std()) < MIN_CONTRAST
    count, distinct = len(hashes), len(set(hashes))
    if blank > count / 2:
        raise InputError(
            f"{blank} of {count} frames show nothing: they are black, or of one colour. "
            "Give frames like those that the network will see"
        )
    if distinct < MIN_DISTINCT_FRAMES:
        raise InputError(
            f"{distinct} different frames: calibration needs {MIN_DISTINCT_FRAMES} at least, "
            "better some hundred. Give more"
        )
    return tuple(sorted(hashes))


def _observed(graph: onnx.ModelProto, names: tuple[str, ...]) -> bytes:
    """Give the graph with the observed tensors for its only outputs, serialised."""
    import onnx

    observed = onnx.ModelProto()
    observed.CopyFrom(graph)
    del observed.graph.output[:]
    observed.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    serialised: bytes = observed.SerializeToString()
    return serialised


def _key(graph: onnx.ModelProto, hashes: list[str]) -> RangesKey:
    import onnxruntime

    return RangesKey(
        model_sha256=model_hash(graph),
        weights_sha256=weights_hash(graph),
        size_hw=size_hw_of_model(graph),
        frames_sha256=tuple(sorted(hashes)),
        method=METHOD,
        versions={"numpy": np.__version__, "onnxruntime": onnxruntime.__version__},
    )


def _range_of(counter: TensorCounter) -> TensorRange:
    return TensorRange(
        minimum=counter.minimum,
        maximum=counter.maximum,
        thresholds=thresholds_of(counter.magnitudes()),
    )


def part_of(frame_hash: str) -> int:
    """Deal a frame to a part, by the last digit of its hash."""
    return int(frame_hash[-1], 16) % PARTS


def changes_of(
    counters: Mapping[str, Sequence[TensorCounter]],
    tensors: Mapping[str, TensorRange],
    frame_hashes: Sequence[str],
) -> tuple[Change, ...]:
    """Compare the thresholds of parts of the frames with those of all.

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


def make_ranges(
    model: CalibratedModel,
    refs: Sequence[FrameRef],
    *,
    shown_hw: tuple[int, int] | None = None,
    present: Path | None = None,
) -> tuple[ActivationRanges, bool]:
    """Compute the ranges of a model on frames, unless a file holds them already.

    Args:
        model: the fp32 graph.
        refs: the frames.
        shown_hw: the size that squashed images are shown at.
        present: a file that may hold these very ranges, or stale ones, or be missing.

    Returns:
        The ranges, and whether they were computed (False where `present` held them).

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
    """Read ranges that are still valid; None where the file is stale, damaged or missing."""
    if path is None or not path.is_file():
        return None
    try:
        ranges = ActivationRanges.load(path)
        ranges.check(model.graph, hashes)
    except ArtifactError:
        return None
    return ranges
