"""The part of TensorRT's Python API that runs engines, as types.

Classes and members have the real names. A test holds each against `tensorrt_lean` 10.16 and 11.4, against
`tensorrt_rtx` and against the stubs of `tensorrt` 10.13.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class DataType(Protocol):
    """Type of a tensor's elements, such as `UINT8`."""

    name: str


class IExecutionContext(Protocol):
    """An engine with the memory that one inference needs."""

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        """Set the shape of an input; False where the engine was not built for it."""

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Say where on the device a tensor lies; False where there is no such tensor."""

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Enqueue one inference; False where that fails."""

    def is_stream_capturable(self, stream: int) -> bool:
        """Tell whether an inference can be recorded; only TensorRT-RTX knows."""


class ICudaEngine(Protocol):
    """A loaded engine."""

    num_io_tensors: int

    def get_tensor_name(self, index: int) -> str:
        """Give the name of an input or output."""

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        """Give a tensor's shape; -1 where it is dynamic."""

    def get_tensor_dtype(self, name: str) -> DataType:
        """Give the datatype of a tensor's elements."""

    def create_execution_context(self) -> IExecutionContext | None:
        """Make an execution context; None where that fails, mostly for want of memory."""


class Runtime(Protocol):
    """Loads engines."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        """Load an engine; None where that fails."""
