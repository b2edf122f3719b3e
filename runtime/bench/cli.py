"""The command `saliency-bench`: what a model costs on this machine, and whether that got worse."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from ..console import echo, make_app, refuse_idle_options, run_app, warn
from ..options import check_range, check_threads, parse_size
from ..outputs import STDOUT, stdout_or

if TYPE_CHECKING:
    from ..contract import Precision
    from .baseline import Comparison, Limits
    from .footprint import ModelSpec
    from .measure import BenchPlan, BenchResult

app = make_app("saliency-bench")


@app.command()
def bench(
    context: typer.Context,
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL",
            help="Bundles (folder or .zip), .onnx, .engine, or .safetensors files.",
            show_default=False,
        ),
    ],
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="fp32,...",
            help="Precisions of the bundles to measure (default: each bundle's own default).",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str, typer.Option(metavar="HxW,...", help="Frame sizes before the fit to the network's size.")
    ] = "720x1280",
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="N,...", help="Batch sizes (default: the model's smallest).", show_default=False
        ),
    ] = None,
    backend: Annotated[
        str,
        typer.Option(
            metavar="auto|tensorrt|openvino|onnxruntime|pytorch",
            help="Inference backend; auto selects the fastest that matches PyTorch on this machine.",
        ),
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads per inference (default: all cores).")
    ] = None,
    frames: Annotated[
        int, typer.Option(min=50, help="Fewest frames of each model's isolated run, which ends when steady.")
    ] = 100,
    rounds: Annotated[
        int, typer.Option(min=5, help="Fewest rounds in which models and reference are interleaved.")
    ] = 15,
    seconds: Annotated[
        float,
        typer.Option(min=1.0, help="Longest interleaved run; it ends when the ratio is precise to 3%."),
    ] = 45.0,
    start_ups: Annotated[int, typer.Option(min=0, help="Cold starts of each model; 0 for none.")] = 5,
    render: Annotated[bool, typer.Option("--render", help="Include rendering of the overlay.")] = False,
    roofline: Annotated[
        bool, typer.Option(help="Measure the device's limits, and how much of them the model reaches.")
    ] = True,
    peak_tops: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Peak rate of the device in TOPS, from its data sheet (default: measured in fp32).",
        ),
    ] = None,
    bandwidth: Annotated[
        float | None,
        typer.Option(min=0.1, help="Memory bandwidth in GB/s, from the data sheet (default: measured)."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the results as a baseline.", show_default=False),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Compare the results with this baseline; exit code 1 on a regression.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        str, typer.Option(metavar="N%", help="Allowed increase of times and sizes.")
    ] = "10%",
    leak: Annotated[float, typer.Option(min=0.01, help="Allowed memory growth in MB per 100 frames.")] = 0.5,
    json: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all results as JSON; - is stdout.", show_default=False),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a summary for a pull request.", show_default=False),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the comparisons of --check as JUnit XML.", show_default=False
        ),
    ] = None,
) -> None:
    """Measure latency, memory, start-up and accuracy of models, and compare them with a baseline."""
    from .baseline import Limits
    from .measure import BenchPlan
    from .timing import InterleavedPlan, IsolatedPlan

    check_threads(threads)
    check_range("--frames", frames, 50, 1_000_000)
    check_range("--rounds", rounds, 5, 100_000)
    check_range("--seconds", seconds, 1, 86_400)
    check_range("--start-ups", start_ups, 0, 1000)
    check_range("--leak", leak, 0.01, 1e6)
    check_range("--peak-tops", peak_tops or 1, 0.001, 1e6)
    check_range("--bandwidth", bandwidth or 1, 0.1, 1e6)
    limits = Limits(tolerance=parse_tolerance(tolerance), leak_mb=leak)
    plan = BenchPlan(
        models=model_specs(
            models, parse_precisions(precision) if precision is not None else (), backend, threads
        ),
        sizes_hw=tuple(parse_size(part) for part in size.split(",")),
        batches=parse_batches(batch) if batch is not None else (),
        isolated=IsolatedPlan(frames=frames),
        interleaved=InterleavedPlan(rounds=rounds, seconds=seconds),
        render=render,
        start_ups=start_ups,
        with_reference=save is not None or check is not None,
        with_roofline=roofline,
        peak_tops=peak_tops,
        bandwidth_gb_s=bandwidth,
    )
    refuse_idle_options(context, "without --check", tolerance=check, leak=check, junit=check)
    refuse_idle_options(context, "with --no-roofline", peak_tops=roofline, bandwidth=roofline)
    refuse_idle_options(context, "without a bundle", precision=any(map(_may_be_bundle, models)))
    json = stdout_or(json)
    _check_outputs(models, json, markdown, junit, save, check)
    result, comparisons = _measure(plan, check, limits, stream=sys.stderr if json == STDOUT else sys.stdout)
    _write(result, comparisons, json, markdown, junit, save)
    if any(item.verdict == "worse" for item in comparisons):
        raise SystemExit(1)


def _may_be_bundle(model: Path) -> bool:
    """Tell whether a model may have several precisions; one that is missing is somebody else's to refuse."""
    return model.suffix not in (".onnx", ".engine", ".safetensors")


def _check_outputs(
    models: Sequence[Path],
    json: Path | None,
    markdown: Path | None,
    junit: Path | None,
    save: Path | None,
    check: Path | None,
) -> None:
    """See, before anything is measured, that every file can be written and none destroys what is read.

    Raises:
        UsageError: a file is a model, lies in a bundle, is the baseline of --check, or is written twice.
        OutputError: a file cannot be written.
    """
    from ..outputs import OutputPlan

    plan = OutputPlan()
    for model in models:
        plan.read_model("MODEL", model)
    plan.read_file("--check", check)
    plan.write_file("--json", json, takes_stdout=True)
    plan.write_file("--markdown", markdown)
    plan.write_file("--junit", junit)
    plan.write_file("--save", save)
    plan.check()


def _measure(
    plan: BenchPlan, check: Path | None, limits: Limits, *, stream: TextIO
) -> tuple[BenchResult, list[Comparison]]:
    """Measure, print the results, and compare them with the baseline `check`, if there is one."""
    from dataclasses import replace

    from .baseline import compare, machine_differences, read_baseline
    from .measure import measure
    from .report import format_comparisons, format_text

    baseline = read_baseline(check) if check else None
    if baseline:
        plan = replace(plan, repeats=baseline.repeats)
    result = measure(plan, warn)
    echo(f"\n{format_text(result)}", stream)
    if baseline is None:
        return result, []
    comparisons = compare(result, baseline, limits)
    for difference in machine_differences(result, baseline):
        echo(f"note: {difference}; its figures may not hold here", stream)
    echo("\n".join(["", *format_comparisons(comparisons)]), stream)
    return result, comparisons


def _write(
    result: BenchResult,
    comparisons: list[Comparison],
    json: Path | None,
    markdown: Path | None,
    junit: Path | None,
    save: Path | None,
) -> None:
    from dataclasses import asdict

    from ..artifact import atomic_file, write_json
    from .baseline import save_baseline
    from .report import format_markdown, write_junit

    document = {**result.to_json(), "checks": [asdict(item) for item in comparisons]}
    if json == STDOUT:
        echo(dumps(document, indent=2))
    elif json is not None:
        write_json(json, document)
    if markdown is not None:
        with atomic_file(markdown) as temporary:
            temporary.write_text(format_markdown(result, comparisons), encoding="utf-8")
    if junit is not None:
        write_junit(comparisons, junit)
    if save is not None:
        save_baseline(result, save)


def parse_tolerance(text: str) -> float:
    """Tolerance from `10%` or `0.1`, both 0.1.

    Raises:
        UsageError: it is neither, or not above 0.
    """
    from ..errors import UsageError

    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(%?)", text.strip())
    tolerance = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    if not 0 < tolerance <= 1:
        raise UsageError(f"--tolerance {text}: expected a part such as 10% or 0.1")
    return tolerance


def parse_batches(text: str) -> tuple[int, ...]:
    """Batch sizes from `1,4,8`.

    Raises:
        UsageError: it is no such list.
    """
    from ..errors import UsageError

    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text):
        raise UsageError(f"--batch {text}: expected counts of frames, such as 1 or 1,4,8")
    return tuple(int(part) for part in text.split(","))


def parse_precisions(text: str) -> tuple[Precision, ...]:
    """Precisions from `fp32,int8`.

    Raises:
        UsageError: one of them is no precision.
    """
    from ..contract import PRECISIONS
    from ..errors import UsageError

    wanted = text.split(",")
    unknown = [part for part in wanted if part not in PRECISIONS]
    if unknown:
        raise UsageError(f"--precision {unknown[0]}: expected some of {', '.join(PRECISIONS)}, with commas")
    return tuple(precision for precision in PRECISIONS if precision in wanted)


def model_specs(
    models: Sequence[Path], precisions: Sequence[Precision], backend: str, threads: int | None
) -> list[ModelSpec]:
    """Each bundle in each precision; a model file has one precision of its own."""
    from .footprint import ModelSpec
    from .measure import is_bundle

    return [
        ModelSpec(path=model, precision=precision, backend=backend, threads=threads)
        for model in models
        for precision in (precisions if precisions and is_bundle(model) else [None])
    ]


def main() -> None:
    """Entry point of `saliency-bench`."""
    run_app(app)


if __name__ == "__main__":
    main()
