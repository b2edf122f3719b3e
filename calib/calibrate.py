"""From an fp32 graph and frames to activation ranges: one pass, one frame at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..runtime.contract import INPUT_NAME
from ..runtime.engines.ort_session import first_line, open_session
from ..runtime.errors import ArtifactError, BackendError, InputError
from .convergence import PARTS, changes_of, part_of
from .graph import CalibratedModel, model_hash, observed_tensors, size_hw_of_model, weights_hash
from .histogram import TensorCounter
from .observers import thresholds_of
from .ranges import METHOD, ActivationRanges, RangesKey, TensorRange

if TYPE_CHECKING:
    import onnx

MIN_DISTINCT_FRAMES = 8
"""Fewer different frames tell too little of what a tensor can become."""

MIN_CONTRAST = 4.0
"""Standard deviation of pixels, of 255, below which a frame shows nothing."""

_HASH_DIGITS = 16


class Calibrator:
    """A graph that frames pass through, and what its tensors became; memory does not grow with the frames."""

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
        """Let one frame pass.

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
        """Give the ranges of the frames so far; in another order they give the same."""
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
    """Name a frame by its pixels at the network's size: 16 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()[:_HASH_DIGITS]


def check_frames(frames: Iterable[NDArray[np.uint8]]) -> tuple[str, ...]:
    """Look at frames before any work is done.

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
