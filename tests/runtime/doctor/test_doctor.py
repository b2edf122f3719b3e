"""saliency-doctor as a user starts it: here, on a bare machine, and on a broken one."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from saliency_edge.runtime.doctor import ask as asking
from saliency_edge.runtime.doctor.ask import NoAnswerError, ask, ask_python
from saliency_edge.runtime.doctor.base import check_temporary_folder
from saliency_edge.runtime.doctor.diagnosis import CHECKS, diagnose
from saliency_edge.runtime.doctor.finding import Check, Finding, broken, note, ok

LIMIT_S = 2.0


def run_doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "saliency_edge.runtime.doctor.cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def findings_of(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    return {finding["topic"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_here_all_that_a_run_needs_is_there_and_it_answers_at_once() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run_doctor("--json")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    findings = findings_of(done)
    assert done.returncode == 0, done.stdout
    assert list(findings) == [check.topic for check in CHECKS]
    assert {finding["state"] for finding in findings.values()} <= {"ok", "note"}
    assert findings["Python"]["found"].startswith(".".join(map(str, sys.version_info[:3])))
    assert [topic for topic, finding in findings.items() if "cannot be told" in finding["found"]] == []
    # The processors' time: other work on the machine hardly lengthens it, unlike the clock's.
    cost_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert cost_s < LIMIT_S, f"{cost_s:.2f} s"


def test_each_line_is_ok_or_is_followed_by_what_to_do() -> None:
    lines = run_doctor().stdout.splitlines()

    assert len(lines) >= len(CHECKS)
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        has_remedy = following.lstrip().startswith("->")
        assert line.startswith(("ok  ", "note  ", " "))
        assert has_remedy == line.startswith("note"), f"{line}\n{following}"


def test_a_bare_machine_gets_notes(tmp_path: Path) -> None:
    done = run_doctor("--json", PATH=str(tmp_path))

    findings = findings_of(done)
    assert done.returncode == 0
    assert findings["FFmpeg"]["state"] == findings["GStreamer"]["state"] == "note"
    assert "apt-get install ffmpeg" in findings["FFmpeg"]["remedy"]


def test_broken_opencv_is_the_one_thing_that_fails(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')\n")

    done = run_doctor("--json", PYTHONPATH=str(tmp_path))

    findings = findings_of(done)
    assert done.returncode == 1
    assert [topic for topic, finding in findings.items() if finding["state"] == "broken"] == ["OpenCV"]
    assert "libGL.so.1" in findings["OpenCV"]["found"]
    assert "apt-get install libgl1" in findings["OpenCV"]["remedy"]


def test_a_package_that_crashes_or_is_too_old_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    (tmp_path / "tensorrt.py").write_text("__version__ = '8.6.2'\n")

    done = run_doctor("--json", PYTHONPATH=str(tmp_path))

    findings = findings_of(done)
    assert done.returncode == 0
    assert "crashed with SIGSEGV" in findings["ONNX Runtime"]["found"]
    assert findings["TensorRT"] == {
        "topic": "TensorRT",
        "state": "note",
        "found": "tensorrt 8.6.2",
        "remedy": "10.3 is the oldest supported; on a Jetson, move to JetPack 6.1",
    }


def test_no_place_for_temporary_files_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")

    finding = check_temporary_folder()

    assert finding.state == "broken"
    assert "TMPDIR" in finding.remedy


def test_a_check_that_raises_leaves_the_others_alone() -> None:
    def fail() -> Finding:
        raise ZeroDivisionError("a strange machine")

    diagnosis = diagnose([Check("one", fail), Check("two", lambda: ok("fine"))])

    assert diagnosis.findings["one"].found == "cannot be told: ZeroDivisionError: a strange machine"
    assert diagnosis.findings["two"] == ok("fine")
    assert diagnosis.is_sound


def test_text_shows_all_three_states() -> None:
    findings = {"a": ok("1.0"), "longer": note("none", "get it"), "c": broken("gone", "mend it")}

    diagnosis = diagnose([Check(topic, lambda found=found: found) for topic, found in findings.items()])

    assert diagnosis.to_text().splitlines() == [
        "ok      a       1.0",
        "note    longer  none",
        "                -> get it",
        "broken  c       gone",
        "                -> mend it",
    ]
    assert not diagnosis.is_sound


def test_programs_that_hang_fail_or_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_TIMEOUT_S", 0.2)

    with pytest.raises(NoAnswerError, match="did not answer within 0 s"):
        ask_python("import time; time.sleep(60)")
    with pytest.raises(NoAnswerError, match="ValueError: no"):
        ask_python("raise ValueError('no')")
    with pytest.raises(NoAnswerError, match="cannot be run: No such file"):
        ask(["a-program-that-nobody-has"])
