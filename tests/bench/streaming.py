"""What streaming costs, and how old its results are, with engines whose cost is known.

Three figures, from the test pattern at 640x360 with the overlay rendered:

- `cost`: an engine that takes no time, 10,000 frames as fast as they go: wall and CPU time per frame;
- `age`: an engine that takes 66 ms without using the CPU, as a GPU does, a source twice as fast, policy
  newest: p50, p95 and p99 of the results' age over one inference time;
- `rate`: the same engine under policy all, overlay recorded to a file: results per second over the engine's.

    python tests/bench/streaming.py [cost] [age] [rate]
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from saliency_edge.runtime.console import make_app, run_app
from saliency_edge.runtime.contract import Contract
from saliency_edge.runtime.stream.pipeline import Stream, run_pipeline
from saliency_edge.runtime.stream.render import Renderer, RenderOptions
from saliency_edge.runtime.stream.scheduler import ALL, NEWEST, Policy
from saliency_edge.runtime.stream.sinks.open_sinks import SinkOptions, open_sinks
from saliency_edge.runtime.stream.sources.open_source import open_source
from saliency_edge.runtime.stream.sources.source import SourceOptions
from saliency_edge.runtime.telemetry import Telemetry

app = make_app("streaming")

CONTRACT = Contract(
    network="none",
    precision="fp32",
    size_hw=(240, 320),
    map_size_hw=(60, 80),
    batch=(1, 1),
    fit="stretch",
    weights_sha256="0" * 64,
)


class WaitingEngine:
    """Gives one map always, after a time that it spends asleep."""

    contract = CONTRACT

    def __init__(self, inference_s: float) -> None:
        self.description = f"{inference_s * 1e3:g} ms asleep"
        self._inference_s = inference_s
        rows, columns = np.mgrid[:60, :80]
        self._map = np.exp(-((rows - 30) ** 2 + (columns - 40) ** 2) / 200).astype(np.float32)

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._inference_s:
            time.sleep(self._inference_s)
        return np.repeat(self._map[np.newaxis], len(frames), axis=0)

    def close(self) -> None: ...


@app.command()
def main(
    what: Annotated[list[str] | None, typer.Argument(help="cost, age, rate; all without it.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Of cost.")] = 10_000,
    seconds: Annotated[float, typer.Option(min=1, help="Of age and rate, each.")] = 30.0,
    inference_ms: Annotated[float, typer.Option(min=0.1, help="Of the engine of age and rate.")] = 66.0,
) -> None:
    """Measure, and print a line for each figure."""
    wanted = what or ["cost", "age", "rate"]
    if "cost" in wanted:
        measure_cost(frames)
    if "age" in wanted:
        measure_age(inference_ms / 1e3, seconds)
    if "rate" in wanted:
        measure_rate(inference_ms / 1e3, seconds)


def measure_cost(frames: int) -> None:
    """Print wall and CPU time per frame, and where the time went."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    telemetry = stream_through("pace=fast", ALL, 0.0, frames, SinkOptions(render_only=True))
    wall_ms, cpu_ms = (
        (end - start) / frames * 1e3 for start, end in zip((wall_s, cpu_s), now(), strict=True)
    )
    print(f"cost   {frames} frames: {wall_ms:.2f} ms of wall time and {cpu_ms:.2f} ms of CPU per frame")
    for stage, total in telemetry.totals().items():
        print(f"       {stage:8}{total.sum_s / total.count * 1e3:8.3f} ms")


def measure_age(inference_s: float, seconds: float) -> None:
    """Print the percentiles of the age over the inference time."""
    fps = 2 / inference_s
    telemetry = stream_through(
        f"fps={fps}", NEWEST, inference_s, round(fps * seconds), SinkOptions(render_only=True), is_live=True
    )
    age = telemetry.percentiles()["age"]
    ratios = (value / (inference_s * 1e3) for value in (age.p50_ms, age.p95_ms, age.p99_ms))
    print("age    over one inference: p50 {:.2f}, p95 {:.2f}, p99 {:.2f}".format(*ratios))
    print(f"       {telemetry.counters.totals()}")


def measure_rate(inference_s: float, seconds: float) -> None:
    """Print the pipeline's rate over the engine's, with the overlay recorded."""
    engine = WaitingEngine(inference_s)
    count = max(2, round(seconds / inference_s))
    start_s = time.perf_counter()
    for _ in range(count):
        engine.infer(np.zeros((1, 240, 320, 3), np.uint8))
    bare_s = time.perf_counter() - start_s
    with tempfile.TemporaryDirectory() as folder:
        start_s = time.perf_counter()
        stream_through("pace=fast", ALL, inference_s, count, SinkOptions(output=Path(folder) / "overlay.mp4"))
        print(
            f"rate   over the bare engine's, overlay recorded: {bare_s / (time.perf_counter() - start_s):.3f}"
        )


def stream_through(
    pattern: str,
    policy: Policy,
    inference_s: float,
    frames: int,
    options: SinkOptions,
    *,
    is_live: bool = False,
) -> Telemetry:
    """Take so many frames of the pattern through."""
    telemetry = Telemetry()
    with ExitStack() as stack:
        source = stack.enter_context(
            closing(open_source(f"test:{pattern}", SourceOptions(max_frames=frames)))
        )
        streams = [Stream.of(source, telemetry.counters, policy)]
        sinks = open_sinks(stack, options, is_live=is_live)
        run_pipeline(streams, WaitingEngine(inference_s), sinks, Renderer(RenderOptions()), telemetry)
    return telemetry


def now() -> tuple[float, float]:
    """Read the wall's and the CPU's clock."""
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    run_app(app)
