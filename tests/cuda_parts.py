"""What the double of CUDA is made of: errors, memory, streams and the work on them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum


class CUresult(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_ILLEGAL_ADDRESS = 700
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901


CUdevice_attribute = IntEnum("CUdevice_attribute", {"CU_DEVICE_ATTRIBUTE_INTEGRATED": 18})
CUstream_flags = IntEnum("CUstream_flags", {"CU_STREAM_NON_BLOCKING": 1})
CUstreamCaptureMode = IntEnum("CUstreamCaptureMode", {"CU_STREAM_CAPTURE_MODE_THREAD_LOCAL": 1})


OK = CUresult.CUDA_SUCCESS


@dataclass(eq=False)
class Block:
    """A piece of memory: of the host where it has an address of its own, and of the device."""

    size: int
    host: ctypes.Array[ctypes.c_ubyte]
    mapped: bool
    freed: bool = False

    def read(self, size: int) -> bytes:
        return bytes(self.host)[:size]

    def write(self, content: bytes) -> None:
        ctypes.memmove(self.host, content, len(content))


@dataclass(eq=False)
class Work:
    """A piece of work on a stream: what it touches, and what it does."""

    kind: str
    blocks: tuple[Block, ...]
    run: Callable[[], CUresult]
    prepare: Callable[[], None] = lambda: None
    owner: object = None


@dataclass(eq=False)
class Stream:
    handle: int
    queue: list[Work] = field(default_factory=list)
    recording: list[Work] | None = None
    invalid: bool = False

    def __int__(self) -> int:
        return self.handle
