"""Writing a bundle: the folder that carries all that a device needs. `runtime/bundle.py` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.artifact import finite, sha256_of, write_json
from ..runtime.bundle import MANIFEST_NAME, SCHEMA
from ..runtime.contract import PRECISIONS, Contract, Precision
from ..runtime.errors import OutputError
from .frames import FrameSet
from .int8.results import Int8Result
from .parity import Parity
from .range_scan import RangeScan
from .report import HTML_NAME, JSON_NAME
from .temporal import TemporalParity

if TYPE_CHECKING:
    import onnx

    from ..train.checkpoint import Checkpoint

GOLDEN_NAME = "golden.npz"
ENGINES_NAME = "engines"
_MODEL_NAMES: Mapping[Precision, str] = {precision: f"{precision}.onnx" for precision in PRECISIONS}
RANGES_NAME = "int8.ranges.json"
_OWN_NAMES = {
    MANIFEST_NAME,
    GOLDEN_NAME,
    ENGINES_NAME,
    RANGES_NAME,
    HTML_NAME,
    JSON_NAME,
    *_MODEL_NAMES.values(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What an export found out, for the manifest.

    Attributes:
        scan: ranges of the fp32 graph.
        kept_fp32: nodes of the fp16 graph that stay fp32, and why; none where there is no fp16 graph.
        parities: of each exported graph.
        int8: what the search for an int8 graph found; None where none was asked for.
        temporal: how int8 moves on a clip; None where there is no int8 graph.
    """

    scan: RangeScan
    kept_fp32: Mapping[str, str]
    parities: list[Parity]
    int8: Int8Result | None = None
    temporal: TemporalParity | None = None


def check_output(path: Path) -> None:
    """See that a bundle may take `path`'s place: nothing is there, an empty folder, or a bundle alone.

    Raises:
        OutputError: something is there that saliency-export did not write.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise OutputError(f"cannot write the bundle {path}: it is a file. Choose another --output")
    names = {item.name for item in path.iterdir()}
    foreign = sorted(names - _OWN_NAMES) or (sorted(names) if MANIFEST_NAME not in names else [])
    if foreign:
        raise OutputError(
            f"{path} would be replaced, but it holds {foreign[0]}, which is no part of a bundle. "
            "Move it away, or choose another --output"
        )


def write_model(folder: Path, model: onnx.ModelProto, precision: Precision) -> Path:
    """Write a graph into the bundle, its weights inside; give the file."""
    path = folder / _MODEL_NAMES[precision]
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def write_golden(folder: Path, frames: FrameSet, maps: NDArray[np.float32]) -> None:
    """Write frames and PyTorch's maps of them, for a check on the device without PyTorch.

    Arrays: `names` (K,), `frames` uint8 (K, H, W, 3) BGR, `maps` float32 (K, h, w).
    """
    np.savez_compressed(folder / GOLDEN_NAME, names=np.array(frames.names), frames=frames.pixels, maps=maps)


def write_manifest(
    folder: Path, contract: Contract, checkpoint: Checkpoint, measured: Measured
) -> dict[str, Any]:
    """Write the manifest over the files that are there, and give it.

    Raises:
        OutputError: it cannot be written.
    """
    shared = {
        key: value for key, value in asdict(contract).items() if key not in ("precision", "weights_sha256")
    }
    models = {
        precision: file_entry(folder / name)
        for precision, name in _MODEL_NAMES.items()
        if (folder / name).is_file()
    }
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        **shared,
        "models": models,
        "golden": file_entry(folder / GOLDEN_NAME),
        "lineage": {
            "weights_sha256": contract.weights_sha256,
            **_ranges_lineage(folder),
            "record": checkpoint.record,
        },
        "range_scan": _scan_json(measured),
        "parity": {parity.label: parity.to_json() for parity in measured.parities},
        **({"int8": measured.int8.to_json()} if measured.int8 else {}),
        **({"temporal": measured.temporal.to_json()} if measured.temporal else {}),
        "tools": _tools(),
    }
    manifest = finite(manifest)  # the SQNR of equal maps is infinite
    write_json(folder / MANIFEST_NAME, manifest)
    return manifest


def _ranges_lineage(folder: Path) -> dict[str, str]:
    """Name the activation ranges by their hash, where int8 scales were chosen from some."""
    path = folder / RANGES_NAME
    return {"ranges_sha256": sha256_of(path)} if path.is_file() else {}


def file_entry(path: Path) -> dict[str, str | int]:
    """Describe a file as the manifest does."""
    return {"file": path.name, "sha256": sha256_of(path), "bytes": path.stat().st_size}


def _scan_json(measured: Measured) -> dict[str, Any]:
    scan = measured.scan
    return {
        "frames": scan.frames,
        "max_abs": {name: float(f"{value:.5g}") for name, value in scan.max_abs.items()},
        "near_fp16_limit": sorted(scan.near()),
        "kept_fp32": measured.kept_fp32,
    }


def _tools() -> dict[str, str]:
    """Versions of what made the bundle."""
    import onnx
    import onnxruntime
    import onnxscript
    import torch

    modules = (torch, onnx, onnxscript, onnxruntime)
    return {module.__name__: str(module.__version__).partition("+")[0] for module in modules}
