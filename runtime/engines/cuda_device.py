"""The GPU through CUDA's driver API, and the one owner of its context.

Why the driver's API (docs.nvidia.com/cuda/cuda-driver-api): `docs/adr/023-cuda-driver-api.md`. Nothing but
`cuda.bindings.driver` is called, by its real names; a test holds them against cuda-python.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from ..errors import BackendError

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
        """Give what a call of the driver returned.

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
