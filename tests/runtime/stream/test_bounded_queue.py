"""A generator in a thread of its own: same items, same failures, no thread left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest

from saliency_edge.runtime.stream.bounded_queue import prefetch

pytestmark = [pytest.mark.timeout(20), pytest.mark.usefixtures("no_thread_left")]  # what hangs, fails


class Numbers:
    """Counts, notes how far it came and where it ran, and fails where it is told to."""

    def __init__(self, count: int, fail_at: int | None = None) -> None:
        self.count, self.fail_at = count, fail_at
        self.given = 0
        self.closed_in: threading.Thread | None = None

    def items(self) -> Generator[int, None, None]:
        try:
            for number in range(self.count):
                if number == self.fail_at:
                    raise ValueError(f"number {number}")
                self.given = number + 1
                yield number
        finally:
            self.closed_in = threading.current_thread()


def test_same_items_in_order() -> None:
    assert list(prefetch(Numbers(1000).items())) == list(range(1000))


def test_two_threads_in_a_row() -> None:
    assert list(prefetch(prefetch(Numbers(100).items()), size=1)) == list(range(100))


def test_failure_comes_after_the_items_before_it() -> None:
    reader = prefetch(Numbers(10, fail_at=4).items())

    assert [next(reader) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="number 4"):
        next(reader)


def test_failure_passes_through_two_threads() -> None:
    got: list[int] = []
    with pytest.raises(ValueError, match="number 4"):
        got.extend(prefetch(prefetch(Numbers(10, fail_at=4).items())))
    assert got == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_never_further_ahead_than_the_queue(size: int) -> None:
    numbers = Numbers(100)
    reader = prefetch(numbers.items(), size)

    furthest = 1 + size + 1  # read, queued, and one waiting at the queue
    assert next(reader) == 0
    while numbers.given < furthest:
        time.sleep(0.01)
    time.sleep(0.1)
    assert numbers.given == furthest
    reader.close()


def test_reader_that_stops_closes_the_generator_in_its_own_thread() -> None:
    numbers = Numbers(100)
    reader = prefetch(prefetch(numbers.items()))
    assert next(reader) == 0

    reader.close()

    assert numbers.given < 10
    assert numbers.closed_in is not None
    assert numbers.closed_in is not threading.current_thread()
    assert not numbers.closed_in.is_alive()
