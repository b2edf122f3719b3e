"""What waits for the engine under each policy: counted, in order, and never for ever."""

from __future__ import annotations

import time
from threading import Thread

import numpy as np
import pytest

from saliency_edge.runtime.errors import InputError, UsageError
from saliency_edge.runtime.frame import Frame
from saliency_edge.runtime.stream.scheduler import ALL, NEWEST, Fitted, Intake, Policy

pytestmark = pytest.mark.timeout(20)  # what hangs, fails

PIXELS = np.zeros((1, 1, 3), np.uint8)


def fitted(index: int, age_s: float = 0.0, stream: int = 0) -> Fitted:
    captured_s = time.monotonic() - age_s
    frame = Frame(index=index, name=str(index), image_bgr=PIXELS, captured_s=captured_s, stream=stream)
    return Fitted(frame, PIXELS)


def take(intake: Intake, limit: int = 1, expected_s: float = 0.0) -> list[tuple[int, int, int]]:
    """Give stream, index and drops of each frame taken."""
    taken = intake.take(limit, expected_s, lambda: False)
    return [(item.fitted.frame.stream, item.fitted.frame.index, item.dropped) for item in taken]


def test_newest_takes_the_place_of_what_waits() -> None:
    intake = Intake([NEWEST])
    for index in range(5):
        assert intake.put(0, fitted(index))
    assert take(intake) == [(0, 4, 4)]

    assert intake.put(0, fitted(5))
    intake.finish(0, None)
    assert take(intake) == [(0, 5, 0)]
    assert take(intake) == []


def test_all_waits_for_room_and_drops_nothing() -> None:
    intake = Intake([ALL])
    writer = Thread(target=lambda: [intake.put(0, fitted(index)) for index in range(50)])
    writer.start()
    time.sleep(0.05)
    assert writer.is_alive(), "the source does not wait"

    assert [take(intake) for _ in range(50)] == [[(0, index, 0)] for index in range(50)]
    writer.join()


def test_deadline_drops_what_would_be_late_but_never_the_newest() -> None:
    intake = Intake([Policy.parse("deadline=100")])
    for index, age_s in enumerate([0.5, 0.09, 0.06, 0.01]):
        intake.put(0, fitted(index, age_s))

    assert take(intake, expected_s=0.03) == [(0, 2, 2)]
    assert take(intake, expected_s=9.0) == [(0, 3, 0)]


def test_deadline_keeps_a_bounded_number() -> None:
    policy = Policy.parse("deadline=60000")
    intake = Intake([policy])
    for index in range(100):
        intake.put(0, fitted(index))

    assert take(intake) == [(0, 100 - policy.waiting, 100 - policy.waiting)]


def test_streams_take_turns_and_share_batches() -> None:
    intake = Intake([ALL, ALL, NEWEST])
    for stream in range(3):
        for index in range(2):
            intake.put(stream, fitted(index, stream=stream))
    assert take(intake) == [(0, 0, 0)]
    assert take(intake, limit=2) == [(1, 0, 0), (2, 1, 1)]
    assert take(intake, limit=8) == [(0, 1, 0), (1, 1, 0)]


def test_failure_comes_after_the_frames_before_it() -> None:
    intake = Intake([ALL, ALL])
    intake.put(0, fitted(0))
    intake.finish(0, InputError("gone"))

    assert take(intake) == [(0, 0, 0)]
    with pytest.raises(InputError, match="gone"):
        take(intake)


@pytest.mark.parametrize("policy", [ALL, NEWEST])
def test_close_and_stop_end_all_waiting(policy: Policy) -> None:
    intake = Intake([policy])
    results: list[object] = []
    reader = Thread(target=lambda: results.append(take(intake)))
    reader.start()
    intake.close()
    reader.join()

    assert results == [[]]
    assert not intake.put(0, fitted(0))
    assert Intake([policy]).take(1, 0.0, lambda: True) == []


@pytest.mark.parametrize("text", ["old", "deadline", "deadline=0", "deadline=-5", "newest=1", ""])
def test_policies_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="expected newest, all, or deadline=MS"):
        Policy.parse(text)


@pytest.mark.parametrize("text", ["newest", "all", "deadline=100", "deadline=2.5"])
def test_policies_read_what_they_write(text: str) -> None:
    assert str(Policy.parse(text)) == text
