"""The protocol that all engines satisfy."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

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


class Pending(Protocol):
    """Maps that an engine computes while its caller goes on. Another thread may wait for them."""

    def result(self) -> NDArray[np.float32]:
        """Wait for the maps, (N, h, w); the caller owns them.

        Raises:
            BackendError: the backend failed.
        """
        ...


@runtime_checkable
class OverlappingEngine(Protocol):
    """An engine that takes the next frames in while it computes maps of the last ones."""

    def submit(self, frames: NDArray[np.uint8]) -> Pending:
        """Start to compute saliency maps; see `submit`."""
        ...


def submit(engine: Engine, frames: NDArray[np.uint8]) -> Pending:
    """Start to compute saliency maps, so that copies and inference of neighbouring frames overlap.

    It never waits for whoever takes the results: what is under way for longest is completed if need be.

    Args:
        engine: one without overlap computes the maps at once.
        frames: as for `Engine.infer`; not needed after the call.

    Raises:
        ContractError: the frames' shape is not the contract's.
        BackendError: the backend fails.
    """
    if isinstance(engine, OverlappingEngine):
        return engine.submit(frames)
    return _Computed(engine.infer(frames))


class _Computed:
    """Maps that are there already."""

    def __init__(self, maps: NDArray[np.float32]) -> None:
        self._maps = maps

    def result(self) -> NDArray[np.float32]:
        return self._maps


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
