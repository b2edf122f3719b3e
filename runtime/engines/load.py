"""From what the user calls MODEL to an engine."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeAlias

from ..artifact import read_json, refuse_pickle, sha256_of
from ..bundle import MANIFEST_NAME, Bundle
from ..contract import Precision
from ..errors import ArtifactError, BackendError, UsageError
from .engine import Engine
from .ort_engine import OrtEngine

PluginLoader: TypeAlias = Callable[[Path, tuple[int, int] | None], Engine]
"""What an entry point of the group `saliency_edge.engines` is; its name is the suffix without the dot."""

PLUGIN_GROUP = "saliency_edge.engines"


def load_engine(model: Path, precision: Precision | None = None, *, threads: int | None = None) -> Engine:
    """Load a model with the backend that its kind asks for.

    Args:
        model: a bundle (folder or .zip), an `.onnx`, an `.engine`, or on a workstation a `.safetensors`.
        precision: which model of a bundle; without it fp16, which is what ships, where the bundle has it.
        threads: that compute one inference on the CPU; `None`: one for each core.

    Raises:
        UsageError: nothing here can load that kind of file, or `precision` is not for it.
        ArtifactError: it is missing, damaged, or a pickle, which is never loaded.
        BackendError: what runs it is not installed.
    """
    if not model.exists():
        raise ArtifactError(f"no such model: {model}. Make a bundle with saliency-export")
    if model.is_dir() or model.suffix == ".zip":
        return _engine_of_bundle(model, precision, threads)
    refuse_pickle(model)
    if model.stat().st_size == 0:
        raise ArtifactError(f"{model} is empty. Make it again with saliency-export")
    engine = _engine_of_file(model, threads)
    if precision is not None and engine.contract.precision != precision:
        raise UsageError(
            f"{model} is {engine.contract.precision}, not {precision}. --precision chooses within a bundle"
        )
    return engine


def _engine_of_bundle(path: Path, precision: Precision | None, threads: int | None) -> Engine:
    if path.is_dir() and not (path / MANIFEST_NAME).is_file():
        raise ArtifactError(
            f"{path} is no bundle: it holds no {MANIFEST_NAME}. Make one with saliency-export"
        )
    with Bundle.open(path) as bundle:
        return OrtEngine.load(bundle.model(bundle.precision_or_default(precision)), threads=threads)


def _engine_of_file(path: Path, threads: int | None) -> Engine:
    if path.suffix == ".onnx":
        return OrtEngine.load(path, threads=threads)
    if path.suffix == ".engine":
        return _engine_of_tensorrt(path)
    return _plugin_loader(path)(path, None)


def _engine_of_tensorrt(path: Path) -> Engine:
    """Hold a TensorRT engine against its receipt."""
    receipt_path = path.with_suffix(".receipt.json")
    if not receipt_path.is_file():
        raise ArtifactError(f"{path} has no {receipt_path.name} beside it. Build it again: saliency-export")
    expected, found = read_json(receipt_path).get("sha256", ""), sha256_of(path)
    if found != expected:
        raise ArtifactError(
            f"{path} is damaged: sha256 {found[:8]}… is not the receipt's {expected[:8]}…. "
            "Build it again: saliency-export"
        )
    raise BackendError(
        f"{path} is whole, but TensorRT engines need an NVIDIA GPU, and this version does not run them yet. "
        "Run the bundle or the .onnx that it was built from"
    )


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
