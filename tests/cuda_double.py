"""A double of CUDA's driver API that enforces its rules; `tensorrt_double.py` runs engines on it.

Work waits on its stream until that is synchronised, as on a device that is slower than its host. Host memory
that a copy will write holds nonsense until then. What CUDA would answer with an error is answered so; what it
would leave undefined (memory freed or changed under a copy, things never given back) lands in `violations`.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from types import ModuleType

from cuda_parts import (
    OK,
    Block,
    CUdevice_attribute,
    CUresult,
    CUstream_flags,
    CUstreamCaptureMode,
    Stream,
    Work,
)

MIB = 1 << 20
_POISON = 0xFF  # NaN in float32
_FIRST_DEVICE_ADDRESS = 1 << 48
_SPACING = 1 << 32


Call = Callable[..., tuple[object, ...]]


class CudaDouble:
    """One device. `module()` gives what stands in for `cuda.bindings.driver`."""

    def __init__(self, *, integrated: bool = False, memory_bytes: int = 1 << 30) -> None:
        self.integrated = integrated
        self.free_bytes = self.memory_bytes = memory_bytes
        self.violations: list[str] = []
        self.calls: list[str] = []
        self.most_at_once = 0
        self.streams: dict[int, Stream] = {}
        self.blocks: dict[int, Block] = {}
        self.graphs: set[object] = set()
        self.contexts_retained = 0
        self.sticky = OK
        self._current = threading.local()
        self._next = _FIRST_DEVICE_ADDRESS
        self._next_stream = 0x5000

    def module(self) -> ModuleType:
        module = ModuleType("cuda.bindings.driver")
        kinds = (CUresult, CUdevice_attribute, CUstream_flags, CUstreamCaptureMode)
        vars(module).update({kind.__name__: kind for kind in kinds}, CU_MEMHOSTALLOC_DEVICEMAP=2)
        for method in _METHODS:
            name = "cu" + "".join(word.capitalize() for word in method.split("_"))
            setattr(module, name, self._guarded(name, getattr(self, method)))
        return module

    @property
    def under_way(self) -> int:
        """How many inferences have been started and not been waited for."""
        return sum(any(work.kind == "infer" for work in stream.queue) for stream in self.streams.values())

    def live(self) -> list[str]:
        """What has not been given back."""
        kinds = {"blocks": self.blocks, "streams": self.streams, "graphs": self.graphs}
        return [f"{len(things)} {kind}" for kind, things in kinds.items() if things]

    def take(self, size: int) -> bool:
        """Take device memory, for TensorRT too; False where there is not enough."""
        if size > self.free_bytes:
            return False
        self.free_bytes -= size
        return True

    def drop_all_work(self) -> None:
        for stream in self.streams.values():
            stream.queue.clear()

    def has_context(self) -> bool:
        return getattr(self._current, "context", None) is not None

    def put(self, stream: Stream, work: Work) -> CUresult:
        """Put work on a stream, or into its recording."""
        if stream.recording is not None:
            stream.recording.append(work)
            return OK
        work.prepare()
        stream.queue.append(work)
        self.most_at_once = max(self.most_at_once, self.under_way)
        return OK

    def _guarded(self, name: str, call: Call) -> Call:
        """Note a call; without a current context, or after a failure of the device, all but a few fail."""
        free = ("cuInit", "cuDeviceGet", "cuCtxSetCurrent", "cuGetErrorName", "cuGetErrorString")

        def guarded(*arguments: object) -> tuple[object, ...]:
            self.calls.append(name)
            if name in free or name.startswith("cuDevice"):
                return call(*arguments)
            if not self.has_context():
                return (CUresult.CUDA_ERROR_INVALID_CONTEXT, None, None)
            return (self.sticky, None, None) if self.sticky else call(*arguments)

        return guarded

    def init(self, _flags: int) -> tuple[object, ...]:
        return (OK,)

    def device_get(self, _ordinal: int) -> tuple[object, ...]:
        return (OK, 0)

    def device_primary_ctx_retain(self, _device: int) -> tuple[object, ...]:
        self.contexts_retained += 1
        return (OK, "primary context")

    def device_primary_ctx_release(self, _device: int) -> tuple[object, ...]:
        self.contexts_retained -= 1
        if self.contexts_retained == 0 and self.live():
            self.violations.append(f"the context was let go with {', '.join(self.live())}")
        return (OK,)

    def ctx_set_current(self, context: object) -> tuple[object, ...]:
        self._current.context = context
        return (OK,)

    def device_get_attribute(self, _attribute: int, _device: int) -> tuple[object, ...]:
        return (OK, int(self.integrated))

    def mem_get_info(self) -> tuple[object, ...]:
        return (OK, self.free_bytes, self.memory_bytes)

    def get_error_name(self, error: CUresult) -> tuple[object, ...]:
        return (OK, error.name.encode())

    def get_error_string(self, error: CUresult) -> tuple[object, ...]:
        return (OK, error.name.replace("_", " ").lower().encode())

    def mem_host_alloc(self, size: int, flags: int) -> tuple[object, ...]:
        block = Block(size, (ctypes.c_ubyte * size)(), mapped=bool(flags & 2))
        address = ctypes.addressof(block.host)
        self.blocks[address] = block
        return (OK, address)

    def mem_host_get_device_pointer(self, host: int, _flags: int) -> tuple[object, ...]:
        block = self.blocks.get(host)
        if block is None or not block.mapped:
            return (CUresult.CUDA_ERROR_INVALID_VALUE, None)
        return (OK, self._placed(block))

    def mem_alloc(self, size: int) -> tuple[object, ...]:
        if any(stream.recording is not None for stream in self.streams.values()):
            return (CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, None)
        if not self.take(size):
            return (CUresult.CUDA_ERROR_OUT_OF_MEMORY, None)
        return (OK, self._placed(Block(size, (ctypes.c_ubyte * size)(), mapped=False)))

    def mem_free(self, address: int) -> tuple[object, ...]:
        self.free_bytes += self.blocks[int(address)].size
        return self._free(int(address))

    def mem_free_host(self, address: int) -> tuple[object, ...]:
        block = self.blocks[address]
        for other in [place for place, found in self.blocks.items() if found is block and place != address]:
            del self.blocks[other]
        return self._free(address)

    def stream_create(self, _flags: int) -> tuple[object, ...]:
        self._next_stream += 1
        stream = Stream(self._next_stream)
        self.streams[stream.handle] = stream
        return (OK, stream)

    def stream_destroy(self, stream: Stream) -> tuple[object, ...]:
        if stream.queue:
            self.violations.append("a stream was given back with work under way")
        del self.streams[stream.handle]
        return (OK,)

    def stream_synchronize(self, stream: Stream) -> tuple[object, ...]:
        if stream.recording is not None:
            stream.invalid = True
            return (CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,)
        while stream.queue:
            work = stream.queue.pop(0)
            self.sticky = self._illegal(work) or work.run()
            if self.sticky:
                self.drop_all_work()
                return (self.sticky,)
        return (OK,)

    def memcpy_hto_d_async(self, device: int, host: int, size: int, stream: int) -> tuple[object, ...]:
        source, target = self.blocks.get(host), self.blocks.get(int(device))
        if source is None or target is None or size > min(source.size, target.size):
            return (CUresult.CUDA_ERROR_INVALID_VALUE,)
        content = b""

        def remember() -> None:
            nonlocal content
            content = source.read(size)

        def copy() -> CUresult:
            if source.read(size) != content:
                self.violations.append("frames changed while a copy of them was under way")
            target.write(content)
            return OK

        return (self.put(self.streams[int(stream)], Work("copy in", (source, target), copy, remember)),)

    def memcpy_dto_h_async(self, host: int, device: int, size: int, stream: int) -> tuple[object, ...]:
        source, target = self.blocks.get(int(device)), self.blocks.get(host)
        if source is None or target is None or size > min(source.size, target.size):
            return (CUresult.CUDA_ERROR_INVALID_VALUE,)

        def poison() -> None:
            target.write(bytes([_POISON]) * size)

        def copy() -> CUresult:
            target.write(source.read(size))
            return OK

        return (self.put(self.streams[int(stream)], Work("copy out", (source, target), copy, poison)),)

    def stream_begin_capture(self, stream: Stream, _mode: int) -> tuple[object, ...]:
        if stream.recording is not None:
            return (CUresult.CUDA_ERROR_INVALID_VALUE,)
        stream.recording = []
        return (OK,)

    def stream_end_capture(self, stream: Stream) -> tuple[object, ...]:
        recorded, invalid = stream.recording, stream.invalid
        stream.recording, stream.invalid = None, False
        if recorded is None or invalid:
            return (CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, None)
        graph = tuple(recorded)
        self.graphs.add(graph)
        return (OK, graph)

    def graph_instantiate(self, graph: tuple[Work, ...], _flags: int) -> tuple[object, ...]:
        executable = (graph,)
        self.graphs.add(executable)
        return (OK, executable)

    def graph_destroy(self, graph: object) -> tuple[object, ...]:
        self.graphs.remove(graph)
        return (OK,)

    def graph_exec_destroy(self, executable: object) -> tuple[object, ...]:
        self.graphs.remove(executable)
        return (OK,)

    def graph_launch(self, executable: tuple[tuple[Work, ...]], stream: Stream) -> tuple[object, ...]:
        if executable not in self.graphs:
            self.violations.append("a graph was launched that had been given back")
        for work in executable[0]:
            self.put(stream, work)
        return (OK,)

    def _placed(self, block: Block) -> int:
        self._next += _SPACING
        self.blocks[self._next] = block
        return self._next

    def _free(self, address: int) -> tuple[object, ...]:
        block = self.blocks.pop(address)
        if any(block in work.blocks for stream in self.streams.values() for work in stream.queue):
            self.violations.append("memory was freed with work under way on it")
        block.freed = True
        block.write(bytes([_POISON]) * block.size)
        _KEPT.append(block)
        return (OK,)

    def _illegal(self, work: Work) -> CUresult:
        return CUresult.CUDA_ERROR_ILLEGAL_ADDRESS if any(block.freed for block in work.blocks) else OK


_METHODS = [
    "init",
    "device_get",
    "device_primary_ctx_retain",
    "device_primary_ctx_release",
    "ctx_set_current",
    "device_get_attribute",
    "mem_get_info",
    "get_error_name",
    "get_error_string",
    "mem_host_alloc",
    "mem_host_get_device_pointer",
    "mem_alloc",
    "mem_free",
    "mem_free_host",
    "stream_create",
    "stream_destroy",
    "stream_synchronize",
    "memcpy_hto_d_async",
    "memcpy_dto_h_async",
    "stream_begin_capture",
    "stream_end_capture",
    "graph_instantiate",
    "graph_destroy",
    "graph_exec_destroy",
    "graph_launch",
]
_KEPT: list[Block] = []
"""Freed memory stays readable, so that a use after free is found and does not crash."""
