"""What is said of a Jetson, with its files in a folder and its programs on a path of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from saliency_edge.runtime.doctor import accelerators
from saliency_edge.runtime.doctor.accelerators import (
    check_clocks,
    check_jetpack,
    check_power_mode,
    check_tensorrt,
    check_tensorrt_rtx,
)
from saliency_edge.runtime.doctor.findings import ok
from saliency_edge.runtime.doctor.host import check_cameras, check_gstreamer_elements

RELEASE = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8\n"
BASE_ELEMENTS = [
    "decodebin",
    "videoconvert",
    "videoscale",
    "v4l2src",
    "rtspsrc",
    "rtph264depay",
    "jpegdec",
    "h264parse",
    "h265parse",
    "avdec_h264",
]
JETSON_ELEMENTS = ["nvarguscamerasrc", "nvv4l2decoder", "nvvidconv", "nvjpegdec"]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def program(folder: Path, name: str, script: str) -> None:
    write(folder / name, f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def jetson(tmp_path: Path) -> Path:
    write(tmp_path / "etc/nv_tegra_release", RELEASE)
    return tmp_path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_elsewhere_there_is_nothing_to_do(tmp_path: Path) -> None:
    for check in (check_jetpack, check_power_mode, check_clocks):
        assert check(tmp_path) == ok("not a Jetson")


def test_its_release_is_named(jetson: Path) -> None:
    assert check_jetpack(jetson) == ok("Jetson Linux 36.4.3")


@pytest.mark.parametrize(("major", "revision"), [(36, "3.0"), (35, "6.1"), (32, "7.1")])
def test_an_old_release_is_to_be_left(jetson: Path, major: int, revision: str) -> None:
    write(jetson / "etc/nv_tegra_release", f"# R{major} (release), REVISION: {revision}, GCID: 1\n")

    finding = check_jetpack(jetson)

    assert finding.found == f"Jetson Linux {major}.{revision}"
    assert "move to JetPack 6.1" in finding.remedy


@pytest.mark.parametrize("text", ["", "something else\n"])
def test_a_strange_release_file_is_no_crash(jetson: Path, text: str) -> None:
    write(jetson / "etc/nv_tegra_release", text)

    assert check_jetpack(jetson).state == "note"


@pytest.fixture
def orin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 64-bit Arm processor with an NVIDIA GPU, and an environment without the system's packages."""
    monkeypatch.setattr(accelerators.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(accelerators, "_query_gpu", lambda: {"name": "Orin"})
    monkeypatch.setattr(accelerators, "find_spec", lambda _name: None)


@pytest.mark.usefixtures("orin")
def test_its_tensorrt_comes_with_jetpack() -> None:
    finding = check_tensorrt()

    assert finding.state == "note"
    assert "/usr/bin/python3 -m venv --system-site-packages" in finding.remedy
    assert "pip" not in finding.remedy


@pytest.mark.usefixtures("orin")
def test_nothing_is_said_about_what_does_not_exist_for_it() -> None:
    assert check_tensorrt_rtx() == ok("does not exist for aarch64")


def test_power_mode(jetson: Path, programs: Path) -> None:
    assert check_power_mode(jetson).found == "unknown: nvpmodel does not tell"

    program(programs, "nvpmodel", "echo 'NV Power Mode: MAXN_SUPER'; echo 2")
    assert check_power_mode(jetson) == ok("MAXN_SUPER")

    program(programs, "nvpmodel", "echo 'NV Power Mode: 15W'; echo 0")
    finding = check_power_mode(jetson)
    assert finding.found == "15W"
    assert "sudo nvpmodel -m" in finding.remedy


def clocks(root: Path, cpu_khz: tuple[int, int], gpu_hz: tuple[int, int]) -> Path:
    for core in range(2):
        folder = root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        for name, value in zip(("scaling_min_freq", "scaling_max_freq"), cpu_khz, strict=True):
            write(folder / name, f"{value}\n")
    for name, value in zip(("min_freq", "max_freq"), gpu_hz, strict=True):
        write(root / "sys/class/devfreq/17000000.gpu" / name, f"{value}\n")
    return root


def test_clocks(jetson: Path) -> None:
    assert check_clocks(clocks(jetson, (1728000, 1728000), (1020, 1020))) == ok("fixed at their maximum")
    assert check_clocks(clocks(jetson, (1728000, 1728000), (306, 1020))).found == "GPU may slow down"
    finding = check_clocks(clocks(jetson, (729600, 1728000), (306, 1020)))
    assert finding.found == "CPU and GPU may slow down"
    assert "sudo jetson_clocks" in finding.remedy


def inspect_of(names: list[str]) -> str:
    return "\n".join(f"echo 'plugin:  {name}: Some words'" for name in names)


def test_elements_of_its_hardware_are_wanted_there_alone(
    jetson: Path, programs: Path, tmp_path: Path
) -> None:
    program(programs, "gst-inspect-1.0", inspect_of(BASE_ELEMENTS))

    assert check_gstreamer_elements(tmp_path / "elsewhere").state == "ok"
    finding = check_gstreamer_elements(jetson)
    assert finding.found == f"no {', '.join(JETSON_ELEMENTS)}"
    assert "nvidia-l4t-gstreamer" in finding.remedy

    program(programs, "gst-inspect-1.0", inspect_of(BASE_ELEMENTS + JETSON_ELEMENTS))
    assert check_gstreamer_elements(jetson).state == "ok"


def test_missing_elements_name_their_package(jetson: Path, programs: Path) -> None:
    program(programs, "gst-inspect-1.0", inspect_of([*BASE_ELEMENTS[:8], *JETSON_ELEMENTS]))

    finding = check_gstreamer_elements(jetson)

    assert finding.found == "no h265parse, avdec_h264"
    assert finding.remedy == "apt-get install gstreamer1.0-plugins-bad gstreamer1.0-libav"


def test_cameras_are_named_in_order(tmp_path: Path) -> None:
    for number, name in ((10, "HD Webcam"), (0, "vi-output, imx219 9-0010"), (1, "")):
        write(tmp_path / f"dev/video{number}", "")
        if name:
            write(tmp_path / f"sys/class/video4linux/video{number}/name", f"{name}\n")

    assert check_cameras(tmp_path) == ok(
        "video0 (vi-output, imx219 9-0010), video1 (no name), video10 (HD Webcam)"
    )


def test_without_a_camera_there_is_a_note(tmp_path: Path) -> None:
    assert check_cameras(tmp_path).state == "note"
