"""`saliency-bench`: what a model costs on this machine, and whether that got worse."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import make_app, run_app
from ..options import parse_size

if TYPE_CHECKING:
    from .check import Check, Limits
    from .figures import BenchResult
    from .measure import BenchPlan

_STDOUT = Path("-")

app = make_app("saliency-bench")


@app.command()
def bench(
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
            metavar="fp32,...", help="Of the bundles; without it, each one's default.", show_default=False
        ),
    ] = None,
    size: Annotated[
        str, typer.Option(metavar="HxW,...", help="Of the frames before they are fitted to the network.")
    ] = "720x1280",
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="N,...", help="Frames at once; without it, the model's smallest.", show_default=False
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="That compute one inference on the CPU; without it, all cores.")
    ] = None,
    frames: Annotated[
        int, typer.Option(min=50, help="Of each model alone, at least; more until it is steady.")
    ] = 100,
    rounds: Annotated[
        int, typer.Option(min=5, help="In which models and reference take turns, at least.")
    ] = 15,
    seconds: Annotated[
        float, typer.Option(min=1.0, help="For which they go on at most, until the ratio is precise to 3%.")
    ] = 45.0,
    start_ups: Annotated[int, typer.Option(min=0, help="Cold starts of each model; 0: none.")] = 5,
    render: Annotated[bool, typer.Option("--render", help="Draw the overlay too.")] = False,
    roofline: Annotated[
        bool, typer.Option(help="Measure the device's limits, and say how near the model comes.")
    ] = True,
    peak_tops: Annotated[
        float | None,
        typer.Option(min=0.001, help="Of the device, from its data sheet; without it, measured in fp32."),
    ] = None,
    bandwidth: Annotated[
        float | None, typer.Option(min=0.1, help="Of the device's memory, in GB/s; without it, measured.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the figures as a baseline.", show_default=False)
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Hold the figures against this baseline; exit code 1 where one got worse.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        str, typer.Option(metavar="N%", help="How much worse times and sizes may get.")
    ] = "10%",
    leak: Annotated[float, typer.Option(min=0.01, help="MB per 100 frames by which memory may grow.")] = 0.5,
    json: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all figures as JSON; - is stdout.", show_default=False),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a summary for a pull request.", show_default=False),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what --check found as JUnit XML.", show_default=False),
    ] = None,
) -> None:
    """Measure latency, memory, start-up and accuracy of models, and hold them against a baseline."""
    from .alone import AlonePlan
    from .check import Limits
    from .measure import BenchPlan
    from .options import choices_of, parse_batches, parse_precisions, parse_tolerance
    from .rounds import RoundPlan

    limits = Limits(tolerance=parse_tolerance(tolerance), leak_mb=leak)
    plan = BenchPlan(
        models=choices_of(models, parse_precisions(precision) if precision else (), threads),
        sizes_hw=tuple(parse_size(part) for part in size.split(",")),
        batches=parse_batches(batch) if batch else (),
        alone=AlonePlan(frames=frames),
        rounds=RoundPlan(rounds=rounds, seconds=seconds),
        render=render,
        start_ups=start_ups,
        with_reference=save is not None or check is not None,
        with_roofline=roofline,
        peak_tops=peak_tops,
        bandwidth_gb_s=bandwidth,
    )
    _check_outputs(json, markdown, junit, save, check)
    result, checks = _measured(plan, check, limits, for_people=json != _STDOUT)
    _write(result, checks, json, markdown, junit, save)
    if any(item.verdict == "worse" for item in checks):
        raise SystemExit(1)


def _check_outputs(
    json: Path | None, markdown: Path | None, junit: Path | None, save: Path | None, check: Path | None
) -> None:
    """See before anything is measured that every file can be written."""
    from ..artifact import check_writable
    from ..errors import UsageError

    if junit is not None and check is None:
        raise UsageError("--junit writes what --check finds. Add --check FILE")
    for path in (json, markdown, junit, save):
        if path is not None and path != _STDOUT:
            check_writable(path)


def _measured(
    plan: BenchPlan, check_path: Path | None, limits: Limits, *, for_people: bool
) -> tuple[BenchResult, list[Check]]:
    """Measure, print, and hold against the baseline, if there is one."""
    from dataclasses import replace

    from .baseline import read_baseline
    from .check import check, differences_in_kind
    from .measure import measure
    from .report import check_lines, text_of

    baseline = read_baseline(check_path) if check_path else None
    stream = sys.stdout if for_people else sys.stderr
    if baseline:
        plan = replace(plan, repeats=baseline.repeats)
    result = measure(plan, lambda line: print(line, file=sys.stderr, flush=True))
    print(f"\n{text_of(result)}", file=stream)
    if baseline is None:
        return result, []
    checks = check(result, baseline, limits)
    for difference in differences_in_kind(result, baseline):
        print(f"note: {difference}; its figures may not hold here", file=stream)
    print("\n".join(["", *check_lines(checks)]), file=stream)
    return result, checks


def _write(
    result: BenchResult,
    checks: list[Check],
    json: Path | None,
    markdown: Path | None,
    junit: Path | None,
    save: Path | None,
) -> None:
    from dataclasses import asdict

    from ..artifact import atomic_file, write_json
    from .baseline import save_baseline
    from .junit import write_junit
    from .report import markdown_of

    document = {**result.to_json(), "checks": [asdict(item) for item in checks]}
    if json == _STDOUT:
        print(dumps(document, indent=2))
    elif json is not None:
        write_json(json, document)
    if markdown is not None:
        with atomic_file(markdown) as temporary:
            temporary.write_text(markdown_of(result, checks), encoding="utf-8")
    if junit is not None:
        write_junit(checks, junit)
    if save is not None:
        save_baseline(result, save)


def main() -> None:
    """Entry point of `saliency-bench`."""
    run_app(app)


if __name__ == "__main__":
    main()
