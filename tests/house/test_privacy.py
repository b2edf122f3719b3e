"""Nothing that we run reports to anybody: no file in the home folder, no look-up, no connection.

ONNX Runtime and OpenVINO do, left to themselves; `runtime/privacy.py` says what and how it is turned off.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path

import pytest

from dataset_files import save_map, save_photo
from toy_models import save_clip, save_toy_bundle

# What gst-inspect-1.0 knows of its plugins; models that OpenVINO has compiled for us.
LOCAL_CACHES = (".cache/gstreamer-1.0/", ".cache/saliency-edge/")
IDLE_S = 3  # ONNX Runtime's first look-up comes about a second after its import
ORT_WITH_US = f"import saliency_edge.runtime, onnxruntime, time; time.sleep({IDLE_S})"
OPENVINO_WITH_US = f"import saliency_edge.runtime, openvino, time; openvino.Core(); time.sleep({IDLE_S})"


def traced(words: Sequence[str], home: Path, **variables: str) -> tuple[list[str], list[str]]:
    """Run a command in an empty home folder.

    Returns:
        The files that it left there, and its connections and datagrams to the network, as strace has them;
        none where strace cannot trace.
    """
    home.mkdir(exist_ok=True)
    inherited = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "TMPDIR")
    environment = {name: os.environ[name] for name in inherited if name in os.environ}
    environment |= {"HOME": str(home), "OMP_NUM_THREADS": "2", **variables}
    trace = home.parent / f"{home.name}.trace"
    strace = ["strace", "-f", "-o", str(trace), "-e", "trace=network"] if can_trace() else []
    done = subprocess.run([*strace, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    left = [name for name in found if not name.startswith(LOCAL_CACHES)]
    lines = trace.read_text(errors="replace").splitlines() if strace else []
    return left, [line for line in lines if re.search(r"(connect|send\w*)\(.*AF_INET", line)]


def can_trace() -> bool:
    """Whether there is strace, and this system lets it look."""
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0
    )


def script(name: str) -> str:
    return str(Path(sys.executable).parent / name)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    save_toy_bundle(tmp_path / "toy")
    save_clip(tmp_path / "clip.mp4", 6)
    for number in (1, 2, 3):
        save_photo(tmp_path / f"plain/images/{number}.jpg")
        save_map(tmp_path / f"plain/maps/{number}.png")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["saliency-run", "{}/toy", "{}/clip.mp4", "--jsonl", "{}/results.jsonl"],
        ["saliency-run", "{}/toy", "--check"],
        ["saliency-doctor"],
        ["saliency-calib", "audit", "{}/clip.mp4"],
        ["saliency-eval", "{}/toy", "{}/plain"],
        ["saliency-export", "--fp32", "--size", "64x88", "--engine", "none", "--output", "{}/exported"],
        ["saliency-train", "fit", "{}/plain", "--output", "{}/run", "--steps", "1", "--size", "64x88"],
    ],
    ids=lambda words: "-".join(word for word in words[:2] if "{" not in word),
)
def test_commands_leave_no_file_and_call_nobody(words: list[str], work: Path) -> None:
    command, *rest = (word.format(work) for word in words)

    left, calls = traced([script(command), *rest], work / "home")

    assert (left, calls) == ([], [])


@pytest.mark.parametrize("code", [ORT_WITH_US, OPENVINO_WITH_US])
def test_the_api_leaves_no_file_and_calls_nobody(code: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino" if "openvino" in code else "onnxruntime")

    assert traced([sys.executable, "-c", code], tmp_path / "home") == ([], [])


def test_what_the_user_has_set_stays() -> None:
    code = "import saliency_edge.runtime, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == "0\n"


def test_consent_to_openvino_stays(tmp_path: Path) -> None:
    if not list(distributions(name="openvino_telemetry")):
        pytest.skip("openvino_telemetry is not installed")
    consent = tmp_path / "intel" / "openvino_telemetry"
    consent.parent.mkdir()
    code = "import saliency_edge.runtime, openvino_telemetry; print('kept')"
    words = [sys.executable, "-c", code]
    environment = {**os.environ, "HOME": str(tmp_path)}

    def imported() -> bool:
        return subprocess.run(words, env=environment, capture_output=True, check=False).returncode == 0

    consent.write_text("0")
    assert not imported()
    consent.write_text("1")
    assert imported()
