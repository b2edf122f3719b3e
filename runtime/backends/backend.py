"""What a backend is, and what it gives: a loaded model that turns frames into saliency maps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..console import warn
from ..contract import Contract
from ..errors import ContractError
from ..fit import crop_map, fit_frame, size_hw_of, window_of


class Model(Protocol):
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
class OverlappingModel(Protocol):
    """An engine that takes the next frames in while it computes maps of the last ones."""

    def submit(self, frames: NDArray[np.uint8]) -> Pending:
        """Start to compute saliency maps; see `submit`."""
        ...


def submit(engine: Model, frames: NDArray[np.uint8]) -> Pending:
    """Start to compute saliency maps, so that copies and inference of neighbouring frames overlap.

    It never waits for whoever takes the results: what is under way for longest is completed if need be.

    Args:
        engine: one without overlap computes the maps at once.
        frames: as for `Model.infer`; not needed after the call.

    Raises:
        ContractError: the frames' shape is not the contract's.
        BackendError: the backend fails.
    """
    if isinstance(engine, OverlappingModel):
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


T = TypeVar("T")


def infer_each(
    engine: Model, batches: Iterable[tuple[T, NDArray[np.uint8]]], *, ahead: bool
) -> Generator[tuple[T, NDArray[np.float32], float], None, None]:
    """Compute the maps of some batches, in order.

    Args:
        engine: no one else may use it meanwhile.
        batches: each with whatever goes with it, and frames as for `Model.infer`.
        ahead: whether an engine that can starts a batch before it gives the maps of the one before. Copies
            and inference overlap then, but a map waits for the next batch to come: not for live sources.

    Yields:
        What went with the batch, its maps, and the seconds from its start until they were there.

    Raises:
        SaliencyError: what `batches` or the engine raised, after the maps of what was started before.
    """
    kept_count = 1 if ahead and isinstance(engine, OverlappingModel) else 0
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


def saliency_of(
    engine: Model, photograph: NDArray[np.uint8], shown_hw: tuple[int, int] | None = None
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


def infer_one(engine: Model, fitted: NDArray[np.uint8]) -> NDArray[np.float32]:
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


Say: TypeAlias = Callable[[str], None]
"""Takes a line for people."""


def say_on_stderr(line: str) -> None:
    """Print a line for people, past what stdout may carry for a program."""
    warn(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How `load_model` loads.

    Attributes:
        threads: that compute one inference on the CPU; `None`: one for each core.
        strict: whether to fail where another backend would have to step in.
        rebuild: whether to build a bundle's engine anew where it is missing or does not fit.
        say: takes a line about each backend that steps in, and about what is built.
    """

    threads: int | None = None
    strict: bool = False
    rebuild: bool = False
    say: Say = say_on_stderr
