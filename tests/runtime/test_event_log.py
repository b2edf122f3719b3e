"""Every event is counted; a line is said now and then."""

from __future__ import annotations

from saliency_edge.runtime.telemetry import Counters, EventLog


def test_a_thousand_events_are_two_lines() -> None:
    """Ten a second for 100 s: one line at once, one after a minute."""
    counters, lines, time_s = Counters(), list[str](), 0.0
    events = EventLog(counters, lines.append, stream=3, clock=lambda: time_s)

    for number in range(1000):
        time_s = number / 10
        events.log("dropped", "too fast", amount=2)

    assert counters.of("dropped", 3) == 2000
    assert lines == ["stream 3: too fast", "stream 3: too fast (and 1198 more since the last such line)"]


def test_kinds_are_said_apart() -> None:
    counters, lines = Counters(), []
    events = EventLog(counters, lines.append)

    events.log("lost", "gone")
    events.log("restarted", "back")
    events.count("captured")

    assert lines == ["stream 0: gone", "stream 0: back"]
    assert counters.totals() == {"lost": 1, "restarted": 1, "captured": 1}
