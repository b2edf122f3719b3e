"""Engines built for real, by TensorRT-RTX on the CPU."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from engine_bundles import engine_files, network_bundle, tiny_bundle
from saliency_edge.export.cli import app
from saliency_edge.export.tensorrt.build import build_engines
from saliency_edge.export.tensorrt.library import load
from saliency_edge.runtime.backends.tensorrt.receipt import BuildOptions, receipt_path
from saliency_edge.runtime.contract import PRECISIONS, Precision

pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX here: pip install 'saliency-edge[rtx]'")

WITHOUT = """
import sys
from pathlib import Path
sys.modules.update(dict.fromkeys({names}))
from saliency_edge.export.tensorrt.build import build_engines
build_engines(Path({bundle!r}), "fp16", "rtx", ["sm86"])
"""


def asked_by_onnx(path: Path) -> dict[str, int]:
    """Count a model's convolutions by datatype, as ONNX's own shape inference has them."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    names = {onnx.TensorProto.FLOAT: "Float", onnx.TensorProto.FLOAT16: "Half"}
    return Counter(
        "Int8" if dequantized.issuperset(node.input[:2]) else names[types[node.input[0]]]
        for node in graph.node
        if node.op_type in ("Conv", "ConvTranspose")
    )


class TestEngines:
    """What is built."""

    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_one_for_each_default_target(self, bundle: Path, precision: Precision) -> None:
        reports = build_engines(bundle, precision, "rtx")
        targets = [target for report in reports for target in report.receipt.targets]
        turing = [] if precision == "int8" else ["sm75"]

        assert targets == [*turing, "sm80", "sm86", "sm89", "sm120"]
        assert len({report.receipt.sha256 for report in reports}) > 1
        names = [report.path.name for report in reports]
        assert engine_files(bundle) == sorted([*names, *(receipt_path(Path(name)).name for name in names)])
        assert re.fullmatch(rf"sm120-rtx[\d.]+-{precision}\.engine", names[-1])

    def test_the_same_bundle_gives_the_same_engine(self, bundle: Path) -> None:
        first, second = (build_engines(bundle, "fp16", "rtx", ["sm86"])[0].receipt for _ in range(2))

        assert first.sha256 == second.sha256

    @pytest.mark.parametrize("batch", [(1, 1), (4, 4), (1, 8)])
    def test_the_profile_spans_the_contracts_batch(self, tmp_path: Path, batch: tuple[int, int]) -> None:
        bundle = tiny_bundle(tmp_path / "bundle", batch)
        build_engines(bundle, "fp16", "rtx", ["sm86"])
        shapes = re.findall(r"(Min|Opt|Max)Shape: \[(\d+),32,48,3\]", "\n".join(load("rtx").log.facts))

        assert shapes == [("Min", str(batch[0])), ("Opt", str(batch[1])), ("Max", str(batch[1]))]

    def test_targets_may_be_written_in_capitals_and_twice(self, bundle: Path) -> None:
        reports = build_engines(bundle, "fp32", "rtx", ["SM89", "sm89"])

        assert [report.receipt.compute_capability for report in reports] == ["8.9"]

    def test_options_are_taken_and_recorded(self, bundle: Path) -> None:
        options = BuildOptions(workspace_mib=64, optimization_level=1, tf32=True)
        (report,) = build_engines(bundle, "fp32", "rtx", ["sm86"], options=options)

        assert report.receipt.options == options

    def test_the_command_takes_the_same_options(self, bundle: Path) -> None:
        words = ["--fp32", "--target", "sm86", "--workspace", "64", "--optimization", "1", "--tf32", "--json"]
        done = CliRunner().invoke(app, [str(bundle), *words])
        (engine,) = json.loads(done.stdout)["engines"]

        assert engine["options"] == {
            "workspace_mib": 64,
            "optimization_level": 1,
            "version_compatible": False,
            "hardware_compatible": False,
            "tf32": True,
        }

    def test_progress_rises_to_the_end(self, bundle: Path) -> None:
        seen: list[tuple[float, str]] = []
        build_engines(bundle, "fp16", "rtx", ["sm86"], progress=lambda *step: seen.append(step))
        fractions = [fraction for fraction, _ in seen]

        assert len(seen) > 10
        assert fractions == sorted(fractions)
        assert fractions[0] < 0.2
        assert 0.8 < fractions[-1] <= 1.0, seen[-1]
        assert all(phase for _, phase in seen)

    def test_nothing_is_printed(self, bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
        build_engines(bundle, "fp16", "rtx", ["sm86"])

        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("flavour", ["none", "auto"])
    def test_none_builds_nothing_and_auto_what_it_can(self, bundle: Path, flavour: str) -> None:
        reports = build_engines(bundle, "fp16", flavour, ["sm86"])  # type: ignore[arg-type]  # a parameter's str

        assert [report.receipt.flavour for report in reports] == ([] if flavour == "none" else ["rtx"])

    def test_the_base_install_is_enough(self, bundle: Path) -> None:
        spare = ("torch", "onnx", "onnxruntime", "onnx_ir", "onnxscript", "safetensors", "torchvision")
        code = WITHOUT.format(names=spare, bundle=str(bundle))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert len(engine_files(bundle)) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "size_hw", "batch"),
    [
        ("deep_half", (64, 96), (1, 1)),
        ("deep_half", (240, 320), (1, 1)),
        ("deep_full", (64, 96), (2, 2)),
        ("mlnet_small", (64, 96), (1, 4)),
        ("mlnet", (96, 64), (1, 1)),
    ],
)
def test_real_networks_are_built_as_the_onnx_says(
    tmp_path: Path, network: str, size_hw: tuple[int, int], batch: tuple[int, int]
) -> None:
    bundle = network_bundle(tmp_path / network, network, size_hw, batch)
    for precision in PRECISIONS:
        asked = asked_by_onnx(bundle / f"{precision}.onnx")
        for report in build_engines(bundle, precision, "rtx"):
            assert report.receipt.convolutions == asked, report.path.name
