"""All that the runtime, the calibration and the export parse: read, or refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_files import save_toy_engine
from fuzzing import BOUNDED, damaged_bytes, damaged_json, refuses
from saliency_edge.calib.frames import find_frames
from saliency_edge.calib.ranges import ActivationRanges, ranges_path
from saliency_edge.export.int8.search_cache import SearchCache
from saliency_edge.export.options import parse_batch, parse_budget, parse_limits, parse_targets
from saliency_edge.runtime.backends.records import _read as read_proofs
from saliency_edge.runtime.backends.tensorrt.receipt import read_receipt, receipt_path
from saliency_edge.runtime.bench.baseline import read_baseline
from saliency_edge.runtime.bench.cli import parse_batches, parse_precisions, parse_tolerance
from saliency_edge.runtime.bundle import Bundle
from saliency_edge.runtime.contract import METADATA_KEY, Contract
from saliency_edge.runtime.options import parse_size
from saliency_edge.runtime.parity import GoldenFrames
from saliency_edge.runtime.stream.scheduler import Policy
from saliency_edge.runtime.stream.smoothing import parse_time_constant
from saliency_edge.runtime.stream.sources.open_source import open_source
from saliency_edge.runtime.web.web_options import parse_address
from toy_models import save_toy, save_toy_bundle, toy_contract

BASELINE = {
    "schema": 1,
    "machine": {"processor": "x"},
    "base_install_mb": 291.0,
    "models": {
        "toy": {
            "engine": "ONNX Runtime",
            "repeats": 3,
            "ratios": {"frame": "1.0 1.1 0.9"},
            "latency_ms": {"frame": 3.1},
            "start_up_ratios": "1.5 1.6",
            "peak_rss_mb": 100.0,
            "allocated_bytes": {"frame": 100},
            "macs": 10,
            "operators": {"Conv": 3},
            "golden": {"max_abs": 1e-6, "mean_abs": 1e-7, "cc": 1.0},
            "samples": {"wide": {"map_hw": [3, 4], "levels": "1 2 3"}},
        }
    },
}
PROOFS = {
    "schema": 1,
    "proofs": [
        {
            "key": "a",
            "label": "x",
            "verdict": "passed",
            "latency_ms": 1.5,
            "max_abs": 0.1,
            "cc": 1.0,
            "kldiv": 0.0,
            "problem": None,
        }
    ],
}
FRAMES = {"schema": 1, "seed": 0, "frames": [{"path": "a.png", "index": None}, {"path": "b.mp4", "index": 3}]}
CACHE_CONTENT: dict[str, int] = {}


@pytest.mark.parametrize("document", [BASELINE, PROOFS, FRAMES])
def test_documents_are_whole(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))

    if document is BASELINE:
        assert read_baseline(path).models["toy"].repeats == 3
    elif document is PROOFS:
        assert set(read_proofs(path)) == {"a"}
    else:
        assert [ref.index for ref in find_frames([str(path)])] == [None, 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    return save_toy_bundle(folder / "toy")


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    return found


@pytest.fixture(scope="module")
def golden(bundle: Path) -> bytes:
    return (bundle / "golden.npz").read_bytes()


@BOUNDED
@given(data=st.data())
def test_manifests(bundle: Path, manifest: dict[str, Any], data: st.DataObject) -> None:
    (bundle / "manifest.json").write_text(data.draw(damaged_json(manifest)), encoding="utf-8")

    def read() -> None:
        with Bundle.open(bundle) as opened:
            opened.golden_file()
            for precision in opened.models:
                opened.model(precision)

    refuses(read)


@BOUNDED
@given(damaged_json(json.loads(toy_contract().to_json())))
def test_contracts(text: str) -> None:
    refuses(lambda: Contract.from_metadata({METADATA_KEY: text}, "x.onnx"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Path:
    save_toy_engine(folder / "toy.engine")
    return folder / "toy.engine"


@pytest.fixture(scope="module")
def receipt(engine: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(receipt_path(engine).read_text())
    return found


@BOUNDED
@given(data=st.data())
def test_receipts(engine: Path, receipt: dict[str, Any], data: st.DataObject) -> None:
    receipt_path(engine).write_text(data.draw(damaged_json(receipt)), encoding="utf-8")

    refuses(lambda: read_receipt(engine))


def read_cache(path: Path) -> None:
    assert "x" not in SearchCache(path, CACHE_CONTENT)


@pytest.mark.parametrize(
    ("document", "read"),
    [
        (BASELINE, read_baseline),
        (PROOFS, read_proofs),
        (FRAMES, lambda path: find_frames([str(path)])),
        (json.loads(ranges_path("mlnet_small").read_text()), ActivationRanges.load),
        ({"key": "a", "values": {"y": {"z": 1}}}, read_cache),
    ],
    ids=["baseline", "proofs", "frames", "ranges", "search_cache"],
)
@BOUNDED
@given(data=st.data())
def test_documents(
    document: dict[str, Any], read: Callable[[Path], object], data: st.DataObject, tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    path.write_text(data.draw(damaged_json(document)), encoding="utf-8")

    refuses(lambda: read(path))


@BOUNDED
@given(data=st.data())
def test_golden_frames(folder: Path, golden: bytes, data: st.DataObject) -> None:
    path = folder / "golden.npz"
    path.write_bytes(data.draw(damaged_bytes(golden)))

    refuses(lambda: GoldenFrames.read(path))


def test_golden_frames_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    names, frames, maps = np.array(["a"]), np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 1, 1), np.float32)
    for arrays in (
        {"names": names, "frames": frames},
        {"names": np.arange(1), "frames": frames, "maps": maps},
        {"names": names, "frames": frames[0], "maps": maps},
        {"names": names, "frames": frames.astype(np.float32), "maps": maps},
        {"names": names, "frames": frames, "maps": np.full((1, 1, 1), np.nan, np.float32)},
        {"names": names, "frames": frames, "maps": np.zeros((2, 1, 1), np.float32)},
        {"names": np.array([{}], object), "frames": frames, "maps": maps},
    ):
        np.savez(path, **arrays)
        assert refuses(lambda: GoldenFrames.read(path))


@BOUNDED
@given(content=st.binary(max_size=300) | st.binary(max_size=30).map(lambda tail: b"PK\x03\x04" + tail))
def test_zipped_bundles(folder: Path, content: bytes) -> None:
    path = folder / "bundle.zip"
    path.write_bytes(content)

    assert refuses(lambda: Bundle.open(path))


PARSERS: dict[str, Callable[[str], object]] = {
    "size": parse_size,
    "batch": parse_batch,
    "budget": parse_budget,
    "limits": lambda text: parse_limits("--min-cc", text, 1),
    "targets": parse_targets,
    "tolerance": parse_tolerance,
    "batches": parse_batches,
    "precisions": parse_precisions,
    "time": parse_time_constant,
    "address": parse_address,
    "policy": Policy.parse,
}
WORDS = st.text(alphabet="0123456789", max_size=12) | st.sampled_from(
    [
        "x",
        ",",
        "-",
        ".",
        ":",
        "%",
        "s",
        "ms",
        "nan",
        "inf",
        "1e999",
        "-1",
        "deadline=",
        "newest",
        "all",
        "fp16",
        "9" * 5000,
    ]
)
TEXTS = st.text(max_size=12) | st.lists(WORDS, max_size=6).map("".join)


@pytest.mark.parametrize("name", PARSERS)
@BOUNDED
@given(text=TEXTS)
def test_option_values(name: str, text: str) -> None:
    refuses(lambda: PARSERS[name](text))


NAMES = st.sampled_from(["width", "height", "fps", "frames", "pace", "pixels", "x", ""])
PARAMETERS = st.lists(st.tuples(NAMES, TEXTS), max_size=4).map(
    lambda pairs: ",".join(f"{name}={value}" for name, value in pairs)
)


@BOUNDED
@given(st.sampled_from(["test:", "raw:", "camera:/dev/none,", "csi:9,", "./none/"]), PARAMETERS | TEXTS)
def test_source_strings(prefix: str, rest: str) -> None:
    def read() -> None:
        open_source(prefix + rest).close()

    refuses(read)


LOAD_MANY = """
import sys
from pathlib import Path
from saliency_edge.runtime.backends.onnxruntime_backend import OnnxRuntimeModel
from saliency_edge.runtime.errors import SaliencyError
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    print(path.name, end=" ", flush=True)
    try:
        OnnxRuntimeModel.load(path, threads=1)
        print("loads")
    except SaliencyError as error:
        assert "\\n" not in str(error) and len(str(error)) < 1000, str(error)
        print("refused")
"""


def test_onnx_files(tmp_path: Path) -> None:
    """In a process of its own: ONNX Runtime is C++."""
    whole = save_toy(tmp_path / "whole.onnx").read_bytes()
    generator = np.random.default_rng(0)
    for number in range(150):
        data = bytearray(whole)
        if number % 3 == 0:
            del data[generator.integers(len(data)) :]
        for place in generator.integers(0, max(1, len(data)), 3):
            if data:
                data[place] ^= 1 << int(generator.integers(8))
        (tmp_path / f"{number:03}.onnx").write_bytes(data)
    command = [sys.executable, "-c", LOAD_MANY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-300:] + done.stderr[-2000:]
    assert done.stdout.count("refused") > 50
    assert "whole.onnx loads" in done.stdout
