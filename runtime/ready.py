"""Bundles that ship ready to run, by name: `Predictor("lite2")` on a device without PyTorch or ONNX.

A bundle's models hold the same weights as the checkpoint that ships for training, so each is stored as a
delta against it: bytes of its own, ranges of the checkpoint, and convolution weights to be rounded to int8 as
`export/int8/scales.py` does. The first use writes the whole bundle into the user's cache; there it is a
bundle like any other, its files hashed in its manifest. Why: docs/adr/090-ready-bundle.md; made by
docs/ready_bundle.py.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .artifact import atomic_folder, sha256_of, temporary_directory, unwritable
from .bundle import MANIFEST_NAME
from .errors import ArtifactError, OutputError, UsageError
from .machine import cache_folder

READY = Path(__file__).parent / "bundles"
WEIGHTS = Path(__file__).parent.parent / "train" / "weights"
NETWORKS_GROUP = "saliency_edge.networks"

_LEVELS = 127


def ready_names() -> tuple[str, ...]:
    """Names of the bundles that ship."""
    return tuple(sorted(path.stem for path in READY.glob("*.npz")))


def find_model(path: Path) -> Path:
    """Where the user's MODEL lies: what is at that path, or else the shipped bundle of that name.

    Raises:
        UsageError: it is the name of a network that ships no ready bundle.
        ArtifactError: the shipped bundle is damaged.
    """
    name = str(path)
    if path.exists() or path.suffix or len(path.parts) != 1:
        return path
    if name in ready_names():
        return unpacked_bundle(name)
    if any(point.name == name for point in entry_points(group=NETWORKS_GROUP)):
        raise UsageError(
            f"no bundle {name} in this folder, and none ships ready (those that do: "
            f"{', '.join(ready_names())}). Make it on a workstation: saliency-export --network {name}"
        )
    return path


@cache
def unpacked_bundle(name: str) -> Path:
    """Write a shipped bundle into the user's cache, unless it is there; its folder.

    Where the cache cannot be written, a temporary folder takes its place until the process ends.

    Raises:
        ArtifactError: the delta or the checkpoint is damaged.
        OutputError: there is no room.
    """
    packed = READY / f"{name}.npz"
    folder = cache_folder() / "bundles" / sha256_of(packed)[:16] / name
    if _is_whole(folder):
        return folder
    files = unpack(packed)
    try:
        with atomic_folder(folder) as temporary:
            _write(temporary, files)
        return folder
    except OutputError:
        _temporary.append(temporary_directory("bundle"))
        folder = Path(_temporary[-1].name) / name
        folder.mkdir()
        _write(folder, files)
        return folder


_temporary: list[Any] = []
"""Temporary folders, kept until the process ends."""


def unpack(packed: Path) -> dict[str, bytes]:
    """The files of a shipped bundle by name.

    Raises:
        ArtifactError: the delta or the checkpoint is damaged, or they do not belong together.
    """
    try:
        with packed.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            parts = {name: arrays[name] for name in arrays.files}
        manifest = json.loads(parts[f"{MANIFEST_NAME}/literal"].tobytes())
        weights = (WEIGHTS / f"{manifest['network']}.safetensors").read_bytes()
        names = sorted({name.rpartition("/")[0] for name in parts})
        return {name: _patched(name, parts, weights) for name in names}
    except (OSError, EOFError, KeyError, ValueError, IndexError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtifactError(
            f"the bundle that ships as {packed.stem} is damaged ({error}). Install again"
        ) from error


def _patched(name: str, parts: Mapping[str, NDArray[Any]], weights: bytes) -> bytes:
    """Apply one file's delta.

    Its arrays: `literal`, the bytes that no other entry gives; `copies`, rows of (place in the file, place in
    the checkpoint, bytes); `rounded`, rows of (place in the file, place in the checkpoint, values, output
    channels) with `scales`, one for each output channel, of all rows.
    """
    literal = parts[f"{name}/literal"]
    if f"{name}/copies" not in parts:
        return literal.tobytes()
    pieces: list[tuple[int, bytes]] = []
    for place, source, size in parts[f"{name}/copies"].tolist():
        pieces.append((place, weights[source : source + size]))
    scales, used = parts[f"{name}/scales"], 0
    for place, source, count, channels in parts[f"{name}/rounded"].tolist():
        kernel = np.frombuffer(weights, "<f2", count, source).reshape(channels, -1)
        pieces.append((place, rounded(kernel, scales[used : used + channels]).tobytes()))
        used += channels
    own, found, taken = literal.tobytes(), bytearray(), 0
    for place, piece in sorted(pieces):
        gap = place - len(found)
        found += own[taken : taken + gap]
        taken += gap
        found += piece
    return bytes(found + own[taken:])


def rounded(kernel: NDArray[np.float16], scales: NDArray[np.float32]) -> NDArray[np.int8]:
    """Round a kernel, (O, ...), to int8, each output channel at its own scale, (O,)."""
    levels = np.rint(kernel.astype(np.float32) / scales[:, None])
    integers: NDArray[np.int8] = np.clip(levels, -_LEVELS, _LEVELS).astype(np.int8)
    return integers


def _is_whole(folder: Path) -> bool:
    """Whether a bundle's files are there at their sizes; their hashes are checked when they are loaded."""
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        entries = [*manifest["models"].values(), manifest["golden"]]
        return all((folder / entry["file"]).stat().st_size == entry["bytes"] for entry in entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise unwritable(folder, error) from error
