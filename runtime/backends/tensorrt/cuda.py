"""CUDA through its driver API: the device, streams and graphs, and memory that both CPU and GPU reach.

Why the driver API (docs.nvidia.com/cuda/cuda-driver-api): `docs/adr/023-cuda-driver-api.md`. Nothing but
`cuda.bindings.driver` is called, by its real names; a test compares them with cuda-python.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from importlib import import_module
from math import prod
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...errors import BackendError

_MIB = 1 << 20


class CudaDevice:
    """The first GPU, with its primary context: the one that TensorRT uses too.

    Attributes:
        cuda: the module `cuda.bindings.driver`.
        integrated: whether the GPU shares its memory with the CPU, as a Jetson's does.
    """

    def __init__(self, cuda: ModuleType) -> None:
        """Take hold of the primary context and make it this thread's; `open_device` finds the module.

        Raises:
            BackendError: there is no driver or no GPU.
        """
        self.cuda = cuda
        try:
            self.check(cuda.cuInit(0))
        except RuntimeError as error:  # cuda-python's word for a missing libcuda
            raise BackendError(
                f"no CUDA driver here ({_first_line(error)}). Install NVIDIA's driver, or run without engine"
            ) from error
        self._device = self.check(cuda.cuDeviceGet(0))
        self._context = self.check(cuda.cuDevicePrimaryCtxRetain(self._device))
        self.enter()
        attribute = cuda.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_INTEGRATED
        self.integrated = self.check(cuda.cuDeviceGetAttribute(attribute, self._device)) == 1

    def enter(self) -> None:
        """Make the context the calling thread's; cheap, and needed in each thread that calls CUDA."""
        self.check(self.cuda.cuCtxSetCurrent(self._context))

    def check(self, result: tuple[Any, ...]) -> Any:
        """What a call of the driver returned.

        Raises:
            BackendError: it returned an error.
        """
        error, *values = result
        if error != self.cuda.CUresult.CUDA_SUCCESS:
            raise BackendError(self._message(error))
        return values[0] if values else None

    def close(self) -> None:
        """Let go of the primary context; all that was made in it must be freed before."""
        self.check(self.cuda.cuDevicePrimaryCtxRelease(self._device))

    def _message(self, error: Any) -> str:
        if error == self.cuda.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            return f"the GPU is out of memory{self._free_memory()}. {MEMORY_REMEDY}"
        _, name = self.cuda.cuGetErrorName(error)
        _, text = self.cuda.cuGetErrorString(error)
        return f"CUDA refuses: {_text(name)}, {_text(text)}. Look at the GPU with nvidia-smi, or in dmesg"

    def _free_memory(self) -> str:
        """Tell how much is free, where the driver can; this is asked while another error is reported."""
        error, free, total = self.cuda.cuMemGetInfo()
        known = error == self.cuda.CUresult.CUDA_SUCCESS
        return f" ({free // _MIB} of {total // _MIB} MiB are free)" if known else ""


MEMORY_REMEDY = "Close other programs that use it, or export with a smaller --size or --batch"


def open_device() -> CudaDevice:
    """Open the first GPU.

    Raises:
        BackendError: cuda-python is not installed, or there is no driver or no GPU.
    """
    try:
        driver = import_module("cuda.bindings.driver")
    except ImportError as error:
        raise BackendError(
            f"TensorRT engines run through cuda-python, which is not installed ({error}). "
            "Add it: pip install cuda-python, of the CUDA version that the driver brings"
        ) from error
    return CudaDevice(driver)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _text(value: bytes | None) -> str:
    return value.decode() if value else "unknown error"


class CudaStream:
    """Work in order on the device, beside that of other streams, the default one too.

    Attributes:
        handle: its address, as TensorRT takes it.
    """

    def __init__(self, device: CudaDevice) -> None:
        """Make the stream.

        Raises:
            BackendError: CUDA refuses.
        """
        self._device = device
        self._stream = device.check(
            device.cuda.cuStreamCreate(device.cuda.CUstream_flags.CU_STREAM_NON_BLOCKING)
        )
        self.handle = int(self._stream)

    def synchronize(self) -> None:
        """Wait until all work is done.

        Raises:
            BackendError: a piece of it failed.
        """
        self._device.check(self._device.cuda.cuStreamSynchronize(self._stream))

    def record(self, enqueue: Callable[[], None]) -> CudaGraph | None:
        """Record what `enqueue` puts on the stream, without doing it.

        Only this thread is held to what may be recorded: others may go on with their own CUDA work.

        Returns:
            None where the work cannot be recorded; the stream is then as it was before.
        """
        cuda, check = self._device.cuda, self._device.check
        check(
            cuda.cuStreamBeginCapture(
                self._stream, cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
            )
        )
        recorded = _succeeds(enqueue)
        error, graph = cuda.cuStreamEndCapture(self._stream)
        if not recorded or error != cuda.CUresult.CUDA_SUCCESS:
            return None
        try:
            return CudaGraph(self._device, self._stream, check(cuda.cuGraphInstantiate(graph, 0)))
        finally:
            check(cuda.cuGraphDestroy(graph))

    def close(self) -> None:
        """Release the stream; its work must be done."""
        self._device.check(self._device.cuda.cuStreamDestroy(self._stream))


class CudaGraph:
    """Recorded work, with all addresses and shapes as they were then."""

    def __init__(self, device: CudaDevice, stream: Any, executable: Any) -> None:
        """Take what was instantiated; see `CudaStream.record`."""
        self._device = device
        self._stream = stream
        self._executable = executable

    def launch(self) -> None:
        """Enqueue all of it.

        Raises:
            BackendError: CUDA refuses.
        """
        self._device.check(self._device.cuda.cuGraphLaunch(self._executable, self._stream))

    def close(self) -> None:
        """Release it; its work must be done."""
        self._device.check(self._device.cuda.cuGraphExecDestroy(self._executable))


def _succeeds(enqueue: Callable[[], None]) -> bool:
    try:
        enqueue()
    except BackendError:
        return False
    return True


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
        """Free the memory; no work may be in flight on it."""
        del self.array
        if not self._mapped:
            self._device.check(self._device.cuda.cuMemFree(self.address))
        self._device.check(self._device.cuda.cuMemFreeHost(self._host))

    def _device_address(self, size_bytes: int) -> int:
        cuda, check = self._device.cuda, self._device.check
        if self._mapped:
            return int(check(cuda.cuMemHostGetDevicePointer(self._host, 0)))
        return int(check(cuda.cuMemAlloc(size_bytes)))
