"""The installed library that runs a TensorRT engine, and the part of its Python API that is used, as types.

The protocols have TensorRT's real names. A test compares each with `tensorrt_lean` 10.16 and 11.4, with
`tensorrt_rtx` and with the stubs of `tensorrt` 10.13.
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Protocol, cast

from ...errors import BackendError
from ...machine import tensorrt_installation
from .cuda import MEMORY_REMEDY
from .receipt import TITLES, BuiltFlavour


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
        """Name of an input or output."""

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        """Shape of a tensor; -1 where it is dynamic."""

    def get_tensor_dtype(self, name: str) -> DataType:
        """Datatype of a tensor's elements."""

    def create_execution_context(self) -> IExecutionContext | None:
        """Make an execution context; None where that fails, mostly for want of memory."""


class Runtime(Protocol):
    """Loads engines."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        """Load an engine; None where that fails."""


MODULES: Mapping[BuiltFlavour, tuple[str, ...]] = {
    "rtx": ("tensorrt_rtx",),
    # The lean runtime comes last: it runs version-compatible engines only.
    "tensorrt": ("tensorrt", "tensorrt_lean", "tensorrt_lean_bindings"),
}
ERROR_SEVERITIES = ("ERROR", "INTERNAL_ERROR")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRtRuntime:
    """A package that runs engines of one flavour.

    Attributes:
        trt: the module.
        flavour: `rtx` or `tensorrt`.
        lean: whether it is the lean runtime, which takes version-compatible engines only.
        version: of the package, such as `10.3.0`.
        errors: what TensorRT said went wrong since the last call.
    """

    trt: ModuleType
    flavour: BuiltFlavour
    lean: bool
    version: str
    errors: list[str]
    logger: object

    @property
    def title(self) -> str:
        """Name and version, for people."""
        return f"{TITLES[self.flavour]}{' lean' if self.lean else ''} {self.version}"

    def load(self, content: bytes, name: str, *, with_host_code: bool) -> ICudaEngine:
        """Load an engine onto the GPU whose context is the calling thread's.

        Args:
            content: the engine.
            name: for the error's text.
            with_host_code: whether the engine brings code for the CPU, as version-compatible ones do.

        Raises:
            BackendError: TensorRT does not take it.
        """
        self.errors.clear()
        runtime = cast(Runtime, self.trt.Runtime(self.logger))
        if with_host_code:
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise BackendError(f"{self.title} does not load {name}: {self.reason()}")
        return engine

    def reason(self) -> str:
        """TensorRT's last error in one line, with a remedy."""
        said = " ".join(self.errors[-1].split()).rstrip(".") if self.errors else "it does not say why"
        return f"{said}. {MEMORY_REMEDY if 'memory' in said.lower() else 'Build the engine again'}"


@cache
def find_runtime(flavour: BuiltFlavour) -> TensorRtRuntime:
    """Import what runs engines of a flavour, once in a process.

    Raises:
        BackendError: it is not installed, or cannot be loaded.
    """
    problem = "is not installed"
    for name in MODULES[flavour]:
        try:
            trt = importlib.import_module(name)
        except ImportError as error:
            problem = f"cannot be imported ({error})"
            continue
        if hasattr(trt, "Runtime"):  # type stubs alone have none
            return _runtime(trt, flavour, lean="lean" in name)
    raise BackendError(f"{TITLES[flavour]} {problem}. {installation_remedy(flavour)}")


def installation_remedy(flavour: BuiltFlavour) -> str:
    """Sentence on how a TensorRT variant gets onto this machine."""
    source = tensorrt_installation(flavour)
    return f"Install it: {source}" if source else f"It does not exist for {platform.machine()}"


def _runtime(trt: ModuleType, flavour: BuiltFlavour, *, lean: bool) -> TensorRtRuntime:
    errors: list[str] = []

    def keep_error(severity: str, text: str) -> None:
        if severity in ERROR_SEVERITIES:
            errors.append(text)

    return TensorRtRuntime(
        trt=trt,
        flavour=flavour,
        lean=lean,
        version=str(trt.__version__),
        errors=errors,
        logger=make_logger(trt, keep_error),
    )


def make_logger(trt: ModuleType, on_message: Callable[[str, str], None]) -> object:
    """Make an `ILogger` that hands on severity and text; the builder and the runtime both need one."""

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]  # a base known only at run time
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: object, msg: str) -> None:
            on_message(str(getattr(severity, "name", severity)), msg)

    return Logger()
