"""One photograph or frame through an engine, fitted and cut as the pipeline does it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..fit import crop_map, fit_frame, size_hw_of, window_of
from .engine import Engine


def saliency_of(
    engine: Engine, photograph: NDArray[np.uint8], shown_hw: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """Compute the map of one photograph.

    Args:
        engine: any.
        photograph: (H, W, 3) BGR, 0 to 255.
        shown_hw: the aspect that people saw it at, where its pixels are not square.

    Returns:
        (h, w) in the network's cells; its edges are the photograph's edges.
    """
    contract = engine.contract
    shown_hw = shown_hw or size_hw_of(photograph)
    fitted = fit_frame(photograph, contract.size_hw, contract.fit, shown_hw)
    return crop_map(infer_one(engine, fitted), window_of(shown_hw, contract.size_hw, contract.fit))


def infer_one(engine: Engine, fitted: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute the map of one frame at the network's size.

    Args:
        engine: any; one whose smallest batch is above 1 gets the frame so many times.
        fitted: (H, W, 3) BGR, 0 to 255.

    Returns:
        (h, w), 0 to 1.
    """
    maps = engine.infer(np.repeat(fitted[np.newaxis], engine.contract.batch[0], axis=0))
    first: NDArray[np.float32] = maps[0]
    return first
