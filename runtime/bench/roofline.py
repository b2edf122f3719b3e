"""How fast this device could be: its peak rate and bandwidth, measured or given, and the least time of a run.

The model is the roofline's (Williams, Waterman and Patterson 2009): a run takes at least as long as its
arithmetic at the peak rate, and at least as long as its bytes at the bandwidth.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..backends.backend import LoadOptions
from ..backends.select import load_model
from .graph_cost import GraphCost
from .pictures import synthetic_picture

PRODUCTS_MODEL = Path(__file__).parent / "assets" / "products.onnx"
_PRODUCT_MACS = 4 * 1024**3
_COPIED_BYTES = 1 << 27
_TRIES = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """The limits of a device.

    Attributes:
        tera_ops: operations a second, in 10^12; a multiply-accumulate is two.
        gigabytes_s: read and written a second, in 10^9.
        origin: how they are known.
    """

    tera_ops: float
    gigabytes_s: float
    origin: str

    def least_s(self, cost: GraphCost) -> float:
        """Give the least time that one run can take, in seconds."""
        return max(2 * cost.macs / (self.tera_ops * 1e12), cost.bytes / (self.gigabytes_s * 1e9))


def measure_roofline(
    threads: int | None, *, peak_tops: float | None = None, bandwidth_gb_s: float | None = None
) -> Roofline:
    """Measure what is not given: fp32 products through the same backend, and a copy by as many threads.

    Args:
        threads: that compute one inference on the CPU; None: one for each core.
        peak_tops: operations a second, in 10^12, from a data sheet.
        bandwidth_gb_s: in 10^9 bytes a second, from a data sheet.
    """
    count = threads or os.cpu_count() or 1
    origins = [
        "peak given" if peak_tops else "peak by fp32 matrix products",
        "bandwidth given" if bandwidth_gb_s else f"bandwidth by a copy of {count} threads",
    ]
    return Roofline(
        tera_ops=peak_tops or _product_tera_ops(threads),
        gigabytes_s=bandwidth_gb_s or _copy_gigabytes_s(count),
        origin=", ".join(origins),
    )


def _product_tera_ops(threads: int | None) -> float:
    with closing(load_model(PRODUCTS_MODEL, None, LoadOptions(threads=threads))) as engine:
        frames = synthetic_picture(engine.contract.size_hw)[np.newaxis]
        return 2 * _PRODUCT_MACS / _least_s(lambda: engine.infer(frames)) / 1e12


def _copy_gigabytes_s(threads: int) -> float:
    """Copy a block in as many parts as there are threads; numpy's copy lets other threads run."""
    source, target = np.ones(_COPIED_BYTES, np.uint8), np.zeros(_COPIED_BYTES, np.uint8)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        least_s = _least_s(lambda: list(pool.map(lambda part: np.copyto(*part), parts)))
    return 2 * _COPIED_BYTES / least_s / 1e9


def _least_s(work: Callable[[], object]) -> float:
    """Give the least time of a few tries: a peak is what the device can do, not what it was let do."""
    durations_s = []
    for _ in range(_TRIES):
        start_s = time.perf_counter()
        work()
        durations_s.append(time.perf_counter() - start_s)
    return min(durations_s)
