"""What a cold start costs: a new process, from its spawn to its first map, and the memory it took."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..contract import Precision
from ..errors import BackendError
from .loops import REFERENCE_MODEL

_CHILD = "saliency_edge.runtime.bench.first_map"
_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """Which model, as the user names it.

    Attributes:
        path: a bundle, or a file that an engine can be loaded from.
        precision: which model of a bundle; None for its default.
        threads: that compute one inference on the CPU; None: one for each core.
    """

    path: Path
    precision: Precision | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstMap:
    """What one cold process did.

    Attributes:
        first_map_s: from the spawn until the first map was there; files lie in the system's cache.
        load_s: of it, for loading the model.
        peak_rss_mb: the most memory it had until then.
    """

    first_map_s: float
    load_s: float
    peak_rss_mb: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartUp:
    """Cold starts of a model, in turn with those of the reference model, which take the machine's measure.

    Attributes:
        starts: of the model.
        ratios: (n,) first map over the reference's first map.
    """

    starts: Sequence[FirstMap]
    ratios: NDArray[np.float64]

    @property
    def first_map_s(self) -> float:
        """The median."""
        return float(np.median([start.first_map_s for start in self.starts]))

    @property
    def load_s(self) -> float:
        """The median."""
        return float(np.median([start.load_s for start in self.starts]))

    @property
    def peak_rss_mb(self) -> float | None:
        """The median, where the system tells it."""
        peaks = [start.peak_rss_mb for start in self.starts if start.peak_rss_mb is not None]
        return float(np.median(peaks)) if peaks else None


def measure_start_up(choice: ModelChoice, repeats: int) -> StartUp:
    """Start a process for the model and one for the reference, in turn.

    Raises:
        BackendError: a process fails.
    """
    reference = ModelChoice(path=REFERENCE_MODEL, threads=choice.threads)
    first_map(choice)  # brings the files into the system's cache
    starts, references = [], []
    for _ in range(repeats):
        starts.append(first_map(choice))
        references.append(first_map(reference))
    ratios = [start.first_map_s / other.first_map_s for start, other in zip(starts, references, strict=True)]
    return StartUp(starts=starts, ratios=np.array(ratios))


def first_map(choice: ModelChoice) -> FirstMap:
    """Compute one map in a new process.

    Raises:
        BackendError: the process fails; its last line says why.
    """
    words = [str(choice.path), choice.precision or "-", str(choice.threads or 0)]
    start_s = time.monotonic()  # one clock for all processes of a machine
    done = subprocess.run(
        [sys.executable, "-m", _CHILD, *words],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BackendError(f"a cold start of {choice.path} failed: {last}. Try it with saliency-run")
    told = json.loads(done.stdout.splitlines()[-1])
    peak_bytes = told["peak_resident_bytes"]
    return FirstMap(
        first_map_s=told["ended_s"] - start_s,
        load_s=told["load_s"],
        peak_rss_mb=peak_bytes / 1e6 if peak_bytes is not None else None,
    )
