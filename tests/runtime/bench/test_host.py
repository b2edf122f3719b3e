"""What a board tells: a Jetson's sensors as a tree of files, nvidia-smi as a program of that name."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from saliency_edge.runtime.bench.host import monitor_board, read_board


@pytest.fixture(autouse=True)
def _no_nvidia_smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def save_rail(sysfs: Path, number: int, label: str, millivolts: int, milliamperes: int) -> None:
    folder = sysfs / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"in{number}_label").write_text(f"{label}\n", encoding="ascii")
    (folder / f"in{number}_input").write_text(f"{millivolts}\n", encoding="ascii")
    (folder / f"curr{number}_input").write_text(f"{milliamperes}\n", encoding="ascii")


def save_clock(sysfs: Path, name: str, value: int) -> None:
    path = sysfs / name
    path.parent.mkdir(parents=True)
    path.write_text(f"{value}\n", encoding="ascii")


def save_nvidia_smi(folder: Path, answer: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n", encoding="ascii")
    program.chmod(0o755)


def test_board_without_sensors_tells_nothing(tmp_path: Path) -> None:
    assert read_board(tmp_path) == {}


def test_input_rail_is_the_boards_power(tmp_path: Path) -> None:
    save_rail(tmp_path, 1, "VDD_IN", 5000, 2400)
    save_rail(tmp_path, 2, "VDD_CPU_GPU_CV", 5000, 1000)

    assert read_board(tmp_path) == pytest.approx({"power_w": 12.0})


def test_rails_are_summed_where_the_input_has_no_sensor(tmp_path: Path) -> None:
    save_rail(tmp_path, 1, "VDD_GPU_SOC", 20_000, 500)
    save_rail(tmp_path, 2, "VDD_CPU_CV", 20_000, 250)

    assert read_board(tmp_path) == pytest.approx({"power_w": 15.0})


def test_clocks_are_in_mhz(tmp_path: Path) -> None:
    save_clock(tmp_path, "class/devfreq/17000000.gpu/cur_freq", 918_000_000)
    save_clock(tmp_path, "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", 1_510_400)

    assert read_board(tmp_path) == pytest.approx({"gpu_mhz": 918.0, "cpu_mhz": 1510.4})


def test_nvidia_smi_is_asked_and_what_it_does_not_know_left_out(tmp_path: Path) -> None:
    save_nvidia_smi(tmp_path, "71.25, 1980, [N/A]")

    assert read_board(tmp_path / "sysfs") == pytest.approx({"power_w": 71.25, "gpu_mhz": 1980.0})


def test_readings_are_averaged_while_the_block_runs() -> None:
    readings = iter([{"power_w": 10.0}, {"power_w": 20.0}, {}])
    with monitor_board(lambda: next(readings, {})) as use:
        time.sleep(1.3)
        seen = use()

    assert seen.means == {"power_w": 15.0}
    assert seen.readings == 2
