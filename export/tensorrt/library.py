"""TensorRT and TensorRT-RTX behind one face: the one place that finds them and knows their differences.

What a version can do is asked of the module itself with `hasattr`, never concluded from its version's number.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Literal, cast

from ...runtime.backends.tensorrt.libraries import ERROR_SEVERITIES, MODULES, installation_remedy, make_logger
from ...runtime.backends.tensorrt.receipt import TITLES, BuildOptions, BuiltFlavour
from ...runtime.console import warn
from ...runtime.errors import BackendError, UsageError
from ...runtime.machine import find_gpu, tensorrt_installation
from .types import Builder, IBuilderConfig, INetworkDefinition, OnnxParser, Runtime

Flavour = Literal["auto", "none", "rtx", "tensorrt"]

_CURRENT = "CURRENT"
_UPGRADE = "TensorRT 10.3 is the oldest supported; on a Jetson, move to JetPack 6.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlavourStatus:
    """Whether engines of a flavour can be built here.

    Attributes:
        flavour: `rtx` or `tensorrt`.
        version: of the installed package; None where it cannot be imported.
        problem: why it cannot be used, and the remedy; None where it can.
    """

    flavour: BuiltFlavour
    version: str | None
    problem: str | None


class TensorRt:
    """One of the two packages, imported.

    Attributes:
        flavour: `rtx` or `tensorrt`.
        title: its name in messages.
        version: its own, such as `1.7.1.116`.
        log: the messages of the build under way, or of the last one.
    """

    def __init__(self, flavour: BuiltFlavour, trt: ModuleType) -> None:
        """Take the module; use `load` to get one."""
        self.flavour: BuiltFlavour = flavour
        self.title = TITLES[flavour]
        self.version = str(trt.__version__)
        self.log = BuildLog()
        self.trt = trt
        self._logger = make_logger(trt, self.log.add)  # TensorRT keeps the first logger of a process for good

    @property
    def builds_ahead(self) -> bool:
        """Whether it builds for GPUs that are not there, by their compute capability."""
        return hasattr(self.trt.IBuilderConfig, "set_compute_capability")

    @property
    def targets(self) -> tuple[str, ...]:
        """Compute capabilities to build for, such as `sm75`; none where it builds for this machine's GPU
        only.
        """
        if not self.builds_ahead:
            return ()
        names = self.trt.ComputeCapability.__members__
        return tuple(name.lower() for name in names if name.startswith("SM"))

    def builder(self) -> Builder:
        """Make a builder.

        Raises:
            BackendError: TensorRT refuses to start, mostly for want of a GPU or a driver.
        """
        try:
            return cast(Builder, self.trt.Builder(self._logger))
        except TypeError as error:  # pybind11's word for a null pointer
            reason = self.log.errors[-1] if self.log.errors else str(error)
            raise BackendError(f"{self.title} {self.version} cannot start its builder: {reason}") from error

    def network(self, builder: Builder) -> INetworkDefinition:
        """Make an empty network, strongly typed: the ONNX file alone decides on precision."""
        kinds = self.trt.NetworkDefinitionCreationFlag
        flags = 1 << int(kinds.STRONGLY_TYPED) if hasattr(kinds, "STRONGLY_TYPED") else 0
        return builder.create_network(flags)

    def parser(self, network: INetworkDefinition) -> OnnxParser:
        """Make a parser that fills `network`. It owns the weights: keep it until the engine is built."""
        return cast(OnnxParser, self.trt.OnnxParser(network, self._logger))

    def config(self, builder: Builder, options: BuildOptions, target: str | None) -> IBuilderConfig:
        """Say how to build.

        Args:
            builder: the one that will build.
            options: what the user chose.
            target: a compute capability such as `sm86`; None for the GPU that is here.

        Raises:
            UsageError: an option does not exist in this flavour or version.
            BackendError: the target is refused.
        """
        trt, config = self.trt, builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if not options.tf32 and hasattr(trt.BuilderFlag, "TF32"):
            config.clear_flag(trt.BuilderFlag.TF32)
        if options.workspace_mib is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
        if options.optimization_level is not None:
            config.builder_optimization_level = options.optimization_level
        self._set_compatibility(config, options)
        if self.builds_ahead:
            self._set_target(config, target)
        return config

    def check_options(self, options: BuildOptions) -> None:
        """See that this flavour has all that the user chose.

        Raises:
            UsageError: an option does not exist in it, or in this version.
        """
        if self.builds_ahead and (options.version_compatible or options.hardware_compatible):
            raise UsageError(
                f"{self.title} takes GPUs by --target instead of version or hardware compatibility"
            )
        if options.version_compatible and not hasattr(self.trt.BuilderFlag, "VERSION_COMPATIBLE"):
            raise UsageError(f"{self.title} {self.version} builds no version-compatible engines")
        if options.hardware_compatible and not hasattr(self.trt, "HardwareCompatibilityLevel"):
            raise UsageError(f"{self.title} {self.version} builds no hardware-compatible engines")

    def _set_compatibility(self, config: IBuilderConfig, options: BuildOptions) -> None:
        self.check_options(options)
        if options.version_compatible:
            config.set_flag(self.trt.BuilderFlag.VERSION_COMPATIBLE)
        if options.hardware_compatible:
            config.hardware_compatibility_level = self.trt.HardwareCompatibilityLevel.AMPERE_PLUS

    def _set_target(self, config: IBuilderConfig, target: str | None) -> None:
        config.num_compute_capabilities = 1
        capability = getattr(self.trt.ComputeCapability, target.upper() if target else _CURRENT)
        if not config.set_compute_capability(capability, 0):
            raise BackendError(f"{self.title} {self.version} refuses to build for {target or 'this GPU'}")

    def use_timing_cache(self, config: IBuilderConfig, known: bytes) -> None:
        """Let the builder reuse, and add to, how long each tactic took in earlier builds.

        Args:
            config: the one that will be built with.
            known: what `timings` gave; empty for a new cache. Another device's or version's is passed over.
        """
        cache = config.create_timing_cache(known)
        if not config.set_timing_cache(cache, False):
            config.set_timing_cache(config.create_timing_cache(b""), False)

    def timings(self, config: IBuilderConfig) -> bytes:
        """Give the timing cache after a build; empty where there is none."""
        cache = config.get_timing_cache()
        return b"" if cache is None else bytes(cache.serialize())

    def build(
        self,
        builder: Builder,
        network: INetworkDefinition,
        config: IBuilderConfig,
        progress: ProgressSink,
        cancelled: threading.Event,
    ) -> bytes | None:
        """Build an engine.

        Returns:
            The serialised engine; None where the build failed (see `log.errors`) or was cancelled.
        """
        config.progress_monitor = make_monitor(self.trt, progress, cancelled)
        with quiet_stdout():
            plan = builder.build_serialized_network(network, config)
        return None if plan is None else bytes(plan)

    def describe(self, engine: bytes) -> str:
        """Load an engine, which takes a GPU, and describe its layers, a line each; empty where that fails."""
        runtime = cast(Runtime, self.trt.Runtime(self._logger))
        loaded = runtime.deserialize_cuda_engine(engine)
        if loaded is None:
            return ""
        inspector = loaded.create_engine_inspector()
        return inspector.get_engine_information(self.trt.LayerInformationFormat.ONELINE)


@cache
def load(flavour: BuiltFlavour) -> TensorRt:
    """Import a flavour, once in a process.

    Raises:
        BackendError: it is not installed, cannot be loaded, or is too old.
    """
    name = MODULES[flavour][0]  # the lean runtime, which comes later, has no builder
    remedy = installation_remedy(flavour)
    try:
        trt = importlib.import_module(name)
    except ImportError as error:
        raise BackendError(f"{name} cannot be imported ({error}). {remedy}") from error
    if not hasattr(trt, "Builder"):  # type stubs without the package, or the lean runtime under its name
        raise BackendError(f"{name} is here without its builder. {remedy}")
    if not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") and hasattr(trt.BuilderFlag, "FP16"):
        raise BackendError(f"{name} {trt.__version__} is too old for strongly typed networks. {_UPGRADE}")
    return TensorRt(flavour, trt)


def available_flavours() -> tuple[FlavourStatus, ...]:
    """Whether engines can be built on this machine with each flavour that exists for it, and why not."""
    return tuple(
        _status(flavour)
        for flavour, (name, *_) in MODULES.items()
        if tensorrt_installation(flavour) or find_spec(name)
    )


def choose(flavour: Flavour) -> TensorRt | None:
    """Find what to build with.

    Args:
        flavour: `auto` takes TensorRT where there is a GPU for it, else TensorRT-RTX, else nothing.

    Returns:
        None for `none`, and for `auto` where neither can be used.

    Raises:
        BackendError: the flavour asked for cannot be used.
    """
    if flavour == "none":
        return None
    if flavour != "auto":
        status = _status(flavour)
        if status.problem:
            raise BackendError(status.problem)
        return load(flavour)
    usable = {status.flavour for status in available_flavours() if not status.problem}
    order: tuple[BuiltFlavour, ...] = ("tensorrt", "rtx")
    return next((load(candidate) for candidate in order if candidate in usable), None)


def _status(flavour: BuiltFlavour) -> FlavourStatus:
    try:
        api = load(flavour)
    except BackendError as error:
        return FlavourStatus(flavour=flavour, version=None, problem=str(error))
    problem = None
    if not api.builds_ahead and find_gpu() is None:
        problem = f"{api.title} {api.version} builds only where there is an NVIDIA GPU with its driver"
    return FlavourStatus(flavour=flavour, version=api.version, problem=problem)


ProgressSink = Callable[[float, str], None]
"""Takes note of how far a build has come: 0 to 1, never falling, and TensorRT's name of what it does."""

_KEPT_FACTS = ("LayerType: ", "Memory: ")
_SCREEN = 1


class BuildLog:
    """TensorRT's messages: errors, and the few verbose ones that describe the engine."""

    def __init__(self) -> None:
        """Start empty."""
        self.errors: list[str] = []
        self.facts: list[str] = []

    def add(self, severity: str, text: str) -> None:
        """Keep a message if it is of use; a verbose log may have 100,000 others."""
        if severity in ERROR_SEVERITIES:
            self.errors.append(text)
        elif any(mark in text for mark in _KEPT_FACTS):
            self.facts.append(text)

    def clear(self) -> None:
        """Forget the messages of an earlier build."""
        self.errors.clear()
        self.facts.clear()


class PhaseTree:
    """TensorRT's nested phases as one fraction."""

    def __init__(self) -> None:
        """Start before the first phase."""
        self._open: dict[str, tuple[int, int]] = {}  # name -> steps done, steps in all; outermost first
        self._fraction = 0.0

    def start(self, phase: str, steps: int) -> None:
        """Enter a phase."""
        self._open[phase] = (0, max(steps, 1))

    def step(self, phase: str, step: int) -> float:
        """Complete a phase's step, counted from 0, and give the whole's fraction."""
        if phase in self._open:
            self._open[phase] = (step + 1, self._open[phase][1])
        share, fraction = 1.0, 0.0
        for done, steps in self._open.values():
            share /= steps
            fraction += share * done
        self._fraction = min(max(self._fraction, fraction), 1.0)
        return self._fraction

    def finish(self, phase: str) -> None:
        """Leave a phase."""
        self._open.pop(phase, None)


def make_monitor(trt: ModuleType, progress: ProgressSink, cancelled: threading.Event) -> object:
    """Make an `IProgressMonitor` that shows progress and cancels the build when `cancelled` is set.

    No exception leaves it: its caller is TensorRT's C++.
    """
    phases = PhaseTree()

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]  # as above
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, _parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with suppress(Exception):  # a closed terminal must not end the build
                progress(phases.step(phase_name, step), phase_name)
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()


@contextmanager
def noting_interrupts() -> Iterator[threading.Event]:
    """Turn Ctrl-C into an event, as no exception may pass through C++, and raise it at the block's end."""
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    previous = signal.signal(signal.SIGINT, lambda *_: noted.set())
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, previous)
    if noted.is_set():
        raise KeyboardInterrupt


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """Swallow what TensorRT's compiler prints past its logger: stdout may be a program's JSON."""
    sys.stdout.flush()
    screen = os.dup(_SCREEN)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), _SCREEN)
        try:
            yield
        finally:
            os.dup2(screen, _SCREEN)
            os.close(screen)


_SECONDS_BETWEEN_LINES = 10.0


def showing_progress(title: str) -> AbstractContextManager[ProgressSink]:
    """Show a build's progress on stderr while the block runs.

    Args:
        title: what is built.
    """
    return _bar(title) if sys.stderr.isatty() else _lines(title)


@contextmanager
def _bar(title: str) -> Iterator[ProgressSink]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    phase = TextColumn("{task.fields[phase]}")
    columns = (title, BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), phase)
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as bar:
        task = bar.add_task(title, total=1.0, phase="")
        yield lambda fraction, phase: bar.update(task, completed=fraction, phase=phase)


@contextmanager
def _lines(title: str) -> Iterator[ProgressSink]:
    due_s = time.monotonic() + _SECONDS_BETWEEN_LINES

    def show(fraction: float, phase: str) -> None:
        nonlocal due_s
        if time.monotonic() >= due_s:
            due_s = time.monotonic() + _SECONDS_BETWEEN_LINES
            warn(f"{title}: {fraction:.0%}, {phase}")

    yield show
