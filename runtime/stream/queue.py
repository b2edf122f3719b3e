"""Threads for a pipeline: each stage works ahead of the next, and never further than its queue is long."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from threading import Condition, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


def ahead(
    items: Generator[T, None, None], size: int = 2, *, interrupt: Callable[[], None] = lambda: None
) -> Generator[T, None, None]:
    """Run a generator in a thread of its own, at most `size` items ahead of the reader.

    A failure is raised here, after the items that came before it. Whichever way the reader ends, by
    `close()` too, `items` is closed in its own thread, and that thread has ended when this one goes on.

    Args:
        items: what to run; nobody else may use it.
        size: of the queue between.
        interrupt: called here when the reader ends: wakes `items` where it waits for something else.
    """
    channel = _Channel[T](size)
    thread = Thread(target=_pump, args=(items, channel), daemon=True)
    thread.start()
    try:
        yield from channel.items()
    finally:
        channel.close()
        interrupt()
        thread.join()


def _pump(items: Generator[T, None, None], channel: _Channel[T]) -> None:
    """Move the items into the channel until one side ends; what fails here is raised at the other end."""
    failure: BaseException | None = None
    try:
        with closing(items):
            for item in items:
                if not channel.put(item):
                    break
    except BaseException as error:
        failure = error
    channel.finish(failure)


class _Channel(Generic[T]):
    """A bounded queue between two threads that either of them can end."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[T] = deque()
        self._changed = Condition()
        self._closed = False  # by the reader
        self._finished = False  # by the writer
        self._failure: BaseException | None = None

    def put(self, item: T) -> bool:
        """Wait for room and add an item; False if the reader has closed the channel."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._size)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed

    def finish(self, failure: BaseException | None) -> None:
        """Say that no more items come, and why, where that is a failure."""
        with self._changed:
            self._finished, self._failure = True, failure
            self._changed.notify_all()

    def close(self) -> None:
        """Say that no more items are wanted."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def items(self) -> Iterator[T]:
        """Take the items until the writer finishes, then raise its failure if there was one."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._finished)
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
        if self._failure is not None:
            raise self._failure
