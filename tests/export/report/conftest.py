"""Findings of every kind of export."""

from __future__ import annotations

import pytest

from report_findings import findings_of
from saliency_edge.export.report.findings import Findings


@pytest.fixture(params=["int8", "not passed", "fp16"])
def findings(request: pytest.FixtureRequest) -> Findings:
    return findings_of(int8=request.param != "fp16", passed=request.param != "not passed")
