"""Which candidate is taken, what is said about it, and for how long a proof holds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine_files import write_golden
from saliency_edge.runtime import machine
from saliency_edge.runtime.backends import openvino_backend, records, select
from saliency_edge.runtime.backends.backend import (
    Backend,
    Candidate,
    LoadOptions,
    Model,
    ModelSource,
    arithmetic_of_fp16,
)
from saliency_edge.runtime.backends.records import RECORDS_NAME
from saliency_edge.runtime.backends.select import load_model
from saliency_edge.runtime.contract import Arithmetic, Contract
from saliency_edge.runtime.errors import BackendError, ParityError, SaliencyError, UsageError
from saliency_edge.runtime.parity import TOLERANCES, promised_tolerance, tolerance_for
from toy_models import entry_of, save_toy, save_toy_bundle, toy_contract, toy_map


@dataclass(kw_only=True)
class Scripted:
    """A backend of another package: computes the toy's maps, brighter and later if it is told to."""

    name: str
    delay_s: float = 0.0
    factor: float = 1.0
    problem: SaliencyError | None = None
    version: str = "1"
    suffixes: tuple[str, ...] = (".onnx",)
    loaded: int = 0
    inferences: int = 0

    def probe(self, source: ModelSource, _options: LoadOptions) -> Sequence[Candidate]:
        return [
            Candidate(
                backend=self.name,
                title=self.name,
                file=file,
                precision=precision,
                problem=self.problem,
                environment={"version": self.version},
            )
            for precision, file in source.onnx_files().items()
        ]

    def load(self, source: ModelSource, candidate: Candidate, _options: LoadOptions) -> Model:
        source.verified(candidate)
        self.loaded += 1
        assert candidate.precision is not None
        return ScriptedModel(backend=self, contract=toy_contract(precision=candidate.precision))


@dataclass(kw_only=True)
class ScriptedModel:
    backend: Scripted
    contract: Contract
    arithmetic: Arithmetic = "fp32"
    description: str = field(init=False)

    def __post_init__(self) -> None:
        self.description = f"{self.backend.name}, {self.contract.precision}"

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        import time

        time.sleep(self.backend.delay_s)
        self.backend.inferences += 1
        maps = np.stack([toy_map(frame) for frame in frames]) * self.backend.factor
        return maps.astype(np.float32)

    def close(self) -> None:
        pass


@dataclass
class Shelf:
    """Backends in the place of the installed ones, and what is said while one is chosen."""

    monkeypatch: pytest.MonkeyPatch
    lines: list[str] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)

    def holds(self, *backends: Scripted) -> None:
        by_name: dict[str, Backend] = {backend.name: backend for backend in backends}
        self.monkeypatch.setattr(select, "backends", lambda: by_name)

    def load(self, path: Path, **options: Any) -> str:
        precision = options.pop("precision", "fp16")
        chosen = LoadOptions(say=self.lines.append, inform=self.choices.append, **options)
        with closing(load_model(path, precision, chosen)) as model:
            return model.description


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    return Shelf(monkeypatch)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = save_toy_bundle(tmp_path / "toy")
    write_golden(folder, scale=1.0)
    return folder


def test_the_fastest_that_is_right_is_taken(bundle: Path, shelf: Shelf) -> None:
    wrong, slow, fast = (
        Scripted(name="wrong", factor=0.5),
        Scripted(name="slow", delay_s=0.03),
        Scripted(name="fast", delay_s=0.01),
    )
    shelf.holds(wrong, slow, fast)

    assert shelf.load(bundle) == "fast, fp16"
    assert shelf.lines[0].startswith("wrong, fp16 differs from PyTorch on 3 of 3 golden frames")
    assert shelf.lines[0].endswith("fast runs fp16.onnx in its place")
    assert len(shelf.lines) == 1
    assert "fast, fp16: " in shelf.choices[-1]
    assert "CC 1.00000 with PyTorch, faster than slow fp16" in shelf.choices[-1]


def test_the_second_start_proves_nothing_and_loads_one(bundle: Path, shelf: Shelf) -> None:
    slow, fast = Scripted(name="slow", delay_s=0.03), Scripted(name="fast", delay_s=0.01)
    shelf.holds(slow, fast)
    shelf.load(bundle)
    slow.loaded = fast.loaded = fast.inferences = 0

    assert shelf.load(bundle) == "fast, fp16"
    assert (slow.loaded, fast.loaded, fast.inferences) == (0, 1, 0)


def test_one_that_is_far_slower_is_not_looked_at_for_long(bundle: Path, shelf: Shelf) -> None:
    fast, slow = Scripted(name="fast"), Scripted(name="slow", delay_s=0.05)
    shelf.holds(fast, slow)
    assert shelf.load(bundle) == "fast, fp16"
    assert slow.inferences == 2


@pytest.mark.parametrize("what", ["version", "threads", "model", "golden", "promise", "rule"])
def test_a_proof_does_not_outlive_what_it_is_keyed_by(
    bundle: Path, shelf: Shelf, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Scripted(name="one")
    shelf.holds(backend)
    shelf.load(bundle)
    proved, options = backend.inferences, {}
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    if what == "version":
        backend.version = "2"
    elif what == "threads":  # the backends that ship have them in their environment
        asked = LoadOptions(threads=1), LoadOptions(threads=2)
        with select._open(bundle, "fp16") as source:
            one, two = (openvino_backend.OpenVinoBackend().probe(source, each)[0] for each in asked)
            assert records.key_of(one, source) != records.key_of(two, source)
        return
    elif what == "model":
        save_toy(bundle / "fp16.onnx", toy_contract(precision="fp16", fit="pad"))
        manifest["models"]["fp16"] = entry_of(bundle / "fp16.onnx")
    elif what == "golden":
        write_golden(bundle, scale=1.00001)
        manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    elif what == "promise":
        figures = {"max_abs": 0.0, "cc": 1.0, "kldiv": 0.0}
        manifest["parity"] = {"int8": {"frames": {"a": figures}}}
        manifest["models"]["int8"] = {**manifest["models"]["fp16"]}
        options = {"precision": "int8"}
    else:
        monkeypatch.setattr(records, "TOLERANCES", {**TOLERANCES, "fp16": TOLERANCES["fp32"]})
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    shelf.load(bundle, **options)

    assert backend.inferences > proved


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": 1}',
        '{"schema": 99, "proofs": []}',
        '{"schema": 1, "proofs": [{"key": "k"}]}',
        "[" * 100_000,
        "verdict",
    ],
)
def test_a_damaged_record_is_made_again(bundle: Path, shelf: Shelf, text: str) -> None:
    backend = Scripted(name="one", delay_s=0.001)
    shelf.holds(backend)
    shelf.load(bundle)
    path, proved = bundle / RECORDS_NAME, backend.inferences
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace('"passed"', '"perhaps"') if text == "verdict" else text, encoding="utf-8")

    assert shelf.load(bundle) == "one, fp16"
    assert backend.inferences > proved
    assert json.loads(path.read_text(encoding="utf-8"))["proofs"][0]["verdict"] == "passed"


def test_of_a_zip_the_record_lies_in_the_users_cache(bundle: Path, shelf: Shelf, tmp_path: Path) -> None:
    backend = Scripted(name="one", delay_s=0.001)
    shelf.holds(backend)
    archive = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", bundle))
    shelf.load(archive)
    proved = backend.inferences

    shelf.load(archive)
    assert backend.inferences == proved
    assert not (bundle / RECORDS_NAME).exists()
    assert len(list((machine.cache_folder() / "proofs").iterdir())) == 1


def test_a_wrong_one_stays_refused_without_another_check(bundle: Path, shelf: Shelf) -> None:
    wrong, right = Scripted(name="wrong", factor=0.5), Scripted(name="right", delay_s=0.01)
    shelf.holds(wrong, right)
    shelf.load(bundle)
    wrong.loaded, said = 0, list(shelf.lines)

    assert shelf.load(bundle) == "right, fp16"
    assert wrong.loaded == 0
    assert [line.partition(" differs")[2] for line in shelf.lines[1:]] == [
        line.partition(" differs")[2] for line in said
    ]


def test_the_named_backend_is_checked_too(bundle: Path, shelf: Shelf) -> None:
    shelf.holds(Scripted(name="wrong", factor=0.5), Scripted(name="right"))

    with pytest.raises(ParityError, match="wrong, fp16 differs from PyTorch"):
        shelf.load(bundle, backend="wrong")
    assert shelf.load(bundle, backend="right") == "right, fp16"
    with pytest.raises(UsageError, match=r"--backend other: expected one of auto, wrong, right"):
        shelf.load(bundle, backend="other")


def test_reasons_come_together_where_nothing_runs(bundle: Path, shelf: Shelf) -> None:
    shelf.holds(
        Scripted(name="one", problem=BackendError("one is not installed. Add it")),
        Scripted(name="two", problem=BackendError("two is not installed. Add it")),
    )
    with pytest.raises(BackendError, match=r"one is not installed\. Add it; two is not installed\. Add it"):
        shelf.load(bundle)
    assert shelf.lines == []


def test_a_precision_that_is_damaged_is_replaced_in_one_line(bundle: Path, shelf: Shelf) -> None:
    (bundle / "fp16.onnx").write_bytes(b"damaged")
    shelf.holds(Scripted(name="one"), Scripted(name="two"))

    assert shelf.load(bundle, precision=None) in ("one, fp32", "two, fp32")
    (line,) = shelf.lines
    assert "fp16.onnx is damaged" in line
    assert line.endswith("runs fp32.onnx in its place")


@pytest.mark.parametrize(
    ("kept", "expected"), [((1, 1), "fp32"), ((0, 1), "fp16"), ((0, 0), "bf16")], ids=str
)
def test_arithmetic_is_seen_by_what_it_loses(kept: tuple[int, int], expected: str) -> None:
    assert arithmetic_of_fp16(lambda _values: np.array(kept, np.float32)) == expected


def test_one_rule_by_what_is_rounded() -> None:
    assert tolerance_for("fp32", "fp32") == TOLERANCES["fp32"]
    assert tolerance_for("fp16", "fp32") == TOLERANCES["fp16"]
    assert tolerance_for("fp16", "fp16") == TOLERANCES["fp16_rounded"]
    assert tolerance_for("fp16", "bf16") == TOLERANCES["bf16"]
    assert tolerance_for("int8", "int8") == TOLERANCES["int8"]


def test_what_an_arm_processor_with_half_arithmetic_gives_is_allowed() -> None:
    """Measured on an emulated Cortex-A76: .0071 and CC .999999, where .004 was the limit of all CPUs."""
    figures = {"max_abs": 0.0071, "cc": 0.999999, "kldiv": 1e-6}
    assert not tolerance_for("fp16", "fp32").allows(**figures)
    assert tolerance_for("fp16", "fp16").allows(**figures)


def test_a_promise_narrows_and_never_widens() -> None:
    general = TOLERANCES["int8"]
    near = promised_tolerance({"max_abs": 0.01, "cc": 0.9999, "kldiv": 1e-4}, general)
    far = promised_tolerance({"max_abs": 0.9, "cc": 0.5, "kldiv": 1.0}, general)

    assert near.min_cc == pytest.approx(0.9996)
    assert near.max_kldiv == pytest.approx(4e-4)
    assert near.max_abs == pytest.approx(0.04)
    assert far == general


WITHOUT = """
import sys
for name in sys.argv[2].split(","):
    sys.modules[name] = None
sys.argv[1:] = sys.argv[3:]
from saliency_edge.runtime.cli import main
main()
"""


@pytest.mark.parametrize(
    ("lacking", "runs"),
    [("openvino", "ONNX Runtime"), ("onnxruntime", "OpenVINO"), ("onnxruntime,openvino", "")],
)
@pytest.mark.parametrize(
    "words", ["toy clip.mp4 --save-maps maps", "toy --check", "toy/fp16.onnx clip.mp4 --save-maps m"]
)
def test_each_package_is_enough(here: Path, lacking: str, runs: str, words: str) -> None:
    """In a process of its own, where nothing has imported what is lacking."""
    pytest.importorskip("openvino", reason="no OpenVINO here")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "", f"{lacking},torch", *words.split()],
        cwd=here,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.splitlines()
    if runs:
        assert done.returncode == 0, done.stderr
        assert runs in done.stdout
        assert lines == []
        return
    assert done.returncode == 1
    assert len(lines) == 1, lines
    assert "onnxruntime is not installed" in lines[0]
    assert "openvino is not installed" in lines[0]
    assert "in its place" not in lines[0]
