"""saliency-doctor as a user starts it: here, on a bare machine, and on a broken one."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from saliency_edge.runtime.doctor import accelerators
from saliency_edge.runtime.doctor import findings as doctor_findings
from saliency_edge.runtime.doctor.accelerators import check_openvino, check_tensorrt
from saliency_edge.runtime.doctor.cli import CHECKS, print_findings
from saliency_edge.runtime.doctor.findings import (
    Check,
    Finding,
    NoAnswerError,
    broken,
    note,
    ok,
    query,
    query_python,
    run_checks,
)
from saliency_edge.runtime.doctor.host import check_opencv, check_temporary_folder

LIMIT_S = 2.0


def run_doctor(
    *arguments: str, modules: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command; Python modules in the folder `modules` take the place of installed ones."""
    if modules is not None:
        environment["PYTHONPATH"] = os.pathsep.join([str(modules), *filter(None, sys.path)])
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
    assert [topic for topic, finding in findings.items() if "unknown" in finding["found"]] == []
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

    done = run_doctor("--json", modules=tmp_path)

    findings = findings_of(done)
    assert done.returncode == 1
    assert [topic for topic, finding in findings.items() if finding["state"] == "broken"] == ["OpenCV"]
    assert "libGL.so.1" in findings["OpenCV"]["found"]
    assert "apt-get install libgl1" in findings["OpenCV"]["remedy"]


def test_a_package_that_crashes_or_is_too_old_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    (tmp_path / "tensorrt.py").write_text("__version__ = '8.6.2'\n")

    done = run_doctor("--json", modules=tmp_path)

    findings = findings_of(done)
    assert done.returncode == 0
    assert findings["ONNX Runtime"]["found"] == "cannot be imported: onnxruntime crashed with SIGSEGV"
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

    findings = dict(run_checks([Check("one", fail), Check("two", lambda: ok("fine"))]))

    assert findings == {
        "one": note("unknown: ZeroDivisionError: a strange machine", "please report this"),
        "two": ok("fine"),
    }


def test_lines_come_as_soon_as_they_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"a": ok("1.0"), "longer": note("none", "get it"), "c": broken("gone", "mend it")}
    printed = []

    def checked() -> Iterator[tuple[str, Finding]]:
        for item in found.items():
            yield item
            printed.append(capsys.readouterr().out)

    assert print_findings(checked(), list(found)) == found
    assert printed == [
        "ok      a       1.0\n",
        "note    longer  none\n                -> get it\n",
        "broken  c       gone\n                -> mend it\n",
    ]


def test_programs_that_hang_fail_or_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoAnswerError, match="ValueError: no"):
        query_python("raise ValueError('no')")
    with pytest.raises(NoAnswerError, match="cannot be run: No such file"):
        query(["a-program-that-nobody-has"])
    monkeypatch.setattr(doctor_findings, "TIMEOUT_S", 0.2)
    with pytest.raises(NoAnswerError, match=r"gave no answer within 0\.2 s"):
        query_python("import time; time.sleep(60)")


def test_a_slow_machine_has_no_broken_opencv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cv2.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor_findings, "TIMEOUT_S", 0.5)

    ((_, finding),) = run_checks([Check("OpenCV", check_opencv)])

    assert finding.state == "note"
    assert finding.found == "unknown: cv2 gave no answer within 0.5 s"
    assert "pip" not in finding.remedy


@pytest.mark.parametrize(
    ("signal_name", "remedy"),
    [
        ("SIGILL", "instructions that this processor lacks"),
        ("SIGKILL", "want of memory"),
        ("SIGSEGV", "python -X faulthandler -c 'import cv2'"),
    ],
)
def test_a_crash_gets_the_remedy_of_its_signal(signal_name: str, remedy: str, tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text(f"import os, signal\nos.kill(os.getpid(), signal.{signal_name})\n")

    done = run_doctor("--json", modules=tmp_path)

    finding = findings_of(done)["OpenCV"]
    assert done.returncode == 1
    assert finding["found"] == f"cannot be imported: cv2 crashed with {signal_name}"
    assert remedy in finding["remedy"]
    assert "pip install" not in finding["remedy"]


@pytest.mark.parametrize(
    ("gpu", "openvino", "tensorrt"),
    [
        ({}, "pip install 'saliency-edge[openvino]'", ""),
        ({"name": "RTX"}, "", "pip install 'saliency-edge[tensorrt]'"),
    ],
)
def test_the_backend_suggested_is_the_one_of_this_machine(
    gpu: dict[str, str], openvino: str, tensorrt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerators, "find_spec", lambda _name: None)
    monkeypatch.setattr(accelerators, "_query_gpu", lambda: gpu)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")

    assert openvino in check_openvino().remedy
    assert tensorrt in check_tensorrt().remedy
    assert [check_openvino().state, check_tensorrt().state].count("note") == 1
