"""A TensorRT engine behind the engines' protocol: cuda-python and TensorRT, no torch."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..contract import INPUT_NAME, OUTPUT_NAME, Contract
from ..errors import BackendError, ContractError
from .cuda_device import CudaDevice, open_device
from .engine import check_frames
from .lane import Inference, Lane
from .receipt import Receipt
from .tensorrt_runtime import TensorRtRuntime, find_runtime
from .tensorrt_types import ICudaEngine

_LANES = 2


class TrtEngine:
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
        self.on_gpu = True
        self.path = path
        self.contract = contract
        self.description = f"{runtime.title}, {contract.precision}"
        self._device = device
        self._runtime = runtime
        self._engine = engine
        self._lanes = deque([Lane(device, runtime, engine, contract)])  # the longest unused first
        self._most_lanes = _LANES

    @classmethod
    def load(cls, path: Path, receipt: Receipt) -> TrtEngine:
        """Load an engine; `preflight.check_fits` has found that it may run here.

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
        """Compute saliency maps, (N, H, W, 3) to (N, h, w); see `Engine.infer`."""
        return self.submit(frames).result()

    def submit(self, frames: NDArray[np.uint8]) -> Inference:
        """Start to compute saliency maps, beside the ones that are under way; see `engine.submit`."""
        check_frames(frames, self.contract)
        self._device.enter()
        lane = self._next_lane()
        self._lanes.remove(lane)
        self._lanes.append(lane)
        return lane.submit(frames)

    def close(self) -> None:
        """Release the device; the engine cannot be used afterwards."""
        self._device.enter()
        while self._lanes:
            self._lanes.pop().close()
        del self._engine
        self._device.close()

    def _next_lane(self) -> Lane:
        """Give a free lane, or a new one, or the one that will be free first."""
        free = next((lane for lane in self._lanes if lane.is_free), None)
        if free is None and len(self._lanes) < self._most_lanes:
            free = self._opened_lane()
        return free or self._lanes[0]

    def _opened_lane(self) -> Lane | None:
        """Make another lane; where memory does not suffice, inferences go on without overlap."""
        try:
            lane = Lane(self._device, self._runtime, self._engine, self.contract)
        except BackendError:
            self._most_lanes = len(self._lanes)
            return None
        self._lanes.append(lane)
        return lane


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
