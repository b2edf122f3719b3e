"""Results for the tests of sinks, and what FFmpeg's own tool finds in their files."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.runtime.frame import Frame, Result, SaliencyMap

VALUES = np.array([[0.0, 0.25], [0.5, 1.0]], np.float32)

needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="no ffmpeg on this machine"
)


def result_of(
    picture_bgr: NDArray[np.uint8],
    name: str = "frame",
    values: NDArray[np.float32] = VALUES,
    *,
    index: int = 0,
    captured_s: float = 0.0,
    stream: int = 0,
    dropped: int = 0,
    age_s: float = 0.0,
) -> Result:
    frame = Frame(index=index, name=name, image_bgr=picture_bgr, captured_s=captured_s, stream=stream)
    saliency = SaliencyMap(frame=frame, values=values, dropped=dropped)
    return Result(saliency=saliency, picture_bgr=picture_bgr, age_s=age_s)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def probe(path: Path) -> tuple[int, float]:
    """Count a video's frames by decoding them, and give the last one's end in seconds."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-of", "json", "-show_frames"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=True)
    times_s = [float(frame["best_effort_timestamp_time"]) for frame in json.loads(done.stdout)["frames"]]
    step_s = times_s[1] - times_s[0] if len(times_s) > 1 else 0.0
    return len(times_s), times_s[-1] + step_s
