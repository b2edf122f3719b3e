"""The report's figures and its sentence."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from report_findings import FRAMES, LAYERS, disturbed, findings_of, smooth_maps, speed
from saliency_edge.export.parity import agreement
from saliency_edge.export.report.findings import Findings
from saliency_edge.export.temporal import compare_movement


def test_the_json_holds_no_nan_and_survives_a_round_trip(findings: Findings) -> None:
    report = findings.to_json()

    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_frames_have_the_agreement_of_their_maps() -> None:
    findings = findings_of()
    shown = findings.shown

    frames = findings.to_json()["frames"]

    assert [frame["name"] for frame in frames] == list(FRAMES)
    for place, frame in enumerate(frames):
        expected = agreement(shown.maps["int8"][place], shown.references[place])
        assert frame["agreement"]["int8"]["cc"] == pytest.approx(expected.cc, rel=1e-5)
        assert frame["agreement"]["int8"]["kldiv"] == pytest.approx(expected.kldiv, rel=6e-3)
    difference = np.abs(shown.maps["int8"] - shown.references).max()
    assert findings.to_json()["difference_scale"] == pytest.approx(difference, rel=6e-3)


def test_layers_join_decision_error_and_range() -> None:
    rows = {row["node"]: row for row in findings_of().to_json()["layers"]}

    assert list(rows) == list(LAYERS)
    assert rows["conv3"]["in_graph_db"] == {"fp16": 60.6, "int8": 27.3}
    assert [row["macs_share"] for row in rows.values()] == [0.25, 0.125, 0.625]
    assert rows["conv1"]["thresholds"]["minmax"] == 1.5
    assert (rows["conv2"]["precision"], rows["conv2"]["threshold"]) == ("float", None)


def test_without_int8_layers_tell_why_they_are_half() -> None:
    rows = {row["node"]: row for row in findings_of(int8=False).to_json()["layers"]}

    assert rows["conv1"]["precision"] == "fp16"
    assert (rows["conv3"]["precision"], rows["conv3"]["reason"]) == ("fp32", "computes the map")


def test_a_passing_verdict_has_its_figures() -> None:
    verdict = findings_of().to_json()["verdict"]

    assert (verdict["passed"], verdict["word"]) == (True, "Passed")
    assert verdict["sentence"].startswith("int8 passes the gate: 87.50% of the MACs are in int8")
    assert "on 3 frames held out from calibration" in verdict["sentence"]
    assert "int8 flickers" in verdict["remark"]


def test_a_failing_verdict_says_what_fails_and_what_is_left() -> None:
    verdict = findings_of(passed=False).to_json()["verdict"]

    assert (verdict["passed"], verdict["word"]) == (False, "Not passed")
    assert "CC worst 0.95120 < 0.99" in verdict["sentence"]
    assert verdict["sentence"].endswith("The bundle holds fp32 and fp16 instead.")


def test_flicker_is_said_in_the_verdict() -> None:
    clip = smooth_maps(2, 6) * np.float32(0.01)
    flickering = compare_movement("clip.mp4", {"fp32": clip, "int8": disturbed(clip, 0.05)})

    verdict = replace(findings_of(), temporal=flickering).to_json()["verdict"]

    assert (verdict["passed"], verdict["word"]) == (True, "Passed, but it flickers")


def test_an_fp16_verdict_names_its_tolerance() -> None:
    verdict = findings_of(int8=False).to_json()["verdict"]

    assert verdict["sentence"].startswith("fp16 agrees with the fp32 maps of PyTorch on all 3 frames")
    assert verdict["sentence"].endswith("0.9999 allowed.")
    assert verdict["remark"] is None


def test_the_time_of_int8_is_told_and_so_is_that_it_does_not_pay() -> None:
    slow = findings_of().to_json()["speed"]
    fast = replace(findings_of(), speed=speed(0.6)).to_json()["speed"]

    assert (slow["pays"], fast["pays"]) == (False, True)
    assert "int8 takes 1.25 times as long as fp16 (3.21 and 2.57 ms): no faster" in slow["sentence"]
    assert "no faster" not in fast["sentence"]
    assert findings_of(int8=False).to_json()["speed"] is None


def test_candidates_of_the_front_have_their_latency() -> None:
    timed = replace(findings_of(), speed=replace(speed(), rivals_ms={0: 2.91239}))

    assert [point["frame_ms"] for point in timed.to_json()["pareto"]] == [2.912, 3.21]
    assert [point["frame_ms"] for point in findings_of().to_json()["pareto"]] == [None, 3.21]
    assert [point["frame_ms"] for point in findings_of(passed=False).to_json()["pareto"]] == [None, None]
