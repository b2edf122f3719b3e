"""One batch's way through the GPU: copy in, inference, copy out, in order on a stream of its own.

Two lanes work beside each other: while one computes, the other's frames come in and maps go out. Each has an
execution context, buffers and a CUDA graph of its own, so neither waits for the other's memory:
`docs/adr/024-lanes.md`.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ..contract import INPUT_NAME, OUTPUT_NAME, Contract
from ..errors import BackendError
from .cuda_device import CudaDevice
from .cuda_stream import CudaGraph, CudaStream
from .device_memory import SharedBuffer
from .tensorrt_runtime import TensorRtRuntime
from .tensorrt_types import ICudaEngine, IExecutionContext


class Inference:
    """An inference under way. Its result may be taken in another thread, once, often or not at all."""

    def __init__(self, lane: Lane, count: int) -> None:
        """Take what `Lane.submit` started."""
        self._lane = lane
        self._count = count
        self._lock = Lock()
        self._maps: NDArray[np.float32] | None = None
        self._failure: BackendError | None = None

    @property
    def is_complete(self) -> bool:
        """Whether its maps have been taken off the device."""
        return self._maps is not None or self._failure is not None

    def complete(self) -> None:
        """Wait for the maps and take them off the device; a failure is kept for `result`."""
        with self._lock:
            if not self.is_complete:
                try:
                    self._maps = self._lane.wait(self._count)
                except BackendError as error:
                    self._failure = error

    def result(self) -> NDArray[np.float32]:
        """Wait for the maps, (N, h, w); the caller owns them.

        Raises:
            BackendError: the inference failed.
        """
        self.complete()
        if self._maps is None:
            assert self._failure is not None
            raise self._failure
        return self._maps


class Lane:
    """A stream with all that one inference at a time needs."""

    def __init__(
        self, device: CudaDevice, runtime: TensorRtRuntime, engine: ICudaEngine, contract: Contract
    ) -> None:
        """Allocate, and run once, so that all that TensorRT does lazily is done.

        Raises:
            BackendError: there is not enough memory, or the engine does not run.
        """
        smallest, largest = contract.batch
        self._device = device
        self._runtime = runtime
        self._size_hw = contract.size_hw
        self._is_dynamic = smallest != largest
        self._last: Inference | None = None
        with ExitStack() as made:
            self._context = _context_of(engine, runtime)
            made.callback(self._forget_context)
            self._stream = made.enter_context(closing(CudaStream(device)))
            frames = SharedBuffer(device, (largest, *contract.size_hw, 3), np.uint8)
            self._frames = made.enter_context(closing(frames))
            maps = SharedBuffer(device, (largest, *contract.map_size_hw), np.float32)
            self._maps = made.enter_context(closing(maps))
            self._context.set_tensor_address(INPUT_NAME, self._frames.address)
            self._context.set_tensor_address(OUTPUT_NAME, self._maps.address)
            made.callback(self._stream.synchronize)  # before the memory goes: a copy may be under way
            self._graph = self._warmed_up(largest)
            if self._graph is not None:
                made.enter_context(closing(self._graph))
            self._resources = made.pop_all()

    @property
    def is_free(self) -> bool:
        """Whether nothing is under way."""
        return self._last is None or self._last.is_complete

    def submit(self, frames: NDArray[np.uint8]) -> Inference:
        """Start an inference; one that is under way is completed first.

        Args:
            frames: (N, H, W, 3), as in the contract; not needed after the call.

        Raises:
            BackendError: CUDA or TensorRT refuses.
        """
        if self._last is not None:
            self._last.complete()
        count = len(frames)
        self._frames.array[:count] = frames
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue(count)
        self._last = Inference(self, count)
        return self._last

    def wait(self, count: int) -> NDArray[np.float32]:
        """Wait for the work under way, and give a copy of its maps, (count, h, w).

        Raises:
            BackendError: a piece of the work failed.
        """
        self._device.enter()
        self._stream.synchronize()
        return np.array(self._maps.array[:count], np.float32)

    def close(self) -> None:
        """Complete what is under way, and give everything back."""
        if self._last is not None:
            self._last.complete()
        self._resources.close()

    def _forget_context(self) -> None:
        """Let TensorRT free its memory now, even if an error's traceback still holds this lane."""
        del self._context

    def _warmed_up(self, count: int) -> CudaGraph | None:
        """Run once, then record the same where its shapes never change and TensorRT lets it be recorded.

        What TensorRT does in the first inference, and at a new shape, cannot be recorded (its own advice).
        """
        self._frames.array[:] = 0
        self._enqueue(count)
        self._stream.synchronize()
        if self._is_dynamic or not self._can_be_recorded():
            return None
        return self._stream.record(lambda: self._enqueue(count))

    def _can_be_recorded(self) -> bool:
        """Ask TensorRT-RTX; TensorRT has no such question, there the recording itself tells."""
        context = self._context
        return not hasattr(context, "is_stream_capturable") or context.is_stream_capturable(
            self._stream.handle
        )

    def _enqueue(self, count: int) -> None:
        """Put an inference on the stream."""
        if self._is_dynamic and not self._context.set_input_shape(INPUT_NAME, (count, *self._size_hw, 3)):
            raise self._refusal(f"a batch of {count}")
        self._frames.copy_in(self._stream, count)
        if not self._context.execute_async_v3(self._stream.handle):
            raise self._refusal("the inference")
        self._maps.copy_out(self._stream, count)

    def _refusal(self, what: str) -> BackendError:
        return BackendError(f"{self._runtime.title} refuses {what}: {self._runtime.reason()}")


def _context_of(engine: ICudaEngine, runtime: TensorRtRuntime) -> IExecutionContext:
    context = engine.create_execution_context()
    if context is None:
        raise BackendError(f"{runtime.title} makes no execution context: {runtime.reason()}")
    return context
