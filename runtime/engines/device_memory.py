"""Memory that both CPU and GPU reach: a pinned pair on discrete GPUs, one mapped block on integrated ones.

On a Jetson CPU and GPU share their memory, and a copy between them is lost time (1.4 to 1.7 times as fast
without, published for Orin); on a discrete GPU a kernel that reads the host's memory waits for PCIe.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import BackendError
from .cuda_device import CudaDevice
from .cuda_stream import CudaStream


class SharedBuffer:
    """An array for the CPU, and the same elements at an address of the GPU's.

    Attributes:
        array: the host's view, in memory that is locked; invalid after `close`.
        address: of the elements on the device.
    """

    def __init__(self, device: CudaDevice, shape: Sequence[int], dtype: DTypeLike) -> None:
        """Allocate the memory; the device's context is the calling thread's.

        Raises:
            BackendError: there is not enough of it.
        """
        cuda = device.cuda
        size_bytes = prod(shape) * np.dtype(dtype).itemsize
        self._device = device
        self._host = int(device.check(cuda.cuMemHostAlloc(size_bytes, cuda.CU_MEMHOSTALLOC_DEVICEMAP)))
        self._mapped = device.integrated
        try:
            self.address = self._device_address(size_bytes)
        except BackendError:
            device.check(cuda.cuMemFreeHost(self._host))
            raise
        memory = (ctypes.c_byte * size_bytes).from_address(self._host)
        self.array: NDArray[np.generic] = np.frombuffer(memoryview(memory), dtype).reshape(shape)

    def copy_in(self, stream: CudaStream, count: int) -> None:
        """Enqueue the copy of the first `count` items to the device, where there is one to make."""
        if not self._mapped:
            cuda, size_bytes = self._device.cuda, self.array[:count].nbytes
            self._device.check(cuda.cuMemcpyHtoDAsync(self.address, self._host, size_bytes, stream.handle))

    def copy_out(self, stream: CudaStream, count: int) -> None:
        """Enqueue the copy of the first `count` items to the host, where there is one to make."""
        if not self._mapped:
            cuda, size_bytes = self._device.cuda, self.array[:count].nbytes
            self._device.check(cuda.cuMemcpyDtoHAsync(self._host, self.address, size_bytes, stream.handle))

    def close(self) -> None:
        """Give the memory back; no work may be under way on it."""
        del self.array
        if not self._mapped:
            self._device.check(self._device.cuda.cuMemFree(self.address))
        self._device.check(self._device.cuda.cuMemFreeHost(self._host))

    def _device_address(self, size_bytes: int) -> int:
        cuda, check = self._device.cuda, self._device.check
        if self._mapped:
            return int(check(cuda.cuMemHostGetDevicePointer(self._host, 0)))
        return int(check(cuda.cuMemAlloc(size_bytes)))
