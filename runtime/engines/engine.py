"""The protocol that all engines satisfy."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..contract import Contract
from ..errors import ContractError


class Engine(Protocol):
    """A loaded model. One thread at a time may use it."""

    contract: Contract
    description: str
    """Backend, device and precision in a few words, such as `ONNX Runtime 1.31 CPU, fp16`."""

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute saliency maps.

        Args:
            frames: (N, H, W, 3) BGR, 0 to 255, H x W and N as in the contract.

        Returns:
            (N, h, w) saliency maps, 0 to 1. The caller owns the array.

        Raises:
            ContractError: the frames' shape is not the contract's.
            BackendError: the backend fails.
        """
        ...

    def close(self) -> None:
        """Release the device; the engine cannot be used afterwards."""
        ...


def check_frames(frames: NDArray[np.uint8], contract: Contract) -> None:
    """Hold a batch of frames against the contract.

    Raises:
        ContractError: the shape or the dtype differ.
    """
    smallest, largest = contract.batch
    expected = (*contract.size_hw, 3)
    if frames.dtype != np.uint8 or frames.shape[1:] != expected or not smallest <= len(frames) <= largest:
        height, width = contract.size_hw
        raise ContractError(
            f"{contract.network} takes uint8 frames ({smallest} to {largest}, {height}, {width}, 3), "
            f"found {frames.dtype} {frames.shape}"
        )
