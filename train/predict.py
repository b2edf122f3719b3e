"""One photograph through an engine, fitted and cut as at run time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..runtime.engines.engine import Engine
from ..runtime.fit import crop_map, fit_frame, size_hw_of, window_of


def saliency_of(
    engine: Engine, photograph: NDArray[np.uint8], shown_hw: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """Compute the map of one photograph.

    Args:
        engine: any; one whose smallest batch is above 1 gets the photograph so many times.
        photograph: (H, W, 3) BGR, 0 to 255.
        shown_hw: the aspect that people saw it at, where its pixels are not square.

    Returns:
        (h, w) in the network's cells; its edges are the photograph's edges.
    """
    contract = engine.contract
    shown_hw = shown_hw or size_hw_of(photograph)
    frame = fit_frame(photograph, contract.size_hw, contract.fit, shown_hw)
    values = engine.infer(np.repeat(frame[np.newaxis], contract.batch[0], axis=0))[0]
    return crop_map(values, window_of(shown_hw, contract.size_hw, contract.fit))
