"""All checks, side by side, and their findings as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from . import accelerators, base, cameras, jetson, programs
from .ask import NoAnswerError
from .finding import Check, Finding, note

CHECKS = (
    Check("Python", base.check_python),
    Check("OpenCV", base.check_opencv),
    Check("temporary files", base.check_temporary_folder),
    Check("ONNX Runtime", accelerators.check_onnxruntime),
    Check("GPU", accelerators.check_gpu),
    Check("TensorRT", accelerators.check_tensorrt),
    Check("TensorRT-RTX", accelerators.check_tensorrt_rtx),
    Check("cuda-python", accelerators.check_cuda_python),
    Check("FFmpeg", programs.check_ffmpeg),
    Check("GStreamer", programs.check_gstreamer),
    Check("its elements", programs.check_gstreamer_elements),
    Check("cameras", cameras.check_cameras),
    Check("JetPack", jetson.check_jetpack),
    Check("power mode", jetson.check_power_mode),
    Check("clocks", jetson.check_clocks),
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What all checks found.

    Attributes:
        findings: by topic, in order.
    """

    findings: dict[str, Finding]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is broken that `saliency-run` needs."""
        return all(finding.state != "broken" for finding in self.findings.values())

    def to_text(self) -> str:
        """Give a line for each finding, and one below it where there is something to do."""
        width = max(len(topic) for topic in self.findings)
        lines = []
        for topic, finding in self.findings.items():
            lines.append(f"{finding.state:<6}  {topic:<{width}}  {finding.found}")
            if finding.remedy:
                lines.append(f"{'':<{width + 10}}-> {finding.remedy}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Give the same for programs."""
        findings = [{"topic": topic, **asdict(finding)} for topic, finding in self.findings.items()]
        return {"sound": self.is_sound, "findings": findings}


def diagnose(checks: Sequence[Check] = CHECKS) -> Diagnosis:
    """Make all checks at the same time; most of their time they wait for other programs."""
    with ThreadPoolExecutor(len(checks)) as pool:
        findings = list(pool.map(_finding_of, checks))
    return Diagnosis({check.topic: finding for check, finding in zip(checks, findings, strict=True)})


def _finding_of(check: Check) -> Finding:
    """Make one check; whatever it meets on a strange machine, the others still answer."""
    try:
        return check.look()
    except NoAnswerError as error:
        return note(f"cannot be told: {error}", "mend that, or do without it")
    except Exception as error:
        return note(f"cannot be told: {type(error).__name__}: {error}", "please report this")
