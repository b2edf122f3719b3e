"""Reports: text for a terminal, Markdown for a pull request, JUnit XML, which every CI shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from ..artifact import atomic_file
from .baseline import Comparison
from .measure import BenchResult, Case, ModelResult
from .timing import CPU, FRAME

_COLUMNS = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms")
_HEADINGS = ("p50", "p90", "p95", "p99", "max")


def format_text(result: BenchResult) -> str:
    """All results as lines of text."""
    lines = [line for model in result.models for line in _model_lines(model, result)]
    first = result.models[0].name
    for name, ratio in result.against_first.items():
        lines.append(
            f"{name} takes {ratio.estimate:.3f} times as long as {first}, "
            f"95% [{ratio.low:.3f}, {ratio.high:.3f}]"
        )
    if result.roofline:
        roofline = result.roofline
        limits = f"{roofline.tera_ops:.3f} TFLOP/s, {roofline.gigabytes_s:.1f} GB/s"
        lines.append(f"this device: {limits}; {roofline.origin}")
    megabytes = sum(result.base_install_mb.values())
    heaviest = ", ".join(f"{name} {size:.0f}" for name, size in list(result.base_install_mb.items())[:3])
    lines.append(f"a base install weighs {megabytes:.0f} MB: {heaviest}, ...")
    return "\n".join(lines)


def format_markdown(result: BenchResult, comparisons: Sequence[Comparison]) -> str:
    """Summary for a pull request: regressions first, then the results."""
    worse = [item for item in comparisons if item.verdict == "worse"]
    headline = (
        f"{len(worse)} of {len(comparisons)} figures got worse"
        if worse
        else f"{len(comparisons)} figures hold"
    )
    lines = [f"### saliency-bench{': ' + headline if comparisons else ''}", ""]
    lines += [f"- **{item.model}**: {item.sentence}" for item in worse]
    lines += ["", *_markdown_table(result)]
    if comparisons:
        lines += ["", "<details><summary>All figures</summary>", "", "| model | figure | verdict | |"]
        lines += ["| --- | --- | --- | --- |"]
        lines += [
            f"| {item.model} | {item.figure} | {item.verdict} | {item.sentence} |" for item in comparisons
        ]
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def format_comparisons(comparisons: Sequence[Comparison]) -> list[str]:
    """A line for each comparison that is not ok, and how many are."""
    shown = [item for item in comparisons if item.verdict != "ok"]
    lines = [f"{item.verdict}: {item.model}: {item.sentence}" for item in shown]
    return [*lines, f"{len(comparisons) - len(shown)} of {len(comparisons)} figures hold"]


def describe_frame(case: Case) -> str:
    """What a frame's time includes."""
    height, width = case.size_hw
    stages = ", ".join(stage for stage in case.run.latency if stage not in (FRAME, CPU))
    return (
        f"a frame is {stages}, one after another in one thread; {height}x{width} frames lie in memory; infer "
        "includes host to device and back; reading, drawing and writing are left out unless named"
    )


def _model_lines(model: ModelResult, result: BenchResult) -> Iterator[str]:
    yield f"{model.name}, {model.engine}"
    yield f"  included: {describe_frame(model.cases[0])}"
    for case in model.cases:
        yield from _case_lines(case)
    if model.start_up:
        start = model.start_up
        loading = f"{start.load_s:.2f} s of it loading"
        memory = "" if start.peak_rss_mb is None else f", peak memory {start.peak_rss_mb:.0f} MB"
        yield f"  cold start: first map after {start.first_map_s:.2f} s, {loading}{memory}"
    if model.golden:
        yield f"  golden maps: largest difference {model.golden.max_abs:.2g}, CC {model.golden.cc:.7f}"
    if model.cost:
        work = f"{model.cost.macs / 1e9:.2f} GMAC, {model.cost.bytes / 1e6:.1f} MB"
        yield f"  graph: {work}{_share(model, result)}"
    yield ""


def _case_lines(case: Case) -> Iterator[str]:
    run, (height, width) = case.run, case.size_hw
    state = "steady" if run.is_steady else "NOT steady: the second half"
    counted = f"{run.frames} frames, {state} after {run.warm_up_frames}"
    yield f"  {height}x{width}, batch {case.batch}: {run.frames_per_s:.2f} frames/s; {counted}"
    yield f"    {'ms':8}" + "".join(f"{heading:>10}" for heading in _HEADINGS)
    for stage, latency in run.latency.items():
        values = asdict(latency)
        yield f"    {stage:8}" + "".join(f"{values[column]:10.3f}" for column in _COLUMNS)
    if run.growth_mb:
        growth = run.growth_mb
        interval = f"[{growth.low:.2f}, {growth.high:.2f}]"
        yield f"    memory grows by {growth.estimate:.2f} MB per 100 frames {interval}"
    if run.board.means:
        readings = ", ".join(f"{name} {value:.1f}" for name, value in run.board.means.items())
        joule = run.joule_per_frame()
        yield f"    board: {readings}" + (f", {joule:.3f} J a frame" if joule is not None else "")


def _share(model: ModelResult, result: BenchResult) -> str:
    """Share of the roofline that the median of infer reaches."""
    if result.roofline is None or model.cost is None:
        return ""
    case = next((case for case in model.cases if case.batch == model.contract.batch[0]), None)
    if case is None:
        return ""
    share = result.roofline.least_s(model.cost) / (case.run.latency["infer"].p50_ms / 1e3)
    return f"; {share:.0%} of the roofline reached"


def _markdown_table(result: BenchResult) -> list[str]:
    lines = [
        "| model | frames | batch | frames/s | p50 ms | p95 ms | p99 ms | first map s | peak MB | max abs |",
        "| --- " * 10 + "|",
    ]
    return lines + [_markdown_row(model, case) for model in result.models for case in model.cases]


def _markdown_row(model: ModelResult, case: Case) -> str:
    latency, start = case.run.latency[FRAME], model.start_up
    height, width = case.size_hw
    peak = start.peak_rss_mb if start else None
    cells = [
        model.name,
        f"{height}x{width}",
        str(case.batch),
        f"{case.run.frames_per_s:.2f}",
        *(f"{value:.2f}" for value in (latency.p50_ms, latency.p95_ms, latency.p99_ms)),
        f"{start.first_map_s:.2f}" if start else "",
        f"{peak:.0f}" if peak is not None else "",
        f"{model.golden.max_abs:.2g}" if model.golden else "",
    ]
    return f"| {' | '.join(cells)} |"


def write_junit(comparisons: Sequence[Comparison], path: Path) -> None:
    """Write comparisons as JUnit XML: a suite for each model, a test case for each figure.

    Raises:
        OutputError: the file cannot be written.
    """
    root = Element("testsuites", {"name": "saliency-bench", **_counts(comparisons)})
    for model in dict.fromkeys(item.model for item in comparisons):
        own = [item for item in comparisons if item.model == model]
        suite = SubElement(root, "testsuite", {"name": model, **_counts(own)})
        for item in own:
            _add_case(suite, item)
    indent(root)
    with atomic_file(path) as temporary:
        ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)


def _counts(comparisons: Sequence[Comparison]) -> dict[str, str]:
    verdicts = [item.verdict for item in comparisons]
    return {
        "tests": str(len(comparisons)),
        "failures": str(verdicts.count("worse")),
        "skipped": str(verdicts.count("not held")),
    }


def _add_case(suite: Element, item: Comparison) -> None:
    case = SubElement(suite, "testcase", classname=f"saliency-bench.{item.model}", name=item.figure)
    if item.verdict == "worse":
        SubElement(case, "failure", message=item.sentence)
    elif item.verdict == "not held":
        SubElement(case, "skipped", message=item.sentence)
    else:
        SubElement(case, "system-out").text = item.sentence
