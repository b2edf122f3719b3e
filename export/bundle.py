"""Writing a bundle: the folder that carries all that a device needs. `runtime/bundle.py` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..calib.frames import files_read
from ..runtime.artifact import finite, is_temporary, sha256_of, write_json
from ..runtime.backends.records import RECORDS_NAME
from ..runtime.bundle import MANIFEST_NAME, SCHEMA
from ..runtime.contract import PRECISIONS, Contract, Precision
from ..runtime.errors import OutputError
from ..runtime.outputs import OutputPlan
from .frames import FrameSet
from .int8.options import Int8Options
from .int8.results import Int8Result
from .parity import Parity
from .range_scan import RangeScan
from .report import HTML_NAME, JSON_NAME
from .temporal import TemporalParity

if TYPE_CHECKING:
    import onnx

    from .to_onnx import Original

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
    RECORDS_NAME,
    *_MODEL_NAMES.values(),
}
_ENGINE_SUFFIXES = (".engine", ".receipt.json", ".timing")


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


def check_outputs(output: Path, cache_file: Path | None, weights: Path, int8: Int8Options) -> None:
    """See, before the work begins, that a bundle can be written and destroys nothing that is read.

    Args:
        output: the bundle's folder.
        cache_file: what a search for an int8 graph leaves when it is stopped; None without one.
        weights: the checkpoint.
        int8: with the frames and ranges that calibrate.

    Raises:
        UsageError: something that is read lies in the folder that would be replaced.
        OutputError: the folder cannot be written, or holds what saliency-export did not write.
    """
    plan = OutputPlan()
    plan.read_file("--weights", weights)
    plan.read_file("--ranges", int8.ranges)
    if int8.calib is not None:
        for path in files_read([str(int8.calib)]):
            plan.read_file("--calib", path)
    plan.write_folder("--output", output, check_bundle_folder)
    plan.write_file("the int8 search's", cache_file)
    plan.check()


def check_bundle_folder(path: Path) -> None:
    """See that a bundle may take `path`'s place: nothing is there, an empty folder, or a bundle alone.

    Raises:
        OutputError: something is there that saliency-export did not write.
    """
    if not path.is_dir():  # whoever writes there says what it is
        return
    names = {item.name for item in path.iterdir() if not is_temporary(item.name)}
    is_bundle = {MANIFEST_NAME, GOLDEN_NAME} <= names
    foreign = sorted(names - _OWN_NAMES if is_bundle else names)
    engines = path / ENGINES_NAME
    if is_bundle and engines.is_dir():
        foreign += [f"{ENGINES_NAME}/{item.name}" for item in engines.iterdir() if not _is_engine_file(item)]
    if foreign:
        raise OutputError(
            f"{path} would be replaced, but it holds {foreign[0]}, which is no part of a bundle. "
            "Move it away, or choose another --output"
        )


def _is_engine_file(path: Path) -> bool:
    return is_temporary(path.name) or path.name.endswith(_ENGINE_SUFFIXES)


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
    folder: Path, contract: Contract, original: Original, measured: Measured
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
        "reference": original.label,
        "lineage": {
            "weights_sha256": contract.weights_sha256,
            **_ranges_lineage(folder),
            "record": original.record,
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
