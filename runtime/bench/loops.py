"""What is measured: a frame's way through a model, and fixed work that tells how fast the machine is now."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..backends.backend import Model
from ..fit import crop_map, fit_frame, window_of
from ..video.frame import Frame, SaliencyMap
from ..video.render import Renderer, RenderOptions
from .pictures import synthetic_picture

REFERENCE_MODEL = Path(__file__).parent / "assets" / "convolutions.onnx"

FRAME = "frame"
"""The name of all stages of a frame together."""
CPU = "cpu"
"""The name of the processor's time for a frame, of all threads: other work hardly changes it."""

_RESIZED_FROM_HW = (720, 1280)
_RESIZED_TO_HW = (240, 320)

Stages = Mapping[str, Callable[[], object]]
"""What a loop does, by name, in order."""


class Loop(Protocol):
    """Work that is done again and again."""

    stages: Stages


class ModelLoop:
    """Fit, infer and crop, as the pipeline does them, one after another in one thread."""

    def __init__(
        self, engine: Model, frame_bgr: NDArray[np.uint8], batch: int = 1, *, render: bool = False
    ) -> None:
        """Take the same frame, (H', W', 3) of any size, `batch` times over, every time."""
        self.engine = engine
        self._frame = Frame(index=0, name="bench", image_bgr=frame_bgr, captured_s=time.monotonic())
        self._batch = batch
        self._window = window_of(self._frame.size_hw, engine.contract.size_hw, engine.contract.fit)
        self._inputs: NDArray[np.uint8] = np.empty((0, 0, 0, 3), np.uint8)
        self._maps: NDArray[np.float32] = np.empty((0, 0, 0), np.float32)
        self._cropped: list[NDArray[np.float32]] = []
        self.stages: Stages = {"fit": self._fit, "infer": self._infer, "crop": self._crop}
        if render:
            self._renderer = Renderer(RenderOptions())
            self.stages = {**self.stages, "render": self._render}

    def _fit(self) -> None:
        contract = self.engine.contract
        fitted = [
            fit_frame(self._frame.image_bgr, contract.size_hw, contract.fit) for _ in range(self._batch)
        ]
        self._inputs = fitted[0][np.newaxis] if self._batch == 1 else np.stack(fitted)

    def _infer(self) -> None:
        self._maps = self.engine.infer(self._inputs)

    def _crop(self) -> None:
        self._cropped = [crop_map(values, self._window) for values in self._maps]

    def _render(self) -> None:
        for values in self._cropped:
            self._renderer.render(SaliencyMap(frame=self._frame, values=values))


class ReferenceLoop:
    """Fixed work: convolutions through the same backend, and one resize by OpenCV.

    A figure of a model divided by this loop's, measured in turn with it, hardly depends on how busy or how
    fast the machine is.
    """

    def __init__(self, engine: Model, repeats: int = 1) -> None:
        """Take the engine of `REFERENCE_MODEL`, and how often it is run for one turn."""
        self.engine = engine
        self.repeats = repeats
        contract = engine.contract
        self._frames = synthetic_picture(contract.size_hw)[np.newaxis]
        self._picture = synthetic_picture(_RESIZED_FROM_HW)
        self.stages: Stages = {"convolutions": self._convolve, "resize": self._resize}

    def _convolve(self) -> None:
        for _ in range(self.repeats):
            self.engine.infer(self._frames)

    def _resize(self) -> None:
        cv2.resize(self._picture, _RESIZED_TO_HW[::-1], interpolation=cv2.INTER_AREA)


def timed(stages: Stages) -> dict[str, float]:
    """Run all stages once, and give the seconds that each took, all together as `FRAME`, and `CPU`."""
    durations_s = {}
    cpu_s = time.process_time()
    start_s = before_s = time.perf_counter()
    for name, stage in stages.items():
        stage()
        after_s = time.perf_counter()
        durations_s[name] = after_s - before_s
        before_s = after_s
    durations_s[FRAME] = before_s - start_s
    durations_s[CPU] = time.process_time() - cpu_s
    return durations_s


def allocated(stages: Stages) -> dict[str, int]:
    """Run all stages once, and give the most bytes that each held at a time beyond what it began with.

    Counted are Python's and numpy's own (which OpenCV's images are), to the byte: a copy more always shows.
    """
    peaks = {}
    tracemalloc.start()
    try:
        for name, stage in stages.items():
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            stage()
            peaks[name] = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return peaks
