"""What a run did and what it cost, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..contract import Contract
from ..telemetry import Event, Percentiles, Stage

_WORDS: dict[Event, str] = {
    "dropped": "dropped",
    "late": "late",
    "lost": "times lost",
    "restarted": "times back",
    "frozen": "frozen",
    "clock_jumped": "clock jumps",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSummary:
    """What became of one source.

    Attributes:
        source: in words.
        policy: which of its frames were computed.
        counts: of each event that happened.
    """

    source: str
    policy: str
    counts: Mapping[Event, int]

    def to_text(self) -> str:
        """Give in a line what did not go smoothly; empty where all did."""
        found = [f"{self.counts[event]} {words}" for event, words in _WORDS.items() if self.counts.get(event)]
        of_all = f" of {self.counts.get('captured', 0)} frames" if self.counts.get("dropped") else ""
        return f"{', '.join(found)}{of_all} ({self.policy})" if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The end of a run.

    Attributes:
        engine: backend, device and precision.
        contract: of the model.
        streams: the sources, in the order given.
        frame_count: frames done.
        wall_s: from the first frame's reading to the last one's writing.
        stages: percentiles by stage; `age` is from a frame's capture until its result is written.
        outputs: what was written.
        stopped_by: name of the signal, or what a sink said, if one of them ended the run.
    """

    engine: str
    contract: Contract
    streams: Sequence[StreamSummary]
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
        ending = f" (stopped: {self.stopped_by})" if self.stopped_by else ""
        lines = [f"frames  {self.frame_count} in {self.wall_s:.1f} s, {self.rate_fps:.2f} frames/s{ending}"]
        lines += [
            f"stream {number}: {text}"
            for number, stream in enumerate(self.streams)
            if (text := stream.to_text())
        ]
        if self.stages:
            lines += ["", f"{'stage':8}{'p50 ms':>10}{'p95 ms':>10}{'p99 ms':>10}"]
        for stage, cost in self.stages.items():
            lines.append(f"{stage:8}{cost.p50_ms:10.1f}{cost.p95_ms:10.1f}{cost.p99_ms:10.1f}")
        lines += ["", *(f"wrote   {output}" for output in self.outputs)] if self.outputs else []
        return "\n".join(lines)
