"""ONNX Runtime on the CPU, as the export measures with it: the same figures on every machine of a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..runtime.backends.onnxruntime_backend import open_session
from ..runtime.contract import INPUT_NAME, OUTPUT_NAME, Contract
from ..runtime.progress import progress
from .frames import in_batches

if TYPE_CHECKING:
    import onnx
    import onnxruntime


def cpu_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Load a model on the CPU, whatever GPU there is: TF32 alone would pass fp32's tolerance.

    Raises:
        BackendError: ONNX Runtime refuses it.
    """
    return open_session(model.SerializeToString(), cpu_only=True)


def ort_maps(model: onnx.ModelProto, contract: Contract, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute saliency maps with ONNX Runtime, in batches as large as the graph takes.

    Args:
        model: a deployed graph.
        contract: its contract.
        pixels: (K, H, W, 3) BGR, at the network's size.

    Returns:
        (K, h, w) maps, 0 to 1.

    Raises:
        BackendError: ONNX Runtime refuses the model.
    """
    session = cpu_session(model)
    maps: list[NDArray[np.float32]] = []
    batches = in_batches(pixels, contract.batch)
    with progress(f"{contract.precision} maps, ONNX Runtime", len(batches)) as advance:
        for frames in batches:
            maps.append(session.run([OUTPUT_NAME], {INPUT_NAME: frames})[0])
            advance()
    return np.concatenate(maps)[: len(pixels)]
