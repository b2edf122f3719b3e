"""What browsers and Prometheus get, and what bad browsers cannot do."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from contextlib import closing
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="the extra `web` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `web` is not installed")

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from saliency_edge.runtime.telemetry import Telemetry
from saliency_edge.runtime.web.monitoring import HealthMonitor
from saliency_edge.runtime.web.view import open_web
from saliency_edge.runtime.web.viewers import map_levels
from saliency_edge.runtime.web.web_options import WebOptions
from sink_results import result_of
from toy_models import noise
from web_clients import FRAME_HW, Message, ToyEngine, fed_view, frame_of, look_on, messages_of, values_of

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("no_thread_left")]


def get(url: str, **headers: str) -> tuple[int, str]:
    """Fetch without following redirects' cookies; give status and text."""
    request = urllib.request.Request(
        url, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_results_are_the_runs() -> None:
    with fed_view() as view:
        messages = messages_of(view.url, 5)

    for message in messages:
        index = message.header["index"]
        picture_bgr = message.picture_bgr()
        assert np.abs(picture_bgr.astype(float) - frame_of(index)).mean() < 4
        assert np.abs(message.maps[0] - values_of(index) * 255).max() <= 0.51
        assert message.header["size_hw"] == list(FRAME_HW)
        assert message.header["age_ms"] == 50
    indices = [message.header["index"] for message in messages]
    assert indices == sorted(set(indices))
    last = messages[-1].header
    assert 0 < last["rate_fps"] < 100
    assert last["dropped"] >= last["index"]


def test_large_frames_are_shrunk_and_small_ones_stay() -> None:
    with fed_view(WebOptions(port=0, max_side_px=320)) as view:
        assert messages_of(view.url, 1)[0].picture_bgr().shape == (180, 320, 3)
    with fed_view(WebOptions(port=0, max_side_px=250)) as view:
        assert messages_of(view.url, 1)[0].picture_bgr().shape == (141, 250, 3)


@pytest.mark.parametrize(
    ("size_hw", "expected_hw"), [((60, 80), (60, 80)), ((240, 320), (120, 160)), ((1, 1), (1, 1))]
)
def test_fine_maps_are_shrunk(size_hw: tuple[int, int], expected_hw: tuple[int, int]) -> None:
    values = np.full(size_hw, 0.4, np.float32)

    levels = map_levels(values)

    assert levels.shape == expected_hw
    assert set(levels.flat) == {102}


def test_rate_for_the_page_is_limited() -> None:
    with fed_view(WebOptions(port=0, max_fps=10), fps=100) as view:
        start_s = time.monotonic()
        messages_of(view.url, 11)
        lasted_s = time.monotonic() - start_s

    assert lasted_s > 0.9, "eleven results at ten a second"


def test_slow_source_reaches_who_waits_for_it() -> None:
    with fed_view(fps=0.4) as view:
        assert len(messages_of(view.url, 2)) == 2


def test_paused_page_gets_numbers_alone() -> None:
    with fed_view() as view:
        message = messages_of(view.url, 2, picture=False)[1]

    assert message.jpeg == b""
    assert message.header["rate_fps"] > 0


def test_each_source_has_its_results() -> None:
    with fed_view(streams=2) as view:
        messages = messages_of(view.url, 3, stream=1)

    assert [message.header["stream"] for message in messages] == [1, 1, 1]
    assert messages[-1].header["streams"] == 2


def test_second_engine_works_only_while_somebody_compares() -> None:
    engine = ToyEngine("second", factor=0.5)
    with fed_view(compare=engine) as view:
        assert len(messages_of(view.url, 3)[-1].maps) == 1
        assert engine.calls == 0
        message = messages_of(view.url, 3, compare=True)[-1]

    expected = values_of(message.header["index"]) / 2 * 255
    assert np.abs(message.maps[1] - expected).max() <= 0.51


def test_comparison_of_the_same_precision_under_smoothing_shows_no_difference() -> None:
    """Both maps are as the networks gave them; the run's own, which is smoothed, is another."""
    with fed_view(compare=ToyEngine("the same"), unsmoothed=1.0) as view:
        message = messages_of(view.url, 3, compare=True)[-1]
        plain = messages_of(view.url, 1)[0]

    assert message.header["unsmoothed"]
    assert np.abs(message.maps[0].astype(int) - message.maps[1]).max() <= 1
    assert not plain.header["unsmoothed"]
    with fed_view(compare=ToyEngine("the same"), unsmoothed=0.5) as view:
        message = messages_of(view.url, 3, compare=True)[-1]
    assert np.abs(message.maps[0] - values_of(message.header["index"]) / 2 * 255).max() <= 0.51


def test_who_does_not_compare_does_not_wait_for_who_does() -> None:
    class Slow(ToyEngine):
        def infer(self, frames: Any) -> Any:
            time.sleep(0.5)
            return super().infer(frames)

    async def both(url: str) -> tuple[list[Message], list[Message]]:
        return await asyncio.gather(look_on(url, 2, compare=True), look_on(url, 10))

    with fed_view(compare=Slow()) as view:
        compared, plain = asyncio.run(both(view.url))

    assert [len(message.maps) for message in compared] == [2, 2]
    assert [len(message.maps) for message in plain] == [1] * 10


def test_second_engine_that_fails_leaves_the_first() -> None:
    lines: list[str] = []
    with fed_view(compare=ToyEngine(fails=True), warn=lines.append) as view:
        message = messages_of(view.url, 3, compare=True)[-1]
    assert len(message.maps) == 1
    assert not message.header["compares"]
    assert lines == ["web view: no more comparisons: the device has gone"]


def test_nothing_is_compressed_when_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("saliency_edge.runtime.web.viewers.encode_jpeg", lambda *_: calls.append(1) or b"")
    with fed_view():
        time.sleep(0.5)
    assert calls == []


def test_metrics_by_prometheus_own_parser() -> None:
    with fed_view(streams=2) as view:
        view.telemetry.add("infer", 0.25)
        view.telemetry.counters.add("restarted", 1, 3)
        while view.telemetry.counters.of("done") < 5:
            time.sleep(0.01)
        status, text = get(view.url + "metrics")

    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert status == 200
    assert families["saliency_result_age_seconds"].type == "histogram"
    ages = {
        (sample.name.rpartition("_")[2], sample.labels.get("stream"), sample.labels.get("le")): sample.value
        for sample in families["saliency_result_age_seconds"].samples
    }
    assert ages["count", "0", None] == ages["bucket", "0", "+Inf"] == ages["bucket", "0", "0.05"] > 2
    assert ages["sum", "0", None] == pytest.approx(0.05 * ages["count", "0", None])
    events = {tuple(sample.labels.values()): sample.value for sample in families["saliency_events"].samples}
    assert events["restarted", "1"] == 3
    stages = {
        (sample.name, sample.labels["stage"]): sample.value
        for sample in families["saliency_stage_seconds"].samples
    }
    assert stages == {
        ("saliency_stage_seconds_count", "infer"): 1,
        ("saliency_stage_seconds_sum", "infer"): 0.25,
    }
    assert families["process_resident_memory_bytes"].samples[0].value > 1e6


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "text/plain;version=0.0.4",
        "text/plain;version=1.0.0",
        "*/*",
        "application/openmetrics-text;version=nothing",
        # what Prometheus 2.53 sends
        "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "application/openmetrics-text",
    ],
)
def test_metrics_are_in_the_format_that_is_asked_for(accept: str) -> None:
    with fed_view(streams=2) as view:
        view.telemetry.add("infer", 0.25)
        while view.telemetry.counters.of("done") < 5:
            time.sleep(0.01)
        request = urllib.request.Request(view.url + "metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=10) as answer:
            content_type, text = answer.headers["Content-Type"], answer.read().decode()

    is_open = content_type.startswith("application/openmetrics-text")
    assert is_open == (accept.startswith("application/openmetrics-text") and "nothing" not in accept)
    parse = openmetrics_families if is_open else text_string_to_metric_families
    families = {family.name: family.type for family in parse(text)}
    assert families["saliency_result_age_seconds"] == "histogram"
    assert families["saliency_events"] == "counter"
    assert families["saliency_stage_seconds"] == "summary"
    assert not [name for name in families if name.endswith(("_created", "_total"))]


def test_health_follows_the_results() -> None:
    with closing(open_web(WebOptions(port=0, stale_s=0.3), Telemetry(), title="t")) as sink:
        assert get(sink.address + "healthz")[0] == 503
        sink.write(result_of(noise((48, 64), 0)))
        assert get(sink.address + "healthz")[0] == 200
        time.sleep(0.4)
        status, text = get(sink.address + "healthz")

    assert status == 503
    assert json.loads(text)["status"] == "stale"


def test_pulse_by_a_clock_of_its_own() -> None:
    now_s = 0.0
    monitor = HealthMonitor(5.0, clock=lambda: now_s)
    assert monitor.health() == (
        False,
        {"status": "waiting for the first result", "results": 0, "silent_s": 0.0},
    )
    for number in range(41):
        now_s = number / 10
        monitor.note(result_of(noise((8, 8), 0), stream=2, dropped=1))

    assert monitor.rate_fps(2) == pytest.approx(10)
    assert monitor.rate_fps(0) == 0
    assert monitor.dropped(2) == 41
    assert monitor.health() == (True, {"status": "ok", "results": 41, "silent_s": 0.0})
    now_s += 5.001
    assert monitor.health() == (False, {"status": "stale", "results": 41, "silent_s": 5.001})
