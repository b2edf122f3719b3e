"""Make the ready bundle that ships, after its weights or the export have changed.

python docs/ready_bundle.py lite2 [BUNDLE]

Exports the shipped weights in fp16 and int8 (minutes), or takes a bundle that was exported of them, and
stores its files as deltas against the checkpoint: see runtime/ready.py.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from saliency_edge.runtime.ready import READY, WEIGHTS, rounded, unpack

SMALLEST_BYTES = 256  # shorter tensors are no gain


def tensors_of(weights: bytes) -> dict[str, tuple[int, int, tuple[int, ...]]]:
    """Where the tensors of a safetensors file lie: first byte, bytes and shape, by name."""
    (size,) = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8 : 8 + size])
    return {
        name: (
            8 + size + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
            tuple(entry["shape"]),
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def delta(target: bytes, model: onnx.ModelProto, weights: bytes) -> dict[str, NDArray[Any]]:
    """The delta of an ONNX file against a checkpoint."""
    tensors = tensors_of(weights)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    copies: list[tuple[int, ...]] = []
    int8: list[tuple[int, ...]] = []
    scales: list[NDArray[np.float32]] = []
    for name, tensor in constants.items():
        found = tensors.get(f"body.{name.removesuffix('.quantized')}")
        if found is None or len(tensor.raw_data) < SMALLEST_BYTES or target.count(tensor.raw_data) != 1:
            continue
        place, (source, size, shape) = target.index(tensor.raw_data), found
        if tensor.raw_data == weights[source : source + size]:
            copies.append((place, source, size))
        elif name.endswith(".quantized"):
            own = numpy_helper.to_array(constants[name.replace(".quantized", ".scale")]).astype(np.float32)
            kernel = np.frombuffer(weights, "<f2", size // 2, source).reshape(shape[0], -1)
            if rounded(kernel, own).tobytes() == tensor.raw_data:
                int8.append((place, source, size // 2, shape[0]))
                scales.append(own)
    literal, at = bytearray(), 0
    spans = [(place, size) for place, _, size in copies] + [(place, count) for place, _, count, _ in int8]
    for place, size in sorted(spans):
        literal += target[at:place]
        at = place + size
    literal += target[at:]
    return {
        "literal": np.frombuffer(bytes(literal), np.uint8),
        "copies": np.array(copies, np.int64).reshape(-1, 3),
        "rounded": np.array(int8, np.int64).reshape(-1, 4),
        "scales": np.concatenate([*scales, np.zeros(0, np.float32)]),
    }


def pack(bundle: Path, name: str) -> Path:
    """Write a bundle's fp16 and int8 models, golden frames and manifest into what ships."""
    weights = (WEIGHTS / f"{name}.safetensors").read_bytes()
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    manifest["models"] = {key: entry for key, entry in manifest["models"].items() if key != "fp32"}
    files = {
        "manifest.json": json.dumps(manifest, sort_keys=True).encode(),
        "golden.npz": (bundle / "golden.npz").read_bytes(),
    }
    arrays = {f"{file}/literal": np.frombuffer(content, np.uint8) for file, content in files.items()}
    for entry in manifest["models"].values():
        path = bundle / entry["file"]
        files[path.name] = path.read_bytes()
        made = delta(files[path.name], onnx.load(path), weights)
        arrays |= {f"{path.name}/{part}": values for part, values in made.items()}
    READY.mkdir(exist_ok=True)
    packed = READY / f"{name}.npz"
    np.savez_compressed(packed, **arrays)
    assert unpack(packed) == files
    return packed


def main(name: str, exported: str | None) -> None:
    """Export and pack."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(exported or f"{folder}/{name}")
        if exported is None:
            options = ("--network", name, "--fp16", "--int8", "--engine", "none", "--output", str(bundle))
            command = [sys.executable, "-m", "saliency_edge.export.cli", *options]
            subprocess.run(command, check=True)
        packed = pack(bundle, name)
    print(f"{packed}: {packed.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
