"""The command `saliency-doctor`: all checks of this machine, as lines or as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from json import dumps
from typing import Annotated

import typer

from ..console import echo, make_app, run_app
from . import accelerators, host
from .findings import Check, Finding, run_checks

CHECKS = (
    Check("Python", host.check_python),
    Check("OpenCV", host.check_opencv),
    Check("temporary files", host.check_temporary_folder),
    Check("ONNX Runtime", accelerators.check_onnxruntime),
    Check("OpenVINO", accelerators.check_openvino),
    Check("GPU", accelerators.check_gpu),
    Check("TensorRT", accelerators.check_tensorrt),
    Check("TensorRT-RTX", accelerators.check_tensorrt_rtx),
    Check("cuda-python", accelerators.check_cuda_python),
    Check("FFmpeg", host.check_ffmpeg),
    Check("GStreamer", host.check_gstreamer),
    Check("its elements", host.check_gstreamer_elements),
    Check("cameras", host.check_cameras),
    Check("JetPack", accelerators.check_jetpack),
    Check("power mode", accelerators.check_power_mode),
    Check("clocks", accelerators.check_clocks),
)

app = make_app("saliency-doctor")


@app.command()
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of lines.")] = False,
) -> None:
    """Check this machine: each line says ok, or what to do.

    Exit code 1 where something is broken that every saliency-run needs. What only some users need is a note.
    """
    found = run_checks(CHECKS)
    findings = dict(found) if json else print_findings(found, [check.topic for check in CHECKS])
    is_sound = all(finding.state != "broken" for finding in findings.values())
    if json:
        rows = [{"topic": topic, **asdict(finding)} for topic, finding in findings.items()]
        echo(dumps({"sound": is_sound, "findings": rows}, indent=2))
    if not is_sound:
        raise typer.Exit(1)


def print_findings(found: Iterable[tuple[str, Finding]], topics: Iterable[str]) -> dict[str, Finding]:
    """Print a line for each finding as soon as it is known, and its remedy below it.

    Args:
        found: topics and findings.
        topics: all topics that will come, for the width of their column.

    Returns:
        The findings by topic.
    """
    width = max(map(len, topics))
    findings = {}
    for topic, finding in found:
        findings[topic] = finding
        remedy = f"\n{'':<{width + 10}}-> {finding.remedy}" if finding.remedy else ""
        echo(f"{finding.state:<6}  {topic:<{width}}  {finding.found}{remedy}")
    return findings


def main() -> None:
    """Entry point of `saliency-doctor`."""
    run_app(app)


if __name__ == "__main__":
    main()
