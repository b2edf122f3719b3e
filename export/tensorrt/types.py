"""The part of TensorRT's Python API that is called here, as types.

Classes and members have the real names. A test holds each against `tensorrt_rtx` and against the stubs of
`tensorrt`; what only some versions have is asked for with `hasattr` in `library.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...runtime.backends.tensorrt.libraries import DataType


class ITensor(Protocol):
    """A tensor of a network."""

    name: str
    shape: Sequence[int]
    dtype: DataType


class ILayer(Protocol):
    """A layer of a network, as the parser made it."""

    name: str
    type: object
    metadata: str
    num_inputs: int
    num_outputs: int

    def get_input(self, index: int) -> ITensor | None:
        """Give an input; None where an optional one is absent."""

    def get_output(self, index: int) -> ITensor:
        """Give an output."""


class IConvolutionLayer(ILayer, Protocol):
    """A convolution. Its kernel and bias are empty where they come as tensors."""

    kernel: NDArray[np.generic]
    bias: NDArray[np.generic]


class IDeconvolutionLayer(IConvolutionLayer, Protocol):
    """A transposed convolution."""


class IConstantLayer(ILayer, Protocol):
    """A constant."""

    weights: NDArray[np.generic]


class INetworkDefinition(Protocol):
    """What the parser made of the ONNX file."""

    num_layers: int
    num_inputs: int
    num_outputs: int

    def get_layer(self, index: int) -> ILayer:
        """Give a layer, in topological order."""

    def get_input(self, index: int) -> ITensor:
        """Give one of the network's inputs."""

    def get_output(self, index: int) -> ITensor:
        """Give one of the network's outputs."""


class ParserError(Protocol):
    """Why the parser refuses a node."""

    def desc(self) -> str:
        """Tell what is wrong."""

    def node_name(self) -> str:
        """Give the ONNX node's name; empty where the file itself is the problem."""

    def node_operator(self) -> str:
        """Give its operator."""


class OnnxParser(Protocol):
    """Reads ONNX files."""

    num_errors: int

    def parse(self, model: bytes) -> bool:
        """Fill the network; False where that fails."""

    def get_error(self, index: int) -> ParserError:
        """Give one of the errors."""


class IOptimizationProfile(Protocol):
    """The shapes that an engine is built for."""

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None:
        """Set an input's smallest, usual and largest shape."""


class IHostMemory(Protocol):
    """A serialised engine, or a serialised timing cache."""

    def __buffer__(self, flags: int, /) -> memoryview:
        """Give its bytes."""


class ITimingCache(Protocol):
    """How long each tactic took."""

    def serialize(self) -> IHostMemory:
        """Give it as bytes."""


class IBuilderConfig(Protocol):
    """How an engine is built."""

    builder_optimization_level: int
    hardware_compatibility_level: object
    num_compute_capabilities: int
    profiling_verbosity: object
    progress_monitor: object

    def set_flag(self, flag: object) -> None:
        """Switch a `BuilderFlag` on."""

    def clear_flag(self, flag: object) -> None:
        """Switch a `BuilderFlag` off."""

    def set_memory_pool_limit(self, pool: object, pool_size: int) -> None:
        """Limit a memory pool, in bytes."""

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        """Add a profile; gives its index, or -1."""

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        """Make a timing cache of what an earlier build serialised; empty bytes make an empty one."""

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        """Use a cache; False where it is another device's or version's."""

    def get_timing_cache(self) -> ITimingCache | None:
        """Give the cache in use."""

    def set_compute_capability(self, compute_capability: object, compute_capability_index: int) -> bool:
        """Name a GPU to build for; False where that is refused."""


class Builder(Protocol):
    """Builds engines."""

    def create_network(self, flags: int) -> INetworkDefinition:
        """Make an empty network."""

    def create_builder_config(self) -> IBuilderConfig:
        """Make a configuration."""

    def create_optimization_profile(self) -> IOptimizationProfile:
        """Make a profile."""

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None:
        """Build an engine; None where that fails or is cancelled."""


class ICudaEngine(Protocol):
    """A loaded engine."""

    def create_engine_inspector(self) -> EngineInspector:
        """Make an inspector of it."""


class EngineInspector(Protocol):
    """Describes an engine's layers."""

    def get_engine_information(self, format: object) -> str:
        """Describe all layers."""


class Runtime(Protocol):
    """Loads engines."""

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        """Load an engine; None where that fails."""
