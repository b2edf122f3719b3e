"""What the pipeline costs over a bare ONNX Runtime loop on the same frames.

The bare loop is `session.run` on frames that lie fitted in memory; the pipeline reads, fits, infers, renders
the overlay and writes the video. Both take turns, so that a busy machine disturbs them alike.

    python tests/bench/pipeline_overhead.py BUNDLE CLIP
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import onnxruntime
import typer
from numpy.typing import NDArray

from saliency_edge.runtime.artifact import write_json
from saliency_edge.runtime.bundle import Bundle
from saliency_edge.runtime.console import run_app
from saliency_edge.runtime.contract import Contract, Precision
from saliency_edge.runtime.engines.ort_engine import OrtEngine
from saliency_edge.runtime.errors import UsageError
from saliency_edge.runtime.fit import fit_frame
from saliency_edge.runtime.telemetry import Telemetry
from saliency_edge.runtime.video.pipeline import run_pipeline
from saliency_edge.runtime.video.render import Renderer, RenderOptions
from saliency_edge.runtime.video.sinks import VideoSink
from saliency_edge.runtime.video.sources import open_source

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One repeat: the same frames, twice."""

    bare_ms: float
    pipeline_ms: float

    @property
    def overhead(self) -> float:
        """Wall time that the pipeline adds, as a part of the bare loop's."""
        return self.pipeline_ms / self.bare_ms - 1


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
    with closing(OrtEngine.load(onnx_path)) as engine:
        inputs = fitted_frames(source, engine.contract, frame_limit)
        bare_session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
        bare_ms(bare_session, inputs[:1])
        pipeline_ms(engine, source, 1)
        turns = [take_turn(engine, bare_session, source, inputs, number) for number in range(repeats)]
    overheads = [turn.overhead for turn in turns]
    print(f"{engine.description}; {source}; {len(inputs)} frames, {repeats} repeats\n")
    print(f"{'':20}{'median':>10}{'least':>10}{'most':>10}")
    print_row("bare, ms/frame", [turn.bare_ms for turn in turns])
    print_row("pipeline, ms/frame", [turn.pipeline_ms for turn in turns])
    print_row("overhead, %", [overhead * 100 for overhead in overheads])
    if json is not None:
        write_json(json, figures(turns, engine.description, source, len(inputs)))


def take_turn(
    engine: OrtEngine, session: Any, source: str, inputs: Sequence[NDArray[np.uint8]], number: int
) -> Turn:
    """Run both loops, every other time the second one first."""
    if number % 2:
        pipeline = pipeline_ms(engine, source, len(inputs))
        return Turn(bare_ms=bare_ms(session, inputs), pipeline_ms=pipeline)
    bare = bare_ms(session, inputs)
    return Turn(bare_ms=bare, pipeline_ms=pipeline_ms(engine, source, len(inputs)))


def bare_ms(session: Any, inputs: Sequence[NDArray[np.uint8]]) -> float:
    """Time the bare loop, per frame."""
    start_s = time.perf_counter()
    for frame in inputs:
        session.run(["saliency"], {"frame": frame})
    return (time.perf_counter() - start_s) * 1e3 / len(inputs)


def pipeline_ms(engine: OrtEngine, text: str, frame_limit: int) -> float:
    """Time the whole pipeline, per frame: from the source's opening to the video's last byte."""
    with tempfile.TemporaryDirectory() as folder:
        start_s = time.perf_counter()
        with (
            closing(open_source(text, max_frames=frame_limit)) as source,
            closing(VideoSink(Path(folder) / "overlay.mp4", fps=source.fps)) as sink,
        ):
            count = run_pipeline(source, engine, [sink], Renderer(RenderOptions()), Telemetry())
        return (time.perf_counter() - start_s) * 1e3 / count


def fitted_frames(text: str, contract: Contract, frame_limit: int) -> list[NDArray[np.uint8]]:
    """Read and fit the frames, as batches of one."""
    if contract.batch[0] != 1:
        raise UsageError(f"the bare loop takes single frames, the model {contract.batch[0]} at least")
    with closing(open_source(text, max_frames=frame_limit)) as source:
        return [
            fit_frame(frame.image_bgr, contract.size_hw, contract.fit)[np.newaxis]
            for frame in source.frames()
        ]


def print_row(name: str, values: Sequence[float]) -> None:
    """Print a row of the table."""
    print(f"{name:20}{median(values):10.2f}{min(values):10.2f}{max(values):10.2f}")


def figures(turns: Sequence[Turn], engine: str, source: str, frame_count: int) -> dict[str, Any]:
    """Give all that was measured as JSON values."""
    return {
        "engine": engine,
        "source": source,
        "frames": frame_count,
        "bare_ms": [turn.bare_ms for turn in turns],
        "pipeline_ms": [turn.pipeline_ms for turn in turns],
        "overhead": [turn.overhead for turn in turns],
        "overhead_median": median(turn.overhead for turn in turns),
    }


if __name__ == "__main__":
    run_app(app)
