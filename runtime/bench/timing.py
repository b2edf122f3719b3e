"""Workloads, and the two ways to time them: isolated for latency and throughput, interleaved for ratios.

A workload is a sequence of named stages, such as fit, infer and crop of one frame. `run_isolated` runs one
workload until its durations are steady. `run_interleaved` runs several in the order A B C C B A, round after
round, so that whatever disturbs the machine disturbs all alike and their ratios hold on a busy machine.
"""

from __future__ import annotations

import ctypes
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..backends.backend import Model
from ..fit import crop_map, fit_frame, window_of
from ..frame import Frame, SaliencyMap
from ..opencv import single_threaded
from ..stream.render import Renderer, RenderOptions
from .host import BoardStatistics, monitor_board, resident_bytes
from .statistics import (
    Interval,
    Latency,
    growth_interval,
    latency_statistics,
    median_interval,
    steady_start,
)

REFERENCE_MODEL = Path(__file__).parent / "assets" / "convolutions.onnx"

FRAME = "frame"
"""Name of all stages of a frame together."""
CPU = "cpu"
"""Name of a frame's processor time, of all threads: other processes hardly change it."""

Stages = Mapping[str, Callable[[], object]]
"""Stages of a workload by name, in the order in which they run."""
Series = Mapping[str, NDArray[np.float64]]
"""Seconds of each stage, (rounds,)."""

_RESIZED_FROM_HW = (720, 1280)
_RESIZED_TO_HW = (240, 320)
_BYTES_PER_MB = 1e6
_GROWTH_PER_FRAMES = 100
_GROWTH_SEGMENTS = 10
_ROUNDS_BETWEEN_CHECKS = 5


class Workload(Protocol):
    """Work that is timed again and again, stage by stage."""

    stages: Stages


class ModelWorkload:
    """Fit, infer, crop, and render if wanted: the pipeline's work, one stage after another in one thread."""

    def __init__(
        self, engine: Model, frame_bgr: NDArray[np.uint8], batch: int = 1, *, render: bool = False
    ) -> None:
        """Prepare the stages.

        Args:
            engine: computes the maps; the caller closes it.
            frame_bgr: (H', W', 3) of any size; every run takes this frame, `batch` times.
            batch: frames in one inference.
            render: whether the overlay is drawn too.
        """
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
        self._inputs = fitted[0][np.newaxis] if self._batch == 1 else np.stack(fitted)  # (N, H, W, 3)

    def _infer(self) -> None:
        self._maps = self.engine.infer(self._inputs)  # (N, h, w)

    def _crop(self) -> None:
        self._cropped = [crop_map(values, self._window) for values in self._maps]

    def _render(self) -> None:
        for values in self._cropped:
            self._renderer.render(SaliencyMap(frame=self._frame, values=values))


class ReferenceWorkload:
    """Fixed work: convolutions on the same backend as the model, and one resize by OpenCV.

    A model's time divided by the reference's, interleaved with it, hardly depends on how busy or how fast the
    machine is, so a baseline of such ratios holds on other machines of the kind.
    """

    def __init__(self, engine: Model, repeats: int = 1) -> None:
        """Prepare the stages.

        Args:
            engine: has loaded `REFERENCE_MODEL`; the caller closes it.
            repeats: inferences in one run.
        """
        self.engine = engine
        self.repeats = repeats
        contract = engine.contract
        self._frames = synthetic_frame(contract.size_hw)[np.newaxis]
        self._large_frame = synthetic_frame(_RESIZED_FROM_HW)
        self.stages: Stages = {"convolutions": self._convolve, "resize": self._resize}

    def _convolve(self) -> None:
        for _ in range(self.repeats):
            self.engine.infer(self._frames)

    def _resize(self) -> None:
        cv2.resize(self._large_frame, _RESIZED_TO_HW[::-1], interpolation=cv2.INTER_AREA)


def synthetic_frame(size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Rings that narrow outwards, of another width in each channel: a wrong resize turns them to moire.

    Args:
        size_hw: height and width in pixels.

    Returns:
        (H, W, 3) BGR.
    """
    rows, columns = (np.linspace(-1, 1, side) for side in size_hw)
    squared_radius = rows[:, np.newaxis] ** 2 + (columns[np.newaxis] - 0.3) ** 2  # (H, W)
    rings = [127.5 + 127.5 * np.cos(rate * squared_radius) for rate in (60.0, 35.0, 90.0)]
    frame: NDArray[np.uint8] = np.stack(rings, axis=-1).round().astype(np.uint8)
    return frame


def time_stages(stages: Stages) -> dict[str, float]:
    """Seconds of each stage in one run, of all stages together as `FRAME`, and of the processor as `CPU`."""
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


def peak_allocations(stages: Stages) -> dict[str, int]:
    """Bytes that each stage holds at its peak beyond those from before it, in one run.

    Counted are Python's own and numpy's (which OpenCV's images are), to the byte: one more copy always shows.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolatedPlan:
    """Length of an isolated run.

    Attributes:
        frames: fewest runs of the workload.
        seconds: shortest duration of all runs.
        limit: where the durations are not steady by then, the run goes on to this multiple of both at most.
    """

    frames: int = 100
    seconds: float = 2.0
    limit: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolatedRun:
    """Measurements of a workload that ran by itself.

    Attributes:
        latency: of each stage, and of all together as `frame`, in the steady state.
        frames: frames in the steady state, which all figures are taken from.
        warm_up_frames: frames before it.
        is_steady: whether a steady state was found; else the second half was taken.
        frames_per_s: throughput of one frame after another.
        growth_mb: growth of the resident memory per 100 frames; None where the system does not tell.
        board: power and clocks.
    """

    latency: Mapping[str, Latency]
    frames: int
    warm_up_frames: int
    is_steady: bool
    frames_per_s: float
    growth_mb: Interval | None
    board: BoardStatistics

    def joule_per_frame(self) -> float | None:
        """Energy of the board for one frame; None where the board does not tell its power."""
        watts = self.board.means.get("power_w")
        return watts / self.frames_per_s if watts is not None else None


def run_isolated(
    workload: Workload, plan: IsolatedPlan, batch: int = 1, on_frame: Callable[[], None] = lambda: None
) -> IsolatedRun:
    """Run one workload until it has run long enough and its durations are steady.

    Args:
        workload: the work.
        plan: how long.
        batch: frames in one run of the workload, for the throughput.
        on_frame: called after each run.
    """
    runs: list[dict[str, float]] = []
    memory_bytes: list[float] = []

    def frame_durations_s() -> NDArray[np.float64]:
        return np.array([run[FRAME] for run in runs])

    def is_enough(elapsed_s: float) -> bool:
        if len(runs) < plan.frames or elapsed_s < plan.seconds:
            return False
        is_at_limit = len(runs) >= plan.limit * plan.frames and elapsed_s >= plan.limit * plan.seconds
        return is_at_limit or (len(runs) % 10 == 0 and steady_start(frame_durations_s()) is not None)

    with single_threaded(), monitor_board() as board_so_far:
        _trim_heap()
        start_s = time.monotonic()
        while not is_enough(time.monotonic() - start_s):
            runs.append(time_stages(workload.stages))
            memory_bytes.append(float(resident_bytes() or 0))
            on_frame()
        board = board_so_far()

    found = steady_start(frame_durations_s())
    start = len(runs) // 2 if found is None else found
    steady = runs[start:]
    return IsolatedRun(
        latency={stage: latency_statistics(np.array([run[stage] for run in steady])) for stage in steady[0]},
        frames=len(steady) * batch,
        warm_up_frames=start * batch,
        is_steady=found is not None,
        frames_per_s=batch / float(frame_durations_s()[start:].mean()),
        growth_mb=_memory_growth_mb(np.array(memory_bytes[start:])),
        board=board,
    )


def _memory_growth_mb(levels_bytes: NDArray[np.float64]) -> Interval | None:
    """Growth in MB per 100 runs; None where the system does not tell its memory, or for too few runs."""
    if not levels_bytes.any() or len(levels_bytes) < 2 * _GROWTH_SEGMENTS:
        return None
    return growth_interval(levels_bytes / _BYTES_PER_MB * _GROWTH_PER_FRAMES, segments=_GROWTH_SEGMENTS)


def _trim_heap() -> None:
    """Return free memory to the system (glibc's malloc_trim): else a leak fills holes before it shows."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # other C libraries have no such function
        trim(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class InterleavedPlan:
    """Length of an interleaved run.

    Attributes:
        rounds: fewest rounds.
        precision: relative half-width of each ratio's confidence interval at which the run ends.
        seconds: longest duration, once there are `rounds`.
    """

    rounds: int = 15
    precision: float = 0.03
    seconds: float = 45.0


def run_interleaved(
    workloads: Mapping[str, Workload], plan: InterleavedPlan, on_round: Callable[[], None] = lambda: None
) -> dict[str, Series]:
    """Run each workload twice a round, in the order A B C C B A, until the ratios are precise.

    Of the two runs in a round the shorter wall time counts: what met only one of them was a disturbance. Of
    the processor times, which have few disturbances, it is the mean. The first round is a warm-up.

    Args:
        workloads: by name; precision is judged on the ratios of all others to the last one.
        plan: how long.
        on_round: called after each round.

    Returns:
        By workload: seconds of each stage, (rounds,).
    """
    order = [*workloads, *reversed(list(workloads))]
    rounds: list[Mapping[str, Mapping[str, float]]] = []

    def run_round() -> Mapping[str, Mapping[str, float]]:
        runs = [(name, time_stages(workloads[name].stages)) for name in order]
        return {name: _combined([run for ran, run in runs if ran == name]) for name in workloads}

    def series(name: str) -> Series:
        return {stage: np.array([each[name][stage] for each in rounds]) for stage in rounds[0][name]}

    def is_precise() -> bool:
        *names, last = workloads
        divisor = series(last)[FRAME]
        intervals = [median_interval(series(name)[FRAME] / divisor) for name in names]
        half_widths = [(interval.high - interval.low) / 2 / interval.estimate for interval in intervals]
        return max(half_widths) <= plan.precision

    def is_enough(elapsed_s: float) -> bool:
        if len(rounds) < plan.rounds:
            return False
        if elapsed_s >= plan.seconds:
            return True
        return len(rounds) % _ROUNDS_BETWEEN_CHECKS == 0 and is_precise()

    with single_threaded():
        run_round()
        start_s = time.monotonic()
        while not is_enough(time.monotonic() - start_s):
            rounds.append(run_round())
            on_round()
    return {name: series(name) for name in workloads}


def _combined(runs: list[dict[str, float]]) -> dict[str, float]:
    """One round's figures of a workload: shortest time of each stage, mean of the processor's."""
    shortest = {stage: min(run[stage] for run in runs) for stage in runs[0]}
    return {**shortest, CPU: sum(run[CPU] for run in runs) / len(runs)}
