"""What the pipeline costs over a bare ONNX Runtime loop on the same frames.

The bare loop is `session.run` on frames that lie fitted in memory; the pipeline reads, fits, infers, renders
the overlay and writes the video. Both take turns, so that a busy machine disturbs them alike. CPU time is
that of all threads; where other work takes the cores, its ratio says more than the wall clock's.

    python tests/bench/pipeline_overhead.py BUNDLE CLIP
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import onnxruntime
import typer
from numpy.typing import NDArray

from saliency_edge.runtime.artifact import write_json
from saliency_edge.runtime.backends.onnxruntime_backend import OnnxRuntimeModel
from saliency_edge.runtime.bundle import Bundle
from saliency_edge.runtime.console import run_app
from saliency_edge.runtime.contract import Contract, Precision
from saliency_edge.runtime.errors import UsageError
from saliency_edge.runtime.fit import fit_frame
from saliency_edge.runtime.stream.pipeline import Stream, run_pipeline
from saliency_edge.runtime.stream.render import Renderer, RenderOptions
from saliency_edge.runtime.stream.sinks.video import VideoSink
from saliency_edge.runtime.stream.sources.open_source import open_source
from saliency_edge.runtime.stream.sources.source import SourceOptions
from saliency_edge.runtime.telemetry import Telemetry

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one loop took, per frame."""

    wall_ms: float
    cpu_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One repeat: the same frames through both loops."""

    bare: Cost
    pipeline: Cost

    @property
    def wall_overhead(self) -> float:
        """Wall time that the pipeline adds, as a part of the bare loop's."""
        return self.pipeline.wall_ms / self.bare.wall_ms - 1

    @property
    def cpu_overhead(self) -> float:
        """CPU time that the pipeline adds, as a part of the bare loop's."""
        return self.pipeline.cpu_ms / self.bare.cpu_ms - 1


@app.command()
def main(
    model: Annotated[Path, typer.Argument(help="A bundle, or an .onnx.")],
    source: Annotated[str, typer.Argument(help="A video, or a folder of images.")],
    precision: Annotated[Precision, typer.Option(help="Which model of the bundle.")] = "fp16",
    frames: Annotated[int, typer.Option(min=1, help="Of each loop.")] = 30,
    repeats: Annotated[int, typer.Option(min=1, help="Of both loops.")] = 5,
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None,
) -> None:
    """Measure and print the overhead."""
    if model.suffix == ".onnx":
        report(model, source, frames, repeats, json)
        return
    with Bundle.open(model) as bundle:
        report(bundle.model(precision), source, frames, repeats, json)


def report(onnx_path: Path, source: str, frame_limit: int, repeats: int, json: Path | None) -> None:
    """Take turns, print the table, write the figures."""
    with closing(OnnxRuntimeModel.load(onnx_path)) as engine:
        inputs = fitted_frames(source, engine.contract, frame_limit)
        bare_session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
        bare_loop(bare_session, inputs[:1])
        pipeline_loop(engine, source, 1)
        turns = [take_turn(engine, bare_session, source, inputs, number) for number in range(repeats)]
    print(f"{engine.description}; {source}; {len(inputs)} frames, {repeats} repeats\n")
    print_table(turns)
    if json is not None:
        write_json(json, figures(turns, engine.description, source, len(inputs)))


def take_turn(
    engine: OnnxRuntimeModel, session: Any, source: str, inputs: Sequence[NDArray[np.uint8]], number: int
) -> Turn:
    """Run both loops, every other time the second one first."""
    if number % 2:
        pipeline = pipeline_loop(engine, source, len(inputs))
        return Turn(bare=bare_loop(session, inputs), pipeline=pipeline)
    bare = bare_loop(session, inputs)
    return Turn(bare=bare, pipeline=pipeline_loop(engine, source, len(inputs)))


def bare_loop(session: Any, inputs: Sequence[NDArray[np.uint8]]) -> Cost:
    """Time the bare loop."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for frame in inputs:
        session.run(["saliency"], {"frame": frame})
    return cost_since(wall_s, cpu_s, len(inputs))


def pipeline_loop(engine: OnnxRuntimeModel, text: str, frame_limit: int) -> Cost:
    """Time the whole pipeline, from the source's opening to the video's last byte."""
    with tempfile.TemporaryDirectory() as folder:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        with (
            closing(open_source(text, SourceOptions(max_frames=frame_limit))) as source,
            closing(VideoSink(Path(folder) / "overlay.mp4", fps=source.fps)) as sink,
        ):
            telemetry = Telemetry()
            streams = [Stream.of(source, telemetry.counters)]
            count = run_pipeline(streams, engine, [sink], Renderer(RenderOptions()), telemetry)
        return cost_since(wall_s, cpu_s, count)


def cost_since(wall_s: float, cpu_s: float, frame_count: int) -> Cost:
    """Give the cost per frame since both clocks were read."""
    wall_ms, cpu_ms = (time.perf_counter() - wall_s) * 1e3, (time.process_time() - cpu_s) * 1e3
    return Cost(wall_ms=wall_ms / frame_count, cpu_ms=cpu_ms / frame_count)


def fitted_frames(text: str, contract: Contract, frame_limit: int) -> list[NDArray[np.uint8]]:
    """Read and fit the frames, as batches of one."""
    if contract.batch[0] != 1:
        raise UsageError(f"the bare loop takes single frames, the model {contract.batch[0]} at least")
    with closing(open_source(text, SourceOptions(max_frames=frame_limit))) as source:
        return [
            fit_frame(frame.image_bgr, contract.size_hw, contract.fit)[np.newaxis]
            for frame in source.frames()
        ]


def print_table(turns: Sequence[Turn]) -> None:
    """Print medians and spread."""
    rows = {
        "bare, ms/frame": [turn.bare.wall_ms for turn in turns],
        "pipeline, ms/frame": [turn.pipeline.wall_ms for turn in turns],
        "overhead, %": [turn.wall_overhead * 100 for turn in turns],
        "CPU overhead, %": [turn.cpu_overhead * 100 for turn in turns],
    }
    print(f"{'':20}{'median':>10}{'least':>10}{'most':>10}")
    for name, values in rows.items():
        print(f"{name:20}{median(values):10.2f}{min(values):10.2f}{max(values):10.2f}")


def figures(turns: Sequence[Turn], engine: str, source: str, frame_count: int) -> dict[str, Any]:
    """Give all that was measured as JSON values."""
    return {
        "engine": engine,
        "source": source,
        "frames": frame_count,
        "turns": [asdict(turn) for turn in turns],
        "wall_overhead_median": median(turn.wall_overhead for turn in turns),
        "cpu_overhead_median": median(turn.cpu_overhead for turn in turns),
    }


if __name__ == "__main__":
    run_app(app)
