"""Whether int8 pays on this machine: its time for a frame beside fp16's, as `saliency-run` would run both.

Beside them the other sets on the Pareto front, so that the front shows what more accuracy costs in time.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.artifact import temporary_folder, write_json
from ..runtime.backends.backend import LoadOptions, Model
from ..runtime.backends.select import load_model
from ..runtime.bench.statistics import Interval, median_interval
from ..runtime.bench.timing import FRAME, InterleavedPlan, ModelWorkload, run_interleaved, synthetic_frame
from ..runtime.bundle import MANIFEST_NAME
from ..runtime.contract import Precision
from ..runtime.errors import BuildError
from ..runtime.machine import find_gpu
from ..runtime.records import read_json
from .bundle import GOLDEN_NAME, file_entry, write_model
from .tensorrt.build import EnginePlan, Say, build_all

if TYPE_CHECKING:
    import onnx


_QUICK = InterleavedPlan(rounds=5, precision=0.05, seconds=15.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How long int8 and fp16 take here.

    Attributes:
        engine: what ran int8, such as `TensorRT 10.3, Orin` or `ONNX Runtime 1.31, CPU`.
        fp16_ms: median time of a frame.
        int8_ms: the same.
        int8_over_fp16: the ratio of both, measured in turn, with its 95% interval.
        rivals_ms: the same time of other int8 graphs, by their place among the sets that were tried.
    """

    engine: str
    fp16_ms: float
    int8_ms: float
    int8_over_fp16: Interval
    rivals_ms: Mapping[int, float] = field(default_factory=dict)

    @property
    def pays(self) -> bool:
        """Whether int8 is faster, beyond what chance explains."""
        return self.int8_over_fp16.high < 1

    def sentence(self) -> str:
        """Say which of both to run here."""
        _, ratio, _ = self.int8_over_fp16.to_json()  # all figures as the report has them
        times = f"{_digits(_rounded(self.int8_ms))} and {_digits(_rounded(self.fp16_ms))} ms"
        verdict = f"int8 takes {ratio:.2f} times as long as fp16 ({times})"
        advice = "" if self.pays else ": no faster, so fp16 stays what saliency-run takes"
        return f"On this machine ({self.engine}) {verdict}{advice}"

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return {
            "engine": self.engine,
            "fp16_ms": _rounded(self.fp16_ms),
            "int8_ms": _rounded(self.int8_ms),
            "int8_over_fp16": self.int8_over_fp16.to_json(),
            "pays": self.pays,
        }

    def sets_ms(self, taken: int | None) -> dict[int, float]:
        """Give the times of all sets by their place, `taken` being that of the bundle's int8 graph."""
        own = {} if taken is None else {taken: self.int8_ms}
        return {place: _rounded(time_ms) for place, time_ms in {**self.rivals_ms, **own}.items()}


def _rounded(milliseconds: float) -> float:
    return float(f"{milliseconds:.4g}")


def _digits(milliseconds: float) -> str:
    """Give three digits as people write them: `0.0812`, `8.12`, `2240`."""
    return f"{float(f'{milliseconds:.3g}'):g}"


def measure_speed(bundle: Path, rivals: Mapping[int, Path]) -> Speed:
    """Run a bundle's fp16 and int8 in turn, each with the best that there is for it on this machine.

    Args:
        bundle: a folder with both; its engines are used where they fit this machine, else ONNX Runtime.
        rivals: folders with other int8 graphs, by their place among the sets that were tried; they are run
            in turn with both. One that something else runs than int8 is left out: its time would not compare.

    Raises:
        SaliencyError: one of them cannot be loaded or run.
    """
    models: dict[str, tuple[Path, Precision]] = {
        **{_rival_name(place): (folder, "int8") for place, folder in rivals.items()},
        "int8": (bundle, "int8"),
        "fp16": (bundle, "fp16"),
    }
    quiet = LoadOptions(say=lambda _line: None, keep_records=False)
    with ExitStack() as opened:
        engines = {
            name: opened.enter_context(closing(load_model(*model, quiet))) for name, model in models.items()
        }
        times_ms = _times_ms(engines)
        runs_on = {name: engine.description for name, engine in engines.items()}
    medians_ms = {name: float(np.median(times)) for name, times in times_ms.items()}
    return Speed(
        engine=runs_on["int8"],
        fp16_ms=medians_ms["fp16"],
        int8_ms=medians_ms["int8"],
        int8_over_fp16=median_interval(times_ms["int8"] / times_ms["fp16"]),
        rivals_ms={
            place: medians_ms[_rival_name(place)]
            for place in rivals
            if runs_on[_rival_name(place)] == runs_on["int8"]
        },
    )


def _rival_name(place: int) -> str:
    return f"set {place + 1}"


def _times_ms(engines: Mapping[str, Model]) -> dict[str, NDArray[np.float64]]:
    """Give each engine's times of a frame, (rounds,), all taken in the same rounds."""
    contract = next(iter(engines.values())).contract
    frame_bgr, batch = synthetic_frame(contract.size_hw), contract.batch[0]
    workloads = {name: ModelWorkload(engine, frame_bgr, batch) for name, engine in engines.items()}
    series = run_interleaved(workloads, _QUICK)
    return {name: series[name][FRAME] * 1e3 / batch for name in engines}


@contextmanager
def rival_bundles(
    bundle: Path, models: Mapping[int, onnx.ModelProto], plan: EnginePlan, say: Say
) -> Iterator[dict[int, Path]]:
    """Give each graph a bundle of its own, gone when the block is left.

    Where there is a GPU, each gets the same engines as the bundle, so that the same backend runs all of them;
    one whose engine cannot be built is left out, which is said.

    Args:
        bundle: the folder that holds the graph that was taken.
        models: the others, by their place among the sets that were tried.
        plan: what the bundle's engines were built by.
        say: takes the lines that people read.
    """
    with temporary_folder("rivals") as parent:
        found = {}
        for place, model in models.items():
            folder = parent / str(place)
            _write(folder, bundle, model)
            try:
                _build(folder, plan)
                found[place] = folder
            except BuildError as error:
                say(f"set {place + 1} is not timed: {error}")
        yield found


def _build(folder: Path, plan: EnginePlan) -> None:
    if find_gpu() is not None:
        build_all(folder, ["int8"], plan, lambda _line: None)


def _write(folder: Path, bundle: Path, model: onnx.ModelProto) -> None:
    """Write what a device needs to run the graph."""
    folder.mkdir()
    path = write_model(folder, model, "int8")
    shutil.copy(bundle / GOLDEN_NAME, folder)
    manifest = read_json(bundle / MANIFEST_NAME)
    own = {"models": {"int8": file_entry(path)}, "parity": {}}  # what was measured is the taken graph's
    write_json(folder / MANIFEST_NAME, {**manifest, **own})
