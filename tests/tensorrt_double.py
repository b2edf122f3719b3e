"""A double of TensorRT's runtime on `cuda_double`: engines compute real maps, in ONNX Runtime.

A serialised engine is a mark and the ONNX file. Rules that TensorRT states are enforced: addresses and shapes
are set before use, a context works on one stream at a time, never on the default one, and its first inference
at a shape cannot be recorded.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cuda_double import CudaDouble
from cuda_parts import OK, CUresult, Stream, Work

MARK = b"TensorRT double\n"


class DataType(Enum):
    FLOAT = np.float32
    UINT8 = np.uint8


_DTYPES = {"tensor(float)": DataType.FLOAT, "tensor(uint8)": DataType.UINT8}


class ILogger:
    def __init__(self) -> None:
        self.is_made = True


class Severity(Enum):
    ERROR = 1
    VERBOSE = 4


@dataclass(kw_only=True)
class TensorRtDouble:
    """What the double can do, and what it has noticed; `module()` stands in for `tensorrt`."""

    cuda: CudaDouble
    version: str = "10.3.0"
    capturable: bool = True
    context_bytes: int = 1 << 20
    contexts: list[weakref.ref[Any]] = field(default_factory=list)
    host_code_allowed: bool = False

    def module(self, name: str = "tensorrt") -> ModuleType:
        double = self

        class Runtime:
            def __init__(self, logger: ILogger) -> None:
                assert logger.is_made, "ILogger.__init__ was not called"
                self.logger: Any = logger
                self.engine_host_code_allowed = False

            def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
                double.host_code_allowed = self.engine_host_code_allowed
                if not double.cuda.has_context():
                    return self.logger.log(Severity.ERROR, "Cuda Runtime (invalid device context)")
                if not serialized_engine.startswith(MARK):
                    return self.logger.log(Severity.ERROR, "Serialization assertion failed: magic tag\n")
                return Engine(double, self.logger, serialized_engine[len(MARK) :])

        module = ModuleType(name)
        vars(module).update(Runtime=Runtime, ILogger=ILogger, __version__=self.version)
        return module


Install = Callable[..., TensorRtDouble]


class Engine:
    def __init__(self, double: TensorRtDouble, logger: Any, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.double, self.logger = double, logger
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.tensors = {item.name: item for item in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(side if isinstance(side, int) else -1 for side in self.tensors[name].shape)

    def get_tensor_dtype(self, name: str) -> DataType:
        return _DTYPES[self.tensors[name].type]

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute maps; a test may put something else here."""
        maps: NDArray[np.float32] = self.session.run(["saliency"], {"frame": frames})[0]
        return maps

    def create_execution_context(self) -> Context | None:
        if not self.double.cuda.take(self.double.context_bytes):
            return self.logger.log(Severity.ERROR, "Requested amount of GPU memory could not be allocated")
        context = Context(self)
        weakref.finalize(
            context, self.double.cuda.__class__.take, self.double.cuda, -self.double.context_bytes
        )
        self.double.contexts.append(weakref.ref(context))
        return context


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.double = engine.double
        self.addresses: dict[str, int] = {}
        self.shape = engine.get_tensor_shape("frame")
        self.warm: set[tuple[int, ...]] = set()

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        built = self.engine.get_tensor_shape(name)
        if len(shape) != len(built) or any(b not in (-1, s) for s, b in zip(shape, built, strict=True)):
            return self.refuse(f"shape {tuple(shape)} is not what the engine was built for")
        self.shape = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return name in self.engine.tensors or self.refuse(f"no tensor {name}")

    def execute_async_v3(self, stream_handle: int) -> bool:
        cuda = self.double.cuda
        stream = cuda.streams.get(stream_handle)
        if stream is None:
            cuda.violations.append("an inference was put on the default stream, or on one given back")
            return False
        if set(self.addresses) != set(self.engine.tensors):
            return self.refuse("an address is not set")
        if -1 in self.shape:
            return self.refuse("a shape is not set")
        if stream.recording is not None and (self.shape not in self.warm or not self.double.capturable):
            stream.invalid = True
            return self.refuse("operation not permitted when stream is capturing")
        if self.is_busy_elsewhere(stream):
            cuda.violations.append("a context worked on two streams at once")
        self.warm.add(self.shape)
        return cuda.put(stream, self.inference()) == OK

    def inference(self) -> Work:
        """One inference, with addresses and shape as they are now."""
        cuda, shape, engine = self.double.cuda, self.shape, self.engine
        source, target = (cuda.blocks[self.addresses[name]] for name in ("frame", "saliency"))

        def run() -> CUresult:
            count = int(np.prod(shape))
            if count > source.size:
                return CUresult.CUDA_ERROR_ILLEGAL_ADDRESS
            frames = np.frombuffer(source.read(count), np.uint8).reshape(shape)
            maps = engine.run(frames).tobytes()
            if len(maps) > target.size:
                return CUresult.CUDA_ERROR_ILLEGAL_ADDRESS
            target.write(maps)
            return OK

        return Work("infer", (source, target), run, owner=weakref.ref(self))

    def is_busy_elsewhere(self, stream: Stream) -> bool:
        others = (other for other in self.double.cuda.streams.values() if other is not stream)
        return any(
            work.owner is not None and work.owner() is self for other in others for work in other.queue
        )

    def refuse(self, reason: str) -> bool:
        self.engine.logger.log(Severity.ERROR, f"IExecutionContext: {reason}.")
        return False
