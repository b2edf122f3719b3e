"""What ships passes its own check: all networks, all precisions, in every runtime that is installed."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec

import pytest

from saliency_edge.export.check.backends import backends
from saliency_edge.export.check.check_bundle import check_bundle
from shipped_bundles import shipped_bundle

PRECISIONS = {"fp32", "fp16", "int8"}
takes_long = pytest.mark.skipif(
    os.environ.get("SALIENCY_LONG_TESTS") != "1", reason="takes many minutes: run with SALIENCY_LONG_TESTS=1"
)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("network", ["deep_half", "mlnet_small", pytest.param("mlnet", marks=takes_long)])
def test_shipped_networks_pass_in_every_runtime(network: str) -> None:
    bundle = shipped_bundle(network)
    report = check_bundle(bundle, print)

    report.check()
    assert {row.precision for row in report.rows} == PRECISIONS
    ran = {(row.precision, row.backend) for row in report.rows if row.parity is not None}
    refused = {(row.precision, row.backend) for row in report.rows if "refuses" in (row.problem or "")}
    for backend in backends():
        for precision in backend.precisions:
            if backend.module is None or find_spec(backend.module):
                assert (precision, backend.name) in ran | refused
    assert {name for _, name in refused} <= {"OpenCV DNN"}
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    judged = {backend.name for backend in backends() if backend.judges_int8}
    verdicts = manifest["int8"]["runtimes"]
    assert set(verdicts) <= judged
    for name, verdict in verdicts.items():
        assert verdict["passed"] is (("int8", name) in ran)
