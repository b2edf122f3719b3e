"""What cannot be built: one line that says why, and nothing half-written left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from engine_bundles import TINY, engine_files, replace_model, tiny_model
from saliency_edge.export.tensorrt.build import build_engines
from saliency_edge.export.tensorrt.library import load
from saliency_edge.runtime.backends.tensorrt.receipt import BuildOptions
from saliency_edge.runtime.contract import Precision
from saliency_edge.runtime.errors import (
    ArtifactError,
    BackendError,
    BuildError,
    ContractError,
    OutputError,
    SaliencyError,
    UsageError,
)

pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX here: pip install 'saliency-edge[rtx]'")

FP16 = replace(TINY, precision="fp16")
NOBODY = 65534
CHILD = """
import os, resource, signal, sys
from pathlib import Path
from saliency_edge.export.tensorrt.build import build_engines
{before}
def progress(fraction, phase):
    {during}
build_engines(Path(sys.argv[1]), "fp16", "rtx", ["sm86"], progress=progress)
"""


def child(bundle: Path, *, before: str = "", during: str = "pass") -> subprocess.Popen[str]:
    """A build in a process of its own; `during` is done whenever progress is told."""
    code = CHILD.format(before=before, during=during)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(bundle)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def refused(
    bundle: Path, error: type[SaliencyError], *said: str, precision: Precision = "fp16", target: str = "sm86"
) -> None:
    """Build, and expect an error whose one line holds all of `said`."""
    with pytest.raises(error) as caught:
        build_engines(bundle, precision, "rtx", [target])
    message = str(caught.value)
    assert "\n" not in message
    assert [words for words in said if words not in message] == [], message


class TestNothingIsLeft:
    """After each of these, the folder of engines is empty."""

    @pytest.fixture(autouse=True)
    def nothing_is_left(self, bundle: Path) -> Iterator[None]:
        yield
        assert engine_files(bundle) == []

    def test_int8_for_turing_comes_out_as_half(self, bundle: Path) -> None:
        said = ("is not int8: 3 of 3", "conv1 asked Int8, built Half", "--target")
        refused(bundle, BuildError, "sm75", *said, precision="int8", target="sm75")

    @pytest.mark.parametrize(("precision", "other"), [("fp16", "fp32"), ("int8", "fp16"), ("fp32", "fp16")])
    def test_a_model_of_another_precision(self, bundle: Path, precision: Precision, other: Precision) -> None:
        replace_model(bundle, precision, (bundle / f"{other}.onnx").read_bytes())

        refused(bundle, BuildError, f"no {precision} model", "Export it again", precision=precision)

    @pytest.mark.parametrize("poison", [float("nan"), float("inf")])
    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    def test_broken_weights(self, bundle: Path, precision: Precision, poison: float) -> None:
        model = tiny_model(replace(TINY, precision=precision), poison=poison)
        replace_model(bundle, precision, model.SerializeToString())

        refused(bundle, BuildError, "weights of conv2 are NaN or infinite", precision=precision)

    def test_a_constant_that_is_nan(self, bundle: Path) -> None:
        model = tiny_model(FP16)
        model.graph.initializer.append(numpy_helper.from_array(np.array([np.nan], np.float16), "offset"))
        model.graph.node.insert(2, helper.make_node("Add", ["planes", "offset"], ["shifted"], name="add"))
        model.graph.node[3].input[0] = "shifted"
        replace_model(bundle, "fp16", model.SerializeToString())

        refused(bundle, BuildError, "the constant offset is NaN")

    def test_a_truncated_model(self, bundle: Path) -> None:
        model = (bundle / "fp16.onnx").read_bytes()
        replace_model(bundle, "fp16", model[: len(model) // 2])

        refused(bundle, BuildError, "fp16.onnx: TensorRT-RTX", "does not take it", "damaged")

    @pytest.mark.parametrize("content", [b"", b"no model", b"hello world this is not onnx"])
    def test_a_file_that_is_no_model(self, bundle: Path, content: bytes) -> None:
        replace_model(bundle, "fp16", content)

        refused(bundle, BuildError, "fp16.onnx: TensorRT-RTX", "damaged")

    def test_a_model_that_the_manifest_does_not_know(self, bundle: Path) -> None:
        path = bundle / "fp16.onnx"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

        refused(bundle, ArtifactError, "fp16.onnx is damaged", "Export it again")

    def test_a_model_of_another_size(self, bundle: Path) -> None:
        other = replace(FP16, size_hw=(64, 48), map_size_hw=(64, 48))
        replace_model(bundle, "fp16", tiny_model(other).SerializeToString())

        refused(bundle, ContractError, "(1, 64, 48, 3)", "expected", "(1, 32, 48, 3)")

    @pytest.mark.parametrize(
        ("operator", "reason"),
        [("Frobnicate", "Plugin not found"), ("Det", "node 'det' (Det)"), ("Transpose", "has type UInt8")],
    )
    def test_an_operator_that_tensorrt_does_not_take(self, bundle: Path, operator: str, reason: str) -> None:
        name = operator.lower()
        model = tiny_model(FP16)
        model.graph.node.insert(0, helper.make_node(operator, ["frame"], ["odd"], name=name))
        replace_model(bundle, "fp16", model.SerializeToString())

        refused(bundle, BuildError, f"node {name!r} ({operator})", reason, "--opset")

    def test_an_unknown_target(self, bundle: Path) -> None:
        refused(bundle, UsageError, "unknown target 'sm42'. TensorRT-RTX", ", sm86,", target="sm42")

    @pytest.mark.parametrize("option", ["version_compatible", "hardware_compatible"])
    def test_an_option_of_the_other_flavour(self, bundle: Path, option: str) -> None:
        with pytest.raises(UsageError, match="--target"):
            build_engines(bundle, "fp16", "rtx", ["sm86"], options=BuildOptions(**{option: True}))

    def test_a_zipped_bundle(self, bundle: Path, tmp_path: Path) -> None:
        archive = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", bundle))

        refused(archive, UsageError, "zipped.zip is zipped", "Unzip it first")

    def test_a_full_disk(self, bundle: Path) -> None:
        limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
        _, stderr = child(bundle, before=limit).communicate()

        assert re.search(r"OutputError: cannot write .*\.engine: File too large", stderr), stderr

    def test_a_kill_in_the_middle(self, bundle: Path) -> None:
        process = child(bundle, during="os.kill(os.getpid(), signal.SIGKILL)")
        process.communicate()

        assert process.returncode == -signal.SIGKILL

    def test_ctrl_c(self, bundle: Path) -> None:
        seen: list[float] = []

        def interrupt(fraction: float, _phase: str) -> None:
            seen.append(fraction)
            os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            build_engines(bundle, "fp16", "rtx", ["sm86", "sm89"], progress=interrupt)

        assert len(seen) < 5, "the build went on"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_failing_build_keeps_the_engine_that_was_there(bundle: Path) -> None:
    build_engines(bundle, "fp16", "rtx", ["sm86"])
    before = {name: (bundle / "engines" / name).read_bytes() for name in engine_files(bundle)}
    replace_model(bundle, "fp16", (bundle / "fp32.onnx").read_bytes())
    with pytest.raises(BuildError):
        build_engines(bundle, "fp16", "rtx", ["sm86"])

    assert len(before) == 2
    assert {name: (bundle / "engines" / name).read_bytes() for name in engine_files(bundle)} == before


def build_until_refused(bundle: Path) -> None:
    """Build again and again: the other process may not hold the folder yet."""
    while True:
        build_engines(bundle, "fp32", "rtx", ["sm86"])


def test_two_builds_at_once(bundle: Path) -> None:
    """The first is held in the middle until the second has been refused; then it ends well."""
    process = child(bundle, during="sys.stdin.readline()")
    assert process.stdin is not None
    with process:
        while not (bundle / "engines").is_dir():
            assert process.poll() is None
        with pytest.raises(OutputError, match=r"another build is at work in .*engines\. Wait"):
            build_until_refused(bundle)
        process.stdin.close()

    assert process.returncode == 0
    assert any("fp16" in name for name in engine_files(bundle))


def test_a_file_in_the_folders_place(bundle: Path) -> None:
    (bundle / "engines").write_text("not a folder")

    refused(bundle, OutputError, "cannot write", "engines: File exists")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")
def test_a_read_only_bundle(tiny: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        bundle = Path(shutil.copytree(tiny, Path(name) / "bundle"))
        os.seteuid(NOBODY)
        try:
            refused(bundle, OutputError, "cannot write", "engines: Permission denied")
        finally:
            os.seteuid(0)
        assert engine_files(bundle) == []


def test_a_flavour_that_is_not_installed(bundle: Path) -> None:
    try:
        load("tensorrt")
    except BackendError:
        with pytest.raises(BackendError, match=r"pip install 'saliency-edge\[tensorrt\]'"):
            build_engines(bundle, "fp16", "tensorrt")
    else:
        pytest.skip("TensorRT is installed")
