"""What is said of the machine, with a CUDA driver of our own where there is none."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from saliency_edge.runtime.machine import find_gpu, this_machine

# The five calls of CUDA's driver API, as an Orin would answer them.
DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuDeviceGet(int *device, int ordinal) { *device = 7; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, device == 7 ? "Orin" : "?", length);
    return 0;
}
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18 ? 1 : -1;
    return 0;
}
"""


def gpu_with_driver(folder: Path, init: int) -> str:
    """Compile the driver, and look for a GPU in a process that finds it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    source = folder / "driver.c"
    source.write_text(DRIVER.replace("INIT", str(init)), encoding="utf-8")
    library = folder / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    code = "from saliency_edge.runtime.machine import find_gpu; print(find_gpu())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"LD_LIBRARY_PATH": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_driver_tells_of_its_gpu(tmp_path: Path) -> None:
    found = gpu_with_driver(tmp_path, init=0)

    assert found.startswith("Gpu(name='Orin', compute_capability='8.7', integrated=True, driver='")
    assert found.endswith("CUDA 12.6')")


def test_a_driver_without_a_device_is_no_gpu(tmp_path: Path) -> None:
    assert gpu_with_driver(tmp_path, init=100) == "None"


def test_this_machine_has_a_name() -> None:
    machine = this_machine()

    assert machine.architecture == platform.machine()
    assert machine.os
    assert machine.gpu == find_gpu()


def test_a_jetsons_power_mode_is_asked_of_nvpmodel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvpmodel"
    tool.write_text("#!/bin/sh\necho 'NV Power Mode: MAXN_SUPER'\necho 2\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert this_machine().power_mode == "MAXN_SUPER"
    monkeypatch.setenv("PATH", "")
    assert this_machine().power_mode is None
