"""A TensorRT engine as a loaded model: cuda-python and TensorRT, no torch.

An inference goes through an execution slot: copy in, inference, copy out, in order on a stream of its own.
Two slots work beside each other: while one computes, the other's frames come in and maps go out. Each has an
execution context, buffers and a CUDA graph of its own, so neither waits for the other's memory:
`docs/adr/024-lanes.md`.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...contract import INPUT_NAME, OUTPUT_NAME, Arithmetic, Contract
from ...errors import BackendError, ContractError
from ..backend import Inference, check_frames
from .cuda import CudaDevice, CudaGraph, CudaStream, SharedBuffer, open_device
from .libraries import ICudaEngine, IExecutionContext, TensorRtRuntime, find_runtime
from .receipt import Receipt

_MAX_SLOTS = 2


class TensorRtModel:
    """An engine on the GPU. One thread at a time may start inferences; any may take their results."""

    def __init__(
        self,
        path: Path,
        device: CudaDevice,
        runtime: TensorRtRuntime,
        engine: ICudaEngine,
        contract: Contract,
    ) -> None:
        """Take an engine that fulfils `contract`; `load` makes all of them.

        Raises:
            BackendError: there is not enough memory, or the engine does not run.
        """
        self.path = path
        self.slots = _MAX_SLOTS
        self.contract = contract
        # Engines are strongly typed: fp16 is rounded behind every layer.
        self.arithmetic: Arithmetic = contract.precision
        self.description = f"{runtime.title}, {contract.precision}"
        self._device = device
        self._runtime = runtime
        self._engine = engine
        self._slots = deque([ExecutionSlot(device, runtime, engine, contract)])  # the longest unused first
        self._max_slots = _MAX_SLOTS

    @classmethod
    def load(cls, path: Path, receipt: Receipt) -> TensorRtModel:
        """Load an engine; `receipt.check_compatibility` has found that it may run here.

        Args:
            path: of the `.engine`.
            receipt: of the same.

        Raises:
            BackendError: TensorRT or cuda-python is not installed, there is no GPU, or not enough memory.
            ContractError: the engine's tensors are not as the receipt says.
        """
        runtime = find_runtime(receipt.flavour)
        device = open_device()
        try:
            host_code = receipt.options.version_compatible and not runtime.lean
            engine = runtime.load(path.read_bytes(), path.name, with_host_code=host_code)
            _check_tensors(engine, receipt.contract, path)
            return cls(path, device, runtime, engine, receipt.contract)
        except BaseException:
            device.close()
            raise

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute saliency maps, (N, H, W, 3) to (N, h, w); see `Model.infer`."""
        return self.submit(frames).result()

    def submit(self, frames: NDArray[np.uint8]) -> Inference:
        """Start to compute saliency maps, beside the ones that are under way; see `engine.submit`."""
        check_frames(frames, self.contract)
        self._device.enter()
        slot = self._next_slot()
        self._slots.remove(slot)
        self._slots.append(slot)
        return slot.submit(frames)

    def close(self) -> None:
        """Release the device; the engine cannot be used afterwards."""
        self._device.enter()
        while self._slots:
            self._slots.pop().close()
        del self._engine
        self._device.close()

    def _next_slot(self) -> ExecutionSlot:
        """A free slot, or a new one, or the one that will be free first."""
        free = next((slot for slot in self._slots if slot.is_free), None)
        if free is None and len(self._slots) < self._max_slots:
            free = self._open_slot()
        return free or self._slots[0]

    def _open_slot(self) -> ExecutionSlot | None:
        """Make another slot; where memory does not suffice, inferences go on without overlap."""
        try:
            slot = ExecutionSlot(self._device, self._runtime, self._engine, self.contract)
        except BackendError:
            self._max_slots = len(self._slots)
            return None
        self._slots.append(slot)
        return slot


def _check_tensors(engine: ICudaEngine, contract: Contract, path: Path) -> None:
    """Hold the engine's own inputs and outputs against the contract in its receipt."""
    smallest, largest = contract.batch
    count = smallest if smallest == largest else -1
    expected = {
        INPUT_NAME: ("UINT8", (count, *contract.size_hw, 3)),
        OUTPUT_NAME: ("FLOAT", (count, *contract.map_size_hw)),
    }
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    found = {
        name: (engine.get_tensor_dtype(name).name, tuple(engine.get_tensor_shape(name))) for name in names
    }
    if found != expected:
        raise ContractError(f"{path} has {found}, its receipt says {expected}. Build it again")


class ExecutionSlot:
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
        self._last = Inference(lambda: self.wait(count))
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
        """Let TensorRT free its memory now, even if an error's traceback still holds this slot."""
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
