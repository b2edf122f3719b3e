"""What waits for the engine under each policy: counted, in order, and never for ever."""

from __future__ import annotations

import time
from threading import Thread

import numpy as np
import pytest

from saliency_edge.runtime.errors import InputError, UsageError
from saliency_edge.runtime.frame import Frame
from saliency_edge.runtime.stream.scheduler import ALL, NEWEST, FittedFrame, FrameScheduler, Policy

pytestmark = pytest.mark.timeout(20)  # what hangs, fails

PIXELS = np.zeros((1, 1, 3), np.uint8)


def fitted(index: int, age_s: float = 0.0, stream: int = 0) -> FittedFrame:
    captured_s = time.monotonic() - age_s
    frame = Frame(index=index, name=str(index), image_bgr=PIXELS, captured_s=captured_s, stream=stream)
    return FittedFrame(frame, PIXELS)


def take(scheduler: FrameScheduler, limit: int = 1, expected_s: float = 0.0) -> list[tuple[int, int, int]]:
    """Give stream, index and drops of each frame taken."""
    taken = scheduler.take(limit, expected_s, lambda: False)
    return [(item.frame.stream, item.frame.index, item.dropped) for item in taken]


def test_newest_takes_the_place_of_what_waits() -> None:
    scheduler = FrameScheduler([NEWEST])
    for index in range(5):
        assert scheduler.put(0, fitted(index))
    assert take(scheduler) == [(0, 4, 4)]

    assert scheduler.put(0, fitted(5))
    scheduler.finish(0, None)
    assert take(scheduler) == [(0, 5, 0)]
    assert take(scheduler) == []


def test_all_waits_for_room_and_drops_nothing() -> None:
    scheduler = FrameScheduler([ALL])
    writer = Thread(target=lambda: [scheduler.put(0, fitted(index)) for index in range(50)])
    writer.start()
    time.sleep(0.05)
    assert writer.is_alive(), "the source does not wait"

    assert [take(scheduler) for _ in range(50)] == [[(0, index, 0)] for index in range(50)]
    writer.join()


def test_deadline_drops_what_would_be_late_but_never_the_newest() -> None:
    scheduler = FrameScheduler([Policy.parse("deadline=100")])
    for index, age_s in enumerate([0.5, 0.09, 0.06, 0.01]):
        scheduler.put(0, fitted(index, age_s))

    assert take(scheduler, expected_s=0.03) == [(0, 2, 2)]
    assert take(scheduler, expected_s=9.0) == [(0, 3, 0)]


def test_deadline_keeps_a_bounded_number() -> None:
    policy = Policy.parse("deadline=60000")
    scheduler = FrameScheduler([policy])
    for index in range(100):
        scheduler.put(0, fitted(index))

    assert take(scheduler) == [(0, 100 - policy.queue_size, 100 - policy.queue_size)]


def test_streams_take_turns_and_share_batches() -> None:
    scheduler = FrameScheduler([ALL, ALL, NEWEST])
    for stream in range(3):
        for index in range(2):
            scheduler.put(stream, fitted(index, stream=stream))
    assert take(scheduler) == [(0, 0, 0)]
    assert take(scheduler, limit=2) == [(1, 0, 0), (2, 1, 1)]
    assert take(scheduler, limit=8) == [(0, 1, 0), (1, 1, 0)]


def test_failure_comes_after_the_frames_before_it() -> None:
    scheduler = FrameScheduler([ALL, ALL])
    scheduler.put(0, fitted(0))
    scheduler.finish(0, InputError("gone"))

    assert take(scheduler) == [(0, 0, 0)]
    with pytest.raises(InputError, match="gone"):
        take(scheduler)


@pytest.mark.parametrize("policy", [ALL, NEWEST])
def test_close_and_stop_end_all_waiting(policy: Policy) -> None:
    scheduler = FrameScheduler([policy])
    results: list[object] = []
    reader = Thread(target=lambda: results.append(take(scheduler)))
    reader.start()
    scheduler.close()
    reader.join()

    assert results == [[]]
    assert not scheduler.put(0, fitted(0))
    assert FrameScheduler([policy]).take(1, 0.0, lambda: True) == []


@pytest.mark.parametrize("text", ["old", "deadline", "deadline=0", "deadline=-5", "newest=1", ""])
def test_policies_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="expected newest, all, or deadline=MS"):
        Policy.parse(text)


@pytest.mark.parametrize("text", ["newest", "all", "deadline=100", "deadline=2.5"])
def test_policies_read_what_they_write(text: str) -> None:
    assert str(Policy.parse(text)) == text
