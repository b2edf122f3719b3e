"""int8 bundles of the shipped networks, made once for each content: weights, ranges, code and libraries."""

from __future__ import annotations

import hashlib
import shutil
from importlib.metadata import version
from pathlib import Path

from saliency_edge.calib.ranges import shipped_ranges
from saliency_edge.export.export_checkpoint import ExportPlan, export_checkpoint
from saliency_edge.export.tensorrt.build import EnginePlan
from saliency_edge.runtime.artifact import sha256_of
from saliency_edge.train.checkpoint import shipped_weights

REPOSITORY = Path(__file__).resolve().parent.parent
_CODE = ("export", "calib", "train/networks", "runtime/fit.py", "runtime/parity.py", "runtime/contract.py")
_LIBRARIES = ("torch", "onnx", "onnxruntime", "opencv-python", "openvino", "numpy")


def shipped_bundle(network: str) -> Path:
    """Export a shipped network to int8 as `saliency-export --int8` does, unless the same was done before.

    The bundle lies in the checkout's .cache, is shared by all tests and must not be changed.
    """
    folder = REPOSITORY / ".cache" / "shipped" / network
    bundle = folder / _key(network) / network
    if not bundle.is_dir():
        shutil.rmtree(folder, ignore_errors=True)  # of another content
        bundle.parent.mkdir(parents=True)
        plan = ExportPlan(
            weights=shipped_weights(network),
            network=network,
            size_hw=None,
            output=bundle,
            precisions=("int8",),
            batch=(1, 1),
            opset=19,
            engines=EnginePlan(flavour="none", targets=()),
        )
        export_checkpoint(plan, print)
    return bundle


def _key(network: str) -> str:
    digest = hashlib.sha256()
    ranges = shipped_ranges(network)
    assert ranges is not None
    files = [shipped_weights(network), ranges]
    for name in _CODE:
        path = REPOSITORY / name
        files += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    for file in files:
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    for library in _LIBRARIES:
        digest.update(f"{library} {_version(library)}\n".encode())
    return digest.hexdigest()[:16]


def _version(library: str) -> str:
    try:
        return version(library)
    except ImportError:
        return "none"
