"""Telemetry of the packages that we load is off, unless the user has asked for it.

Packages that were seen to report, each traced with strace in an empty home folder:

- ONNX Runtime 1.31 writes a device id and a database of events under the user's cache folder and tries to
  send them to Microsoft. It reads `ORT_DISABLE_TELEMETRY` when it is imported; a call of its
  `disable_telemetry_events()` comes too late, the files are written by then.
- OpenVINO 2026.4 reports each import to Google Analytics and keeps a client id in `~/intel`. It has no
  variable to turn that off, only a file of consent; without its package `openvino_telemetry` it takes a stub.

PyTorch, torchvision, TensorBoard, OpenCV, SciPy, aiohttp, prometheus_client and the ONNX packages were traced
too: none of them writes or connects.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ORT_VARIABLE = "ORT_DISABLE_TELEMETRY"
OPENVINO_REPORTER = "openvino_telemetry"
# Below the home folder; Intel's `opt_in_out --opt_in` writes 1 into it.
_OPENVINO_CONSENT = Path("intel", "openvino_telemetry")


def disable_dependency_telemetry() -> None:
    """Turn telemetry of ONNX Runtime and OpenVINO off for this process and its children.

    `runtime/__init__.py` calls it, so it comes before any module of ours can import either of them. What the
    user has chosen stays: any value of `ORT_DISABLE_TELEMETRY`, and Intel's file of consent.
    """
    os.environ.setdefault(ORT_VARIABLE, "1")
    if OPENVINO_REPORTER not in sys.modules and not _has_consented_to_openvino():
        sys.modules[OPENVINO_REPORTER] = None  # type: ignore[assignment]  # its import raises ImportError


def _has_consented_to_openvino() -> bool:
    try:
        return (Path.home() / _OPENVINO_CONSENT).read_text(encoding="utf-8").strip() == "1"
    except (OSError, RuntimeError, ValueError):  # RuntimeError: this user has no home folder
        return False
