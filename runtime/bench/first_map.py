"""A cold start, in a process of its own: load a model, compute one map, say what it took.

python -m saliency_edge.runtime.bench.first_map MODEL PRECISION|- THREADS|0
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import cast

from ..backends.backend import LoadOptions
from ..backends.select import load_model
from ..contract import Precision
from .loops import ModelLoop, timed
from .memory import peak_resident_bytes
from .pictures import synthetic_picture

FRAME_HW = (720, 1280)


def main(model: str, precision: str, threads: str) -> None:
    """Print the figures as one line of JSON."""
    asked = None if precision == "-" else cast(Precision, precision)
    start_s = time.monotonic()
    with closing(load_model(Path(model), asked, LoadOptions(threads=int(threads) or None))) as engine:
        load_s = time.monotonic() - start_s
        timed(ModelLoop(engine, synthetic_picture(FRAME_HW), engine.contract.batch[0]).stages)
        ended_s = time.monotonic()
    print(json.dumps({"ended_s": ended_s, "load_s": load_s, "peak_resident_bytes": peak_resident_bytes()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
