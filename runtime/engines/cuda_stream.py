"""A CUDA stream of our own, and recordings of work on it that can be launched at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import BackendError
from .cuda_device import CudaDevice


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
        """Give the stream back; its work must be done."""
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
        """Give it back; its work must be done."""
        self._device.check(self._device.cuda.cuGraphExecDestroy(self._executable))


def _succeeds(enqueue: Callable[[], None]) -> bool:
    try:
        enqueue()
    except BackendError:
        return False
    return True
