"""The one kind of queue between the threads of a run, and what runs ahead of its reader through it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from threading import Condition, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """A queue of limited length between a producer and a consumer, which either of them can end.

    Queues that share a condition can be waited for together, and changed as one while it is held.
    """

    def __init__(self, size: int, changed: Condition | None = None) -> None:
        """Start empty.

        Args:
            size: items that may wait, 1 or more.
            changed: notified at every change; None makes one.
        """
        self.changed = Condition() if changed is None else changed
        self._size = size
        self._items: deque[T] = deque()
        self._is_closed = self._is_finished = False
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        """Items that wait."""
        return len(self._items)

    @property
    def is_full(self) -> bool:
        """Whether `put` would wait."""
        return len(self._items) >= self._size

    @property
    def is_closed(self) -> bool:
        """Whether the consumer has left."""
        return self._is_closed

    @property
    def is_finished(self) -> bool:
        """Whether the producer has left; items may still wait."""
        return self._is_finished

    def put(self, item: T, timeout_s: float | None = None) -> bool:
        """Wait for room and append an item.

        Args:
            item: what is appended.
            timeout_s: longest wait; None waits until there is room.

        Returns:
            False if it was not appended: the consumer has left, or no room came in time.
        """
        with self.changed:
            self.changed.wait_for(lambda: self._is_closed or not self.is_full, timeout_s)
            if self._is_closed or self.is_full:
                return False
            self._items.append(item)
            self.changed.notify_all()
            return True

    def pop(self) -> T:
        """Take the oldest item.

        Raises:
            IndexError: none waits.
        """
        with self.changed:
            item = self._items.popleft()
            self.changed.notify_all()
            return item

    def peek(self) -> T:
        """Look at the oldest item, which stays.

        Raises:
            IndexError: none waits.
        """
        return self._items[0]

    def finish(self, failure: BaseException | None = None) -> None:
        """Leave as the producer: no more items come, because of a failure where there is one."""
        with self.changed:
            self._is_finished, self._failure = True, failure
            self.changed.notify_all()

    def close(self) -> None:
        """Leave as the consumer: no more items are wanted."""
        with self.changed:
            self._is_closed = True
            self.changed.notify_all()

    def raise_failure(self) -> None:
        """Raise what ended the producer, once the items before it are taken."""
        if self._failure is not None and not self._items:
            raise self._failure

    def __iter__(self) -> Iterator[T]:
        """Take the items as they come, until the producer leaves; then raise its failure if there was one."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self._items or self._is_finished)
                if not self._items:
                    break
                item = self.pop()
            yield item
        self.raise_failure()


def prefetch(
    items: Generator[T, None, None], size: int = 2, *, interrupt: Callable[[], None] = lambda: None
) -> Generator[T, None, None]:
    """Run a generator in a thread of its own, at most `size` items ahead of the reader.

    A failure is raised here, after the items that came before it. Whichever way the reader ends, by
    `close()` too, `items` is closed in its own thread, and that thread has ended when this one goes on.

    Args:
        items: the generator; nobody else may use it.
        size: of the queue between.
        interrupt: called here when the reader ends: wakes `items` where it waits for something else.
    """
    queue = BoundedQueue[T](size)

    def produce() -> None:
        failure: BaseException | None = None
        try:
            with closing(items):
                for item in items:
                    if not queue.put(item):
                        break
        except BaseException as error:
            failure = error
        queue.finish(failure)

    thread = Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        yield from queue
    finally:
        queue.close()
        interrupt()
        thread.join()
