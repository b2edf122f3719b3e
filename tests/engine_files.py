"""Engines for the double of TensorRT, with their receipts, in bundles of the toy network."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from saliency_edge.runtime.artifact import sha256_of
from saliency_edge.runtime.backends.tensorrt.receipt import BuildOptions, Receipt, write_receipt
from saliency_edge.runtime.contract import Contract, Precision
from saliency_edge.runtime.machine import Gpu, Machine
from tensorrt_double import MARK
from toy_models import SIZE_HW, entry_of, noise, save_toy_bundle, toy_contract, toy_map, toy_model

ORIN = Machine(
    gpu=Gpu(name="Orin", compute_capability="8.7", integrated=True, driver="540.4.0, CUDA 12.6"),
    system="Linux",
    os="Ubuntu 22.04.5 LTS",
    architecture="aarch64",
    power_mode="MAXN",
)


def toy_receipt(content: bytes, contract: Contract, onnx_sha256: str = "0" * 64, **changed: Any) -> Receipt:
    """The receipt of an engine that TensorRT 10.3 has built on the Orin."""
    assert ORIN.gpu is not None
    receipt = Receipt(
        sha256=sha256(content).hexdigest(),
        bytes=len(content),
        flavour="tensorrt",
        version="10.3.0",
        asked_precision=contract.precision,
        contract=contract,
        targets=(),
        gpu=ORIN.gpu.name,
        compute_capability=ORIN.gpu.compute_capability,
        driver=ORIN.gpu.driver,
        system=ORIN.system,
        os=ORIN.os,
        architecture=ORIN.architecture,
        power_mode=ORIN.power_mode,
        onnx_sha256=onnx_sha256,
        weights_sha256=contract.weights_sha256,
        ranges_sha256=None,
        build_s=1.0,
        device_memory_bytes=None,
        options=BuildOptions(),
        convolutions={},
        dtype_counts={},
        layers=(),
    )
    return replace(receipt, **changed)


def save_toy_engine(path: Path, contract: Contract | None = None, **changed: Any) -> Receipt:
    """Write an engine of the toy network and its receipt."""
    contract = contract or toy_contract(precision="fp16")
    content = MARK + toy_model(contract).SerializeToString()
    receipt = toy_receipt(content, contract, **changed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    write_receipt(path, receipt)
    return receipt


def save_engine_bundle(folder: Path, precision: Precision = "fp16", **changed: Any) -> Path:
    """Write a bundle of the toy network with golden frames and an engine, and give the engine's path."""
    save_toy_bundle(folder)
    write_golden(folder, scale=1.0)
    engine = folder / "engines" / f"orin-tensorrt10.3.0-{precision}.engine"
    onnx_sha256 = sha256_of(folder / f"{precision}.onnx")
    save_toy_engine(engine, toy_contract(precision=precision), **{"onnx_sha256": onnx_sha256, **changed})
    return engine


def write_golden(folder: Path, scale: float) -> None:
    """Put three golden frames into a bundle; their maps are the network's own, times `scale`."""
    frames = np.stack([noise(SIZE_HW, seed) for seed in range(3)])
    maps = np.stack([toy_map(frame) for frame in frames]).astype(np.float32) * np.float32(scale)
    np.savez(folder / "golden.npz", names=np.array(["a", "b", "c"]), frames=frames, maps=maps)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["golden"] = entry_of(folder / "golden.npz")
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
