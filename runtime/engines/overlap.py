"""Batch after batch through an engine, the next one started before the last one's maps are taken."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .engine import Engine, OverlappingEngine, Pending, submit

T = TypeVar("T")


def infer_each(
    engine: Engine, batches: Iterable[tuple[T, NDArray[np.uint8]]], *, ahead: bool
) -> Generator[tuple[T, NDArray[np.float32], float], None, None]:
    """Compute the maps of some batches, in order.

    Args:
        engine: no one else may use it meanwhile.
        batches: each with whatever goes with it, and frames as for `Engine.infer`.
        ahead: whether an engine that can starts a batch before it gives the maps of the one before. Copies
            and inference overlap then, but a map waits for the next batch to come: not for live sources.

    Yields:
        What went with the batch, its maps, and the seconds from its start until they were there.

    Raises:
        SaliencyError: what `batches` or the engine raised, after the maps of what was started before.
    """
    kept_count = 1 if ahead and isinstance(engine, OverlappingEngine) else 0
    under_way: deque[tuple[T, Pending, float]] = deque()
    failure: Exception | None = None
    try:
        for item, frames in batches:
            start_s = time.perf_counter()
            under_way.append((item, submit(engine, frames), start_s))
            if len(under_way) > kept_count:
                yield _completed(*under_way.popleft())
    except Exception as error:
        failure = error
    while under_way:
        yield _completed(*under_way.popleft())
    if failure is not None:
        raise failure


def _completed(item: T, pending: Pending, start_s: float) -> tuple[T, NDArray[np.float32], float]:
    maps = pending.result()
    return item, maps, time.perf_counter() - start_s
