"""Our pipeline beside what else runs the same network: on the same frames, in one run, taking turns.

Two tables: inference alone on frames that lie fitted in memory, and the whole way from a video file to a
video with the overlay. Times are in units of the first row's: medians over rounds, 95% bootstrap intervals.

    python tests/bench/peers.py BUNDLE CLIP --weights FILE.safetensors --markdown peers.md --plot peers.svg
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from peers_plot import Bar, svg_of
from pipeline_overhead import pipeline_loop

from saliency_edge.runtime.artifact import atomic_file
from saliency_edge.runtime.backends.onnxruntime_backend import OnnxRuntimeModel
from saliency_edge.runtime.bench.statistics import Interval, median_interval
from saliency_edge.runtime.bench.timing import CPU, FRAME, InterleavedPlan, Series, Stages, run_interleaved
from saliency_edge.runtime.bundle import Bundle
from saliency_edge.runtime.console import run_app
from saliency_edge.runtime.contract import INPUT_NAME, OUTPUT_NAME, Contract
from saliency_edge.runtime.fit import fit_frame

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)

Frames = NDArray[np.uint8]
Maps = NDArray[np.float32]
Infer = Callable[[Frames], Maps]

INFERENCE = "inference"
WHOLE = "video to video"


class Repeated:
    """One kind of work as a loop of `saliency-bench`."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.stages: Stages = {"work": work}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a peer took, per frame."""

    peer: str
    wall_ms: float
    cpu_ms: float
    ratio: Interval
    note: str


@app.command()
def main(
    bundle: Annotated[Path, typer.Argument(help="With an fp32 model.")],
    clip: Annotated[Path, typer.Argument(help="A video.")],
    weights: Annotated[Path | None, typer.Option(help="The bundle's checkpoint, for PyTorch.")] = None,
    network: Annotated[str | None, typer.Option(help="What to take the weights as.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Of each peer's turn.")] = 4,
    rounds: Annotated[int, typer.Option(min=5, help="In which all take turns, at least.")] = 10,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables there.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them there, as SVG.")] = None,
) -> None:
    """Measure all peers that are installed, and print two tables."""
    plan = InterleavedPlan(rounds=rounds, seconds=0)
    with Bundle.open(bundle) as opened:
        onnx_path = opened.model("fp32")
        tables = {
            INFERENCE: inference_rows(onnx_path, clip, weights, network, frames, plan),
            WHOLE: whole_rows(onnx_path, clip, frames, plan),
        }
    text = "\n".join(line for name, rows in tables.items() for line in markdown_lines(name, rows))
    print(text)
    if markdown is not None:
        with atomic_file(markdown) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if plot is not None:
        bars = {
            name: [Bar(row.peer, row.wall_ms, row.ratio) for row in rows] for name, rows in tables.items()
        }
        with atomic_file(plot) as temporary:
            temporary.write_text(svg_of(bars), encoding="utf-8")


def inference_rows(
    onnx_path: Path,
    clip: Path,
    weights: Path | None,
    network: str | None,
    frames: int,
    plan: InterleavedPlan,
) -> list[Row]:
    """Let all that can run the graph take turns on the same fitted frames."""
    with closing(OnnxRuntimeModel.load(onnx_path)) as engine:
        inputs = fitted_frames(clip, engine.contract, frames)
        peers: dict[str, Infer] = {
            "saliency-edge's engine (ONNX Runtime)": engine.infer,
            "ONNX Runtime, bare": bare_onnx_runtime(onnx_path),
            "OpenCV DNN": opencv_dnn(onnx_path),
            **openvino_if_installed(onnx_path),
            **(pytorch(weights, network, engine.contract) if weights else {}),
        }
        expected = engine.infer(inputs[0])
        notes = {name: agreement(infer(inputs[0]), expected) for name, infer in peers.items()}
        loops = {name: Repeated(over(inputs, infer)) for name, infer in peers.items()}
        return rows_of(run_interleaved(loops, plan), frames, notes)


def whole_rows(onnx_path: Path, clip: Path, frames: int, plan: InterleavedPlan) -> list[Row]:
    """Let our pipeline and a plain loop take turns on the same clip."""
    with ExitStack() as stack:
        engine = stack.enter_context(closing(OnnxRuntimeModel.load(onnx_path)))
        infer = bare_onnx_runtime(onnx_path)
        loops = {
            "saliency-run's pipeline": Repeated(lambda: pipeline_loop(engine, str(clip), frames)),
            "plain OpenCV loop": Repeated(lambda: plain_loop(infer, engine.contract, clip, frames)),
        }
        return rows_of(run_interleaved(loops, plan), frames, {})


def plain_loop(infer: Infer, contract: Contract, clip: Path, frames: int) -> None:
    """Read, resize, infer, colour, blend and write, one frame after another, as examples do."""
    capture = cv2.VideoCapture(str(clip))
    width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    with tempfile.TemporaryDirectory() as folder:
        path, fourcc = str(Path(folder) / "overlay.mp4"), cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(path, fourcc, 25.0, (width, height))
        for _ in range(frames):
            _, frame = capture.read()
            fitted = cv2.resize(frame, contract.size_hw[::-1], interpolation=cv2.INTER_AREA)
            saliency = infer(np.asarray(fitted, np.uint8)[np.newaxis])[0]
            levels = cv2.resize((saliency * 255).astype(np.uint8), (width, height))
            writer.write(cv2.addWeighted(frame, 0.5, cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), 0.5, 0))
        writer.release()
    capture.release()


def bare_onnx_runtime(onnx_path: Path) -> Infer:
    """Give a session with ONNX Runtime's own defaults."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
    return lambda frames: np.asarray(session.run([OUTPUT_NAME], {INPUT_NAME: frames})[0])


def opencv_dnn(onnx_path: Path) -> Infer:
    """Give OpenCV's own reader of the graph."""
    net = cv2.dnn.readNetFromONNX(str(onnx_path))

    def infer(frames: Frames) -> Maps:
        net.setInput(frames, INPUT_NAME)
        return np.asarray(net.forward(), np.float32)

    return infer


def openvino_if_installed(onnx_path: Path) -> dict[str, Infer]:
    """Give OpenVINO in fp32, or nothing where it is not installed."""
    try:
        import openvino
    except ImportError:
        return {}
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(str(onnx_path), "CPU", options)
    return {"OpenVINO": lambda frames: np.asarray(model([frames])[0])}


def pytorch(weights: Path, network: str | None, contract: Contract) -> dict[str, Infer]:
    """Give PyTorch as it is, and compiled where there is a compiler."""
    import torch

    from saliency_edge.train.checkpoint import load_checkpoint
    from saliency_edge.train.networks.saliency_network import DeployGraph

    checkpoint = load_checkpoint(weights, network=network, size_hw=contract.size_hw)
    eager = DeployGraph(checkpoint.network).eval()

    def run_by(model: Callable[[torch.Tensor], torch.Tensor]) -> Infer:
        def infer(frames: Frames) -> Maps:
            with torch.inference_mode():
                return np.asarray(model(torch.from_numpy(frames)).numpy())

        return infer

    compiled = {"PyTorch, compiled": run_by(torch.compile(eager))} if shutil.which("g++") else {}
    return {"PyTorch, eager": run_by(eager), **compiled}


def over(inputs: Sequence[Frames], infer: Infer) -> Callable[[], None]:
    """Give the work of one turn: all frames, one after another."""

    def work() -> None:
        for frame in inputs:
            infer(frame)

    return work


def fitted_frames(clip: Path, contract: Contract, count: int) -> list[Frames]:
    """Read the clip's first frames, as batches of one at the network's size."""
    capture = cv2.VideoCapture(str(clip))
    frames = [np.asarray(capture.read()[1], np.uint8) for _ in range(count)]
    capture.release()
    return [fit_frame(frame, contract.size_hw, contract.fit)[np.newaxis] for frame in frames]


def agreement(found: Maps, expected: Maps) -> str:
    """Say how far maps are from our engine's."""
    return f"{np.abs(found.astype(np.float64) - expected).max():.1e}"


def rows_of(series: Mapping[str, Series], frames: int, notes: Mapping[str, str]) -> list[Row]:
    """Give each peer's costs per frame, and its time in units of the first one's."""
    first = next(iter(series.values()))[FRAME]
    return [
        Row(
            peer=name,
            wall_ms=float(np.median(values[FRAME])) / frames * 1e3,
            cpu_ms=float(np.median(values[CPU])) / frames * 1e3,
            ratio=median_interval(values[FRAME] / first),
            note=notes.get(name, ""),
        )
        for name, values in series.items()
    ]


def markdown_lines(name: str, rows: Sequence[Row]) -> list[str]:
    """Give a table."""
    lines = [f"| {name} | ms a frame | CPU ms | times the first row | differs by |", "| --- " * 5 + "|"]
    for row in rows:
        ratio = f"{row.ratio.estimate:.2f} [{row.ratio.low:.2f}, {row.ratio.high:.2f}]"
        lines.append(f"| {row.peer} | {row.wall_ms:.1f} | {row.cpu_ms:.1f} | {ratio} | {row.note} |")
    return [*lines, ""]


if __name__ == "__main__":
    run_app(app)
