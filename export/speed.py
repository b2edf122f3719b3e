"""Whether int8 pays on this machine: its time for a frame beside fp16's, as `saliency-run` would run both."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.bench.loops import FRAME, ModelLoop
from ..runtime.bench.pictures import synthetic_picture
from ..runtime.bench.rounds import RoundPlan, take_turns
from ..runtime.bench.statistics import Interval, median_interval
from ..runtime.engines.load import load_engine
from ..runtime.engines.load_options import LoadOptions

_QUICK = RoundPlan(rounds=5, precision=0.05, seconds=15.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How long int8 and fp16 take here.

    Attributes:
        engine: what ran int8, such as `TensorRT 10.3, Orin` or `ONNX Runtime 1.31, CPU`.
        fp16_ms: median time of a frame.
        int8_ms: the same.
        int8_over_fp16: the ratio of both, measured in turn, with its 95% interval.
    """

    engine: str
    fp16_ms: float
    int8_ms: float
    int8_over_fp16: Interval

    @property
    def pays(self) -> bool:
        """Whether int8 is faster, beyond what chance explains."""
        return self.int8_over_fp16.high < 1

    def sentence(self) -> str:
        """Say which of both to run here."""
        ratio = self.int8_over_fp16.estimate
        times = f"{_digits(self.int8_ms)} and {_digits(self.fp16_ms)} ms"
        verdict = f"int8 takes {ratio:.2f} times as long as fp16 ({times})"
        advice = "" if self.pays else ": no faster, so fp16 stays what saliency-run takes"
        return f"On this machine ({self.engine}) {verdict}{advice}"

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return {
            "engine": self.engine,
            "fp16_ms": float(f"{self.fp16_ms:.4g}"),
            "int8_ms": float(f"{self.int8_ms:.4g}"),
            "int8_over_fp16": self.int8_over_fp16.to_json(),
            "pays": self.pays,
        }


def _digits(milliseconds: float) -> str:
    """Give three digits as people write them: `0.0812`, `8.12`, `2240`."""
    return f"{float(f'{milliseconds:.3g}'):g}"


def measure_speed(bundle: Path) -> Speed:
    """Run a bundle's fp16 and int8 in turn, each with the best that there is for it on this machine.

    Args:
        bundle: a folder with both; its engines are used where they fit this machine, else ONNX Runtime.

    Raises:
        SaliencyError: one of them cannot be loaded or run.
    """
    quiet = LoadOptions(say=lambda _line: None)
    with (
        closing(load_engine(bundle, "int8", quiet)) as int8,
        closing(load_engine(bundle, "fp16", quiet)) as fp16,
    ):
        picture = synthetic_picture(int8.contract.size_hw)
        batch = int8.contract.batch[0]
        loops = {"int8": ModelLoop(int8, picture, batch), "fp16": ModelLoop(fp16, picture, batch)}
        series = take_turns(loops, _QUICK)
        times_s = {name: series[name][FRAME] / batch for name in loops}
        return Speed(
            engine=int8.description,
            fp16_ms=float(np.median(times_s["fp16"])) * 1e3,
            int8_ms=float(np.median(times_s["int8"])) * 1e3,
            int8_over_fp16=median_interval(times_s["int8"] / times_s["fp16"]),
        )
