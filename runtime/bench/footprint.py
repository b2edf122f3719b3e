"""Footprint of a deployment: time and memory of a cold start, and the size of a base installation.

A cold start is a new process, from its spawn to its first map. This module is that process too:

    python -m saliency_edge.runtime.bench.footprint MODEL PRECISION|- BACKEND THREADS|0
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..backends.backend import LoadOptions
from ..backends.select import load_model
from ..contract import Precision
from ..errors import BackendError
from .host import peak_resident_bytes
from .timing import REFERENCE_MODEL, ModelWorkload, synthetic_frame, time_stages

_FRAME_HW = (720, 1280)
_TIMEOUT_S = 600

DISTRIBUTION = "saliency-edge"
_PACKAGES = Path(__file__).resolve().parents[2]
_OWN_FOLDERS = ("runtime", "train", "calib", "export")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model as the user names it.

    Attributes:
        path: a bundle, or a model file.
        precision: which model of a bundle; None for the fastest that is right on this machine.
        backend: what runs it; `auto` as for the precision.
        threads: CPU threads of one inference; None: one for each core.
    """

    path: Path
    precision: Precision | None = None
    backend: str = "auto"
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """Measurements of one new process.

    Attributes:
        first_map_s: from the spawn until the first map is computed; files lie in the system's cache.
        load_s: the part of it that loads the model.
        peak_rss_mb: its largest resident memory until then; None where the system does not tell.
    """

    first_map_s: float
    load_s: float
    peak_rss_mb: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartUp:
    """Cold starts of a model, each followed by one of the reference model, which measures the machine.

    Attributes:
        starts: of the model.
        ratios: (n,) first map over the reference's first map.
    """

    starts: Sequence[ColdStart]
    ratios: NDArray[np.float64]

    @property
    def first_map_s(self) -> float:
        """Median time to the first map."""
        return float(np.median([start.first_map_s for start in self.starts]))

    @property
    def load_s(self) -> float:
        """Median time to load the model."""
        return float(np.median([start.load_s for start in self.starts]))

    @property
    def peak_rss_mb(self) -> float | None:
        """Median of the peak memory; None where the system does not tell."""
        peaks = [start.peak_rss_mb for start in self.starts if start.peak_rss_mb is not None]
        return float(np.median(peaks)) if peaks else None


def measure_start_up(model: ModelSpec, repeats: int) -> StartUp:
    """Start processes for the model and for the reference model, interleaved.

    Raises:
        BackendError: a process fails.
    """
    reference = ModelSpec(path=REFERENCE_MODEL, threads=model.threads)
    start_cold(model)  # brings the files into the system's cache
    starts, references = [], []
    for _ in range(repeats):
        starts.append(start_cold(model))
        references.append(start_cold(reference))
    ratios = [start.first_map_s / other.first_map_s for start, other in zip(starts, references, strict=True)]
    return StartUp(starts=starts, ratios=np.array(ratios))


def start_cold(model: ModelSpec) -> ColdStart:
    """Compute one map in a new process.

    Raises:
        BackendError: the process fails; its last line says why.
    """
    words = [str(model.path), model.precision or "-", model.backend, str(model.threads or 0)]
    start_s = time.monotonic()  # one clock for all processes of a machine
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, *words],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BackendError(f"a cold start of {model.path} failed: {last}. Try it with saliency-run")
    answer = json.loads(done.stdout.splitlines()[-1])
    peak_bytes = answer["peak_resident_bytes"]
    return ColdStart(
        first_map_s=answer["ended_s"] - start_s,
        load_s=answer["load_s"],
        peak_rss_mb=peak_bytes / 1e6 if peak_bytes is not None else None,
    )


def main(path: str, precision: str, backend: str, threads: str) -> None:
    """Load a model, compute one map, and print what that took as one line of JSON."""
    wanted = None if precision == "-" else cast(Precision, precision)
    start_s = time.monotonic()
    options = LoadOptions(backend=backend, threads=int(threads) or None, must_pass=False)
    with closing(load_model(Path(path), wanted, options)) as engine:
        load_s = time.monotonic() - start_s
        time_stages(ModelWorkload(engine, synthetic_frame(_FRAME_HW), engine.contract.batch[0]).stages)
        ended_s = time.monotonic()
    figures = {"ended_s": ended_s, "load_s": load_s, "peak_resident_bytes": peak_resident_bytes()}
    sys.stdout.write(f"{json.dumps(figures)}\n")


def base_install_mb() -> dict[str, float]:
    """Size of each distribution of a base installation (no extras), in 10^6 bytes, largest first.

    Byte code is not counted, nor what comes with the interpreter.
    """
    sizes = {DISTRIBUTION: _own_bytes()}
    pending = _requirements(DISTRIBUTION)
    while pending:
        name = pending.pop()
        if name in sizes:
            continue
        found = _find_distribution(name)
        if found is None:  # for another system or another Python
            continue
        paths = (Path(str(file.locate())) for file in found.files or [] if file.suffix != ".pyc")
        sizes[name] = sum(path.stat().st_size for path in paths if path.is_file())
        pending += _requirements(name)
    return {name: sizes[name] / 1e6 for name in sorted(sizes, key=sizes.__getitem__, reverse=True)}


def _own_bytes() -> int:
    """Size of our four folders themselves: an editable installation lists no files of its own."""
    files = (path for folder in _OWN_FOLDERS for path in (_PACKAGES / folder).rglob("*"))
    return sum(path.stat().st_size for path in files if path.is_file() and path.suffix != ".pyc")


def _find_distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _requirements(name: str) -> list[str]:
    """Names of the distributions that a distribution requires without its extras."""
    found = _find_distribution(name)
    requirements = (found.requires or []) if found else []
    return [
        re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()
        for requirement in requirements
        if not re.search(r"\bextra\s*==", requirement)
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
