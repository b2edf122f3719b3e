"""What browsers and Prometheus get, and what bad browsers cannot do."""

from __future__ import annotations

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

from prometheus_client.parser import text_string_to_metric_families

from saliency_edge.runtime.contract import Contract
from saliency_edge.runtime.errors import BackendError
from saliency_edge.runtime.telemetry import Telemetry
from saliency_edge.runtime.web.options import WebOptions
from saliency_edge.runtime.web.pulse import Pulse
from saliency_edge.runtime.web.sink import open_web
from saliency_edge.runtime.web.update import levels_of
from sink_results import result_of
from toy_models import noise, toy_contract, toy_map
from web_clients import FRAME_HW, fed_view, frame_of, messages_of, values_of

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

    levels = levels_of(values)

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


class SecondEngine:
    """The toy network at half its value; fails where it is told to."""

    description = "second"
    contract: Contract = toy_contract(FRAME_HW)

    def __init__(self, fails: bool = False) -> None:
        self._fails, self.calls = fails, 0

    def infer(self, frames: Any) -> Any:
        self.calls += 1
        if self._fails:
            raise BackendError("the device has gone")
        return np.stack([toy_map(frame) / 2 for frame in frames]).astype(np.float32)

    def close(self) -> None: ...


def test_second_engine_works_only_while_somebody_compares() -> None:
    engine = SecondEngine()
    with fed_view(compare=engine) as view:
        assert len(messages_of(view.url, 3)[-1].maps) == 1
        assert engine.calls == 0
        message = messages_of(view.url, 3, compare=True)[-1]

    expected = values_of(message.header["index"]) / 2 * 255
    assert np.abs(message.maps[1] - expected).max() <= 0.51


def test_second_engine_that_fails_leaves_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    with fed_view(compare=SecondEngine(fails=True)) as view:
        assert len(messages_of(view.url, 3, compare=True)[-1].maps) == 1
    assert capsys.readouterr().err == "web view: no more comparisons: the device has gone\n"


def test_nothing_is_compressed_when_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("saliency_edge.runtime.web.update.jpeg_of", lambda *_: calls.append(1) or b"")
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
    pulse = Pulse(5.0, clock=lambda: now_s)
    assert pulse.health() == (
        False,
        {"status": "waiting for the first result", "results": 0, "silent_s": 0.0},
    )
    for number in range(41):
        now_s = number / 10
        pulse.note(result_of(noise((8, 8), 0), stream=2, dropped=1))

    assert pulse.rate_fps(2) == pytest.approx(10)
    assert pulse.rate_fps(0) == 0
    assert pulse.dropped(2) == 41
    assert pulse.health() == (True, {"status": "ok", "results": 41, "silent_s": 0.0})
    now_s += 5.001
    assert pulse.health() == (False, {"status": "stale", "results": 41, "silent_s": 5.001})
