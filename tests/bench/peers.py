"""Frames per second by network, precision and runtime, on this machine: the table of docs/measurements.md.

Ours and what else runs the same graph, on the same frames, interleaved in one run:

    python tests/bench/peers.py BUNDLE --precision fp16 --clip clip.mp4 --json f.json --markdown f.md

A call measures one bundle, and adds to what the JSON file holds of this machine: on a shared machine, each
precision can have its own few quiet minutes. Inference is from a frame in memory, fitted to the network's
size, to its map in memory. Video is from an MP4 file to an MP4 file with the overlay, by the command itself
and by the plain loop of OpenCV that examples show.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from saliency_edge.runtime.artifact import atomic_file, write_json
from saliency_edge.runtime.backends.backend import LoadOptions
from saliency_edge.runtime.backends.select import load_model
from saliency_edge.runtime.bench.host import describe_host
from saliency_edge.runtime.bench.statistics import median_interval
from saliency_edge.runtime.bench.timing import CPU, FRAME, InterleavedPlan, Stages, run_interleaved
from saliency_edge.runtime.bundle import Bundle
from saliency_edge.runtime.console import run_app
from saliency_edge.runtime.contract import INPUT_NAME, OUTPUT_NAME, Contract, Precision
from saliency_edge.runtime.errors import SaliencyError
from saliency_edge.runtime.machine import cpu_features
from saliency_edge.runtime.metrics import cc
from saliency_edge.runtime.parity import GoldenFrames

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)

Frames = NDArray[np.uint8]
Maps = NDArray[np.float32]
Infer = Callable[[Frames], Maps]

OURS = ("openvino", "onnxruntime")
# Instruction sets that decide how fast a convolution is, of those that Linux names.
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimdhp", "asimddp", "i8mm", "bf16")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
VIDEO_TURNS = 3


class Repeated:
    """One kind of work as a workload of `saliency-bench`."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.stages: Stages = {"work": work}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One runtime on one model.

    Attributes:
        network: name and size, such as `deep_half 240x320`.
        kind: `inference` or `video`.
        peer: the runtime, with its version.
        precision: of the model.
        ms: median wall time of a frame.
        interval_ms: 95% confidence interval of it.
        cpu_ms: processor time of a frame, of all threads; None where another process computes.
        cc: worst correlation with PyTorch's maps over the golden frames; None for video.
    """

    network: str
    kind: str
    peer: str
    precision: Precision
    ms: float
    interval_ms: tuple[float, float]
    cpu_ms: float | None = None
    cc: float | None = None


@app.command()
def main(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    precision: Annotated[
        str | None, typer.Option(metavar="fp16,...", help="Models to measure (default: all of the bundle).")
    ] = None,
    clip: Annotated[Path | None, typer.Option(help="Video for the video rows (default: none).")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each peer's turn.")] = 2,
    rounds: Annotated[int, typer.Option(min=5, help="Fewest rounds.")] = 5,
    seconds: Annotated[float, typer.Option(help="Longest interleaved run.")] = 60.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Add the figures to this file's, if of this machine.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables of all figures there.")] = None,
) -> None:
    """Measure one model in all runtimes that are installed, and print the tables."""
    machine = describe_machine()
    cells = list(known_cells(json_file, machine))
    plan = InterleavedPlan(rounds=rounds, seconds=seconds)
    measured: list[Cell] = []
    with Bundle.open(bundle) as opened:
        golden = GoldenFrames.read(opened.golden_file())
        for each in wanted_precisions(precision, opened):
            onnx_path = opened.model(each)
            measured += inference_cells(bundle, onnx_path, each, golden, frames, plan)
            if clip is not None:
                measured += video_cells(bundle, onnx_path, each, clip, measured[0].network)
    replaced = {(cell.network, cell.kind, cell.precision) for cell in measured}
    cells = [cell for cell in cells if (cell.network, cell.kind, cell.precision) not in replaced] + measured
    text = markdown_text(machine, cells)
    print(text)
    if json_file is not None:
        write_json(json_file, {"machine": machine, "cells": [asdict(cell) for cell in cells]})
    if markdown is not None:
        with atomic_file(markdown) as temporary:
            temporary.write_text(text, encoding="utf-8")


def wanted_precisions(text: str | None, bundle: Bundle) -> list[Precision]:
    """Precisions of `fp32,int8` that the bundle has; all that it has without a text."""
    return [
        each for each in PRECISIONS if each in bundle.models and (text is None or each in text.split(","))
    ]


def describe_machine() -> str:
    """Processor, cores and instruction sets in one line."""
    host = describe_host(None)
    features = [name for name in FEATURES if name in cpu_features()]
    instructions = ", ".join(features) or "no vector instructions known here"
    return f"{host['cpu']}, {host['cores']} cores, {host['architecture']} with {instructions}"


def known_cells(path: Path | None, machine: str) -> Iterator[Cell]:
    """Figures of earlier calls on this machine."""
    if path is None or not path.is_file():
        return
    document = json.loads(path.read_text(encoding="utf-8"))
    if document["machine"] == machine:
        for values in document["cells"]:
            yield Cell(**{**values, "interval_ms": tuple(values["interval_ms"])})


def inference_cells(
    bundle: Path,
    onnx_path: Path,
    precision: Precision,
    golden: GoldenFrames,
    count: int,
    plan: InterleavedPlan,
) -> list[Cell]:
    """Ours and all peers that can run the model, interleaved on the golden frames."""
    with ExitStack() as stack:
        peers: dict[str, Infer] = {}
        for backend in OURS:
            try:
                model = load_model(bundle, precision, LoadOptions(backend=backend, say=lambda _line: None))
            except SaliencyError as error:
                print(f"left out: saliency-edge, {backend}: {error}", file=sys.stderr)
                continue
            stack.enter_context(closing(model))
            peers[f"**saliency-edge**, {model.description.partition(',')[0]}"] = model.infer
            contract = model.contract
        for make in (bare_openvino, bare_onnx_runtime, opencv_dnn):
            try:
                peers |= make(onnx_path)
            except Exception as error:  # whatever a peer's library raises, the others are measured
                print(f"left out: {make.__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
        if precision != "int8":
            peers |= pytorch(contract, precision)
        inputs = [frame[np.newaxis] for frame in golden.pixels]
        correlations = {
            name: min(
                cc(infer(each)[0], expected) for each, expected in zip(inputs, golden.maps, strict=True)
            )
            for name, infer in peers.items()
        }
        workloads = {name: Repeated(over(inputs[:count], infer)) for name, infer in peers.items()}
        series = run_interleaved(workloads, plan)
    height, width = contract.size_hw
    cells = []
    for name, values in series.items():
        interval = median_interval(values[FRAME] / count * 1e3)
        cells.append(
            Cell(
                network=f"{contract.network} {height}x{width}",
                kind="inference",
                peer=name,
                precision=precision,
                ms=interval.estimate,
                interval_ms=(interval.low, interval.high),
                cpu_ms=float(np.median(values[CPU])) / count * 1e3,
                cc=correlations[name],
            )
        )
    return cells


def over(inputs: Sequence[Frames], infer: Infer) -> Callable[[], None]:
    """The work of one turn: all frames, one after another."""

    def work() -> None:
        for frame in inputs:
            infer(frame)

    return work


def bare_openvino(onnx_path: Path) -> dict[str, Infer]:
    """OpenVINO by itself: as it comes, and with the bf16 hint where the processor computes in bf16."""
    import openvino

    core = openvino.Core()
    version = openvino.__version__.partition("-")[0]
    hints = {"as it comes": {}}
    if {"avx512_bf16", "amx_bf16", "bf16"} & cpu_features():
        hints["bf16 hint"] = {"INFERENCE_PRECISION_HINT": "bf16"}

    def infer_by(model: Any) -> Infer:
        return lambda frames: np.asarray(model([frames])[0])

    return {
        f"OpenVINO {version}, {name}": infer_by(
            core.compile_model(str(onnx_path), "CPU", {"PERFORMANCE_HINT": "LATENCY", **hint})
        )
        for name, hint in hints.items()
    }


def bare_onnx_runtime(onnx_path: Path) -> dict[str, Infer]:
    """A session with ONNX Runtime's own defaults."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
    return {
        f"ONNX Runtime {onnxruntime.__version__}": lambda frames: np.asarray(
            session.run([OUTPUT_NAME], {INPUT_NAME: frames})[0]
        )
    }


def opencv_dnn(onnx_path: Path) -> dict[str, Infer]:
    """OpenCV's own reader of the graph."""
    net = cv2.dnn.readNetFromONNX(str(onnx_path))

    def infer(frames: Frames) -> Maps:
        net.setInput(frames, INPUT_NAME)
        return np.asarray(net.forward(), np.float32)

    return {f"OpenCV DNN {cv2.__version__}": infer}


def pytorch(contract: Contract, precision: Precision) -> dict[str, Infer]:
    """Shipped weights in PyTorch, eager and, with a compiler, compiled; in bfloat16 in the place of fp16."""
    import torch

    from saliency_edge.train.checkpoint import load_checkpoint, shipped_weights
    from saliency_edge.train.networks.saliency_network import DeployGraph

    weights = shipped_weights(contract.network)
    checkpoint = load_checkpoint(weights, network=contract.network, size_hw=contract.size_hw)
    eager = DeployGraph(checkpoint.network).eval()
    half = precision == "fp16"

    def run_by(model: Callable[[torch.Tensor], torch.Tensor]) -> Infer:
        def infer(frames: Frames) -> Maps:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                return np.asarray(model(torch.from_numpy(frames)).float().numpy())

        return infer

    name = f"PyTorch {torch.__version__.partition('+')[0]}"
    compiled = {f"{name}, compiled": run_by(torch.compile(eager))} if shutil.which("g++") else {}
    return {f"{name}, eager": run_by(eager), **compiled}


def video_cells(bundle: Path, onnx_path: Path, precision: Precision, clip: Path, network: str) -> list[Cell]:
    """The command and plain OpenCV loops on one clip, in turns."""
    ours = f"`saliency-run`, {precision}"
    runs: dict[str, Callable[[], float]] = {ours: lambda: command_ms(bundle, precision, clip)}
    with closing(load_model(bundle, precision, LoadOptions(say=lambda _line: None))) as model:
        contract = model.contract
    for make in (bare_openvino, bare_onnx_runtime):
        for name, infer in make(onnx_path).items():
            runs[f"plain loop, {name}"] = lambda infer=infer: plain_loop_ms(infer, contract, clip)
    times_ms: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(VIDEO_TURNS):
        for name in list(runs) if turn % 2 == 0 else list(reversed(runs)):
            times_ms[name].append(runs[name]())
    return [
        Cell(
            network=network,
            kind="video",
            peer=name.partition(", fp")[0].partition(", int")[0],
            precision=precision,
            ms=median(values),
            interval_ms=(min(values), max(values)),
        )
        for name, values in times_ms.items()
    ]


def command_ms(bundle: Path, precision: Precision, clip: Path) -> float:
    """Milliseconds of a frame by the command's own report: from the first frame read to the last written."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "saliency_edge.runtime.cli", str(bundle), str(clip)]
        options = ["--precision", precision, "--output", f"{folder}/overlay.mp4", "--json", str(report)]
        subprocess.run([*command, *options], check=True, capture_output=True)
        return 1e3 / float(json.loads(report.read_text(encoding="utf-8"))["rate_fps"])


def plain_loop_ms(infer: Infer, contract: Contract, clip: Path) -> float:
    """Milliseconds of a frame: read, resize, infer, colour, blend and write, one after another."""
    capture = cv2.VideoCapture(str(clip))
    width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    count, start_s = 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path, fourcc = str(Path(folder) / "overlay.mp4"), cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(path, fourcc, 25.0, (width, height))
        while True:
            is_read, frame = capture.read()
            if not is_read:
                break
            fitted = cv2.resize(frame, contract.size_hw[::-1], interpolation=cv2.INTER_AREA)
            saliency = infer(np.asarray(fitted, np.uint8)[np.newaxis])[0]
            levels = cv2.resize((saliency * 255).astype(np.uint8), (width, height))
            writer.write(cv2.addWeighted(frame, 0.5, cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), 0.5, 0))
            count += 1
        writer.release()
        elapsed_s = time.perf_counter() - start_s
    capture.release()
    return elapsed_s / count * 1e3


def markdown_text(machine: str, cells: Sequence[Cell]) -> str:
    """The tables of all figures: one for each network and kind, a row for each runtime."""
    lines = [f"{machine}. Frames per second, medians of interleaved runs.", ""]
    for network, kind in dict.fromkeys((cell.network, cell.kind) for cell in cells):
        rows: dict[str, dict[str, Cell]] = {}
        for cell in cells:
            if (cell.network, cell.kind) == (network, kind):
                rows.setdefault(cell.peer, {})[cell.precision] = cell
        present = [precision for precision in PRECISIONS if any(precision in row for row in rows.values())]
        lines += [f"| {network}, {kind} | {' | '.join(present)} |", "| --- " * (len(present) + 1) + "|"]
        lines += [f"| {peer} | {' | '.join(map(row_text(row), present))} |" for peer, row in rows.items()]
        lines.append("")
    return "\n".join(lines)


def row_text(row: Mapping[str, Cell]) -> Callable[[str], str]:
    """Text of a precision's cell: frames per second, and the correlation where a map is not PyTorch's."""

    def text(precision: str) -> str:
        cell = row.get(precision)
        if cell is None:
            return ""
        wrong = f" (CC {cell.cc:.3f})" if cell.cc is not None and cell.cc < 0.99 else ""
        return f"{1e3 / cell.ms:.1f}{wrong}"

    return text


if __name__ == "__main__":
    run_app(app)
