"""From what the user calls MODEL to an engine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeAlias

from ..artifact import refuse_pickle
from ..bundle import MANIFEST_NAME, Bundle
from ..contract import PRECISIONS, Precision
from ..errors import ArtifactError, BackendError, ParityError, SaliencyError, UsageError
from ..machine import find_gpu
from ..parity import GoldenReport, check_golden
from .backend import LoadOptions, Model
from .onnxruntime_backend import OnnxRuntimeModel
from .tensorrt.bundled import (
    has_engines,
    open_bundled_engine,
    open_engine,
    rebuild_engine,
    record_golden,
)
from .tensorrt.engine import TensorRtModel
from .tensorrt.receipt import bundle_of, read_receipt

PluginLoader: TypeAlias = Callable[[Path, tuple[int, int] | None], Model]
"""What an entry point of the group `saliency_edge.engines` is; its name is the suffix without the dot."""

PLUGIN_GROUP = "saliency_edge.engines"
DEFAULTS = LoadOptions()


def load_model(model: Path, precision: Precision | None = None, options: LoadOptions = DEFAULTS) -> Model:
    """Load a model with the backend that its kind asks for.

    A bundle is run by the TensorRT engine in it that fits this machine; where there is none, by ONNX Runtime,
    on the GPU if it can, else on the CPU. Each step down is said in a line.

    Args:
        model: a bundle (folder or .zip), an `.onnx`, an `.engine`, or on a workstation a `.safetensors`.
        precision: which model of a bundle; without it fp16, which is what ships, where the bundle has it.
        options: how it is loaded, and what may step into a backend's place.

    Raises:
        UsageError: nothing here can load that kind of file, or `precision` is not for it.
        ArtifactError: it is missing, damaged, for another machine, or a pickle, which is never loaded.
        BackendError: what runs it is not installed.
    """
    if not model.exists():
        raise ArtifactError(f"no such model: {model}. Make a bundle with saliency-export")
    if model.is_dir() or model.suffix == ".zip":
        return _engine_of_bundle(model, precision, options)
    refuse_pickle(model)
    if model.stat().st_size == 0:
        raise ArtifactError(f"{model} is empty. Make it again with saliency-export")
    engine = _engine_of_file(model, options)
    if precision is not None and engine.contract.precision != precision:
        engine.close()
        raise UsageError(
            f"{model} is {engine.contract.precision}, not {precision}. --precision chooses within a bundle"
        )
    return engine


def _engine_of_bundle(path: Path, precision: Precision | None, options: LoadOptions) -> Model:
    if path.is_dir() and not (path / MANIFEST_NAME).is_file():
        raise ArtifactError(
            f"{path} is no bundle: it holds no {MANIFEST_NAME}. Make one with saliency-export"
        )
    with Bundle.open(path) as bundle:
        chosen = bundle.precision_or_default(precision)
        onnx = bundle.model(chosen)
        try:
            return _bundled(bundle, chosen, options)
        except SaliencyError as error:
            if options.strict:
                raise
            if has_engines(bundle) or find_gpu() is not None:
                options.say(f"{error}. ONNX Runtime runs {chosen}.onnx in its place")
        return _engine_of_onnx(onnx, options)


def _bundled(bundle: Bundle, precision: Precision, options: LoadOptions) -> Model:
    """Open a bundle's engine; where that fails and it may be built anew, build it and open that one."""
    try:
        return open_bundled_engine(bundle, precision)
    except (ArtifactError, ParityError) as error:
        if not options.rebuild:
            raise
        options.say(str(error))
    rebuild_engine(bundle, precision, options.say)
    return open_bundled_engine(bundle, precision)


def _engine_of_file(path: Path, options: LoadOptions) -> Model:
    if path.suffix == ".onnx":
        return _engine_of_onnx(path, options)
    if path.suffix == ".engine":
        return _engine_of_tensorrt(path, options)
    return _plugin_loader(path)(path, None)


def _engine_of_onnx(path: Path, options: LoadOptions) -> Model:
    """Open an ONNX file; that a GPU stays unused is said, or refused."""
    engine = OnnxRuntimeModel.load(path, threads=options.threads)
    if engine.on_gpu or not (options.strict or find_gpu()):
        return engine
    remedy = "Install onnxruntime-gpu for the CUDA version here, or see saliency-doctor"
    if options.strict:
        engine.close()
        raise BackendError(f"{engine.description}: no CUDA, and --strict forbids the CPU. {remedy}")
    options.say(f"{engine.description}: the GPU stays unused. {remedy}")
    return engine


def _engine_of_tensorrt(path: Path, options: LoadOptions) -> Model:
    """Open an engine by its name: nothing steps into its place, but it can be built anew."""
    try:
        return open_engine(path)
    except (ArtifactError, ParityError) as error:
        folder = bundle_of(path)
        if not options.rebuild or folder is None:
            raise
        options.say(str(error))
    with Bundle.open(folder) as bundle:
        precision = _precision_of(path)
        rebuild_engine(bundle, precision, options.say)
        return open_bundled_engine(bundle, precision)


def _precision_of(engine: Path) -> Precision:
    """Read the precision off an engine's name, which ends with it; its receipt may be what is wrong."""
    found = next((name for name in PRECISIONS if engine.stem.endswith(f"-{name}")), None)
    return found or read_receipt(engine).asked_precision


def _plugin_loader(path: Path) -> PluginLoader:
    """Find who loads files of that suffix; the runtime does not import them, it finds them by name."""
    plugins = {f".{plugin.name}": plugin for plugin in entry_points(group=PLUGIN_GROUP)}
    if path.suffix not in plugins:
        known = ", ".join([".onnx", ".engine", *sorted(plugins)])
        raise UsageError(f"cannot run {path}: expected a bundle (folder or .zip) or a file in {known}")
    try:
        loader: PluginLoader = plugins[path.suffix].load()
    except ImportError as error:
        raise BackendError(
            f"{path} needs {error.name or error}, which is not installed. "
            "Add it: pip install 'saliency-edge[train]'"
        ) from error
    return loader


def check_model(
    model: Path, precision: Precision | None = None, options: LoadOptions = DEFAULTS
) -> GoldenReport:
    """Run a bundle's golden frames through the model that would run its videos.

    What is found about a TensorRT engine is written into its receipt too.

    Args:
        model: a bundle, or an engine or `.onnx` inside one.
        precision: as for `load_model`.
        options: as there.

    Raises:
        UsageError: the model lies in no bundle.
        SaliencyError: it cannot be loaded, or fails.
    """
    engine = load_model(model, precision, options)
    with closing(engine), Bundle.open(_bundle_around(model)) as bundle:
        on_gpu = isinstance(engine, OnnxRuntimeModel | TensorRtModel) and engine.on_gpu
        report = check_golden(engine, bundle.golden_file(), on_gpu=on_gpu)
        if isinstance(engine, TensorRtModel):
            record_golden(engine.path, report)
    return report


def _bundle_around(model: Path) -> Path:
    if model.is_dir() or model.suffix == ".zip":
        return model
    folder = bundle_of(model) if model.suffix == ".engine" else model.parent
    if folder is None or not (folder / MANIFEST_NAME).is_file():
        raise UsageError(f"{model} lies in no bundle, and golden frames do. Give the bundle to --check")
    return folder
