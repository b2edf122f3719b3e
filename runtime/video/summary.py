"""What a run did and what it cost, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..contract import Contract
from ..telemetry import Percentiles, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The end of a run.

    Attributes:
        engine: backend, device and precision.
        contract: of the model.
        source: in words.
        frame_count: frames done.
        wall_s: from the first frame's reading to the last one's writing.
        stages: percentiles by stage; `age` is from a frame's capture until its result is written.
        outputs: what was written.
        stopped_by: name of the signal that ended the run, if one did.
    """

    engine: str
    contract: Contract
    source: str
    frame_count: int
    wall_s: float
    stages: Mapping[Stage, Percentiles]
    outputs: Sequence[str]
    stopped_by: str | None

    @property
    def rate_fps(self) -> float:
        """Frames per second of wall time."""
        return self.frame_count / self.wall_s

    def to_json(self) -> dict[str, Any]:
        """Give all of it as plain JSON values."""
        return {**asdict(self), "rate_fps": self.rate_fps}

    def to_text(self) -> str:
        """Give it as a table of at most 80 columns, and a line for each output."""
        ending = f" (stopped by {self.stopped_by})" if self.stopped_by else ""
        lines = [f"frames  {self.frame_count} in {self.wall_s:.1f} s, {self.rate_fps:.2f} frames/s{ending}"]
        if self.stages:
            lines += ["", f"{'stage':8}{'p50 ms':>10}{'p95 ms':>10}{'p99 ms':>10}"]
        for stage, cost in self.stages.items():
            lines.append(f"{stage:8}{cost.p50_ms:10.1f}{cost.p95_ms:10.1f}{cost.p99_ms:10.1f}")
        lines += ["", *(f"wrote   {output}" for output in self.outputs)] if self.outputs else []
        return "\n".join(lines)
