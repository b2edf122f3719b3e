"""Between the run and the browsers: the newest result for each, and nothing made that nobody asked for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import Literal, TypeAlias, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray

from ..backends.backend import Model, saliency_of
from ..video.frame import Frame, Result
from .options import WebOptions
from .pulse import Pulse
from .update import Update, header_of, levels_of, shrunk

_INTEREST_S = 1.5  # after an answer the next request is on its way: the browser still wants results
_LARGEST_STREAM = 255
_COMPARISON_TIMEOUT_S = 60.0
_CLOSING_S = 5.0

Kind: TypeAlias = Literal["numbers", "picture", "comparison"]
"""What a message has: numbers and map; the frame too; the second engine's map too."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a browser wants next.

    Attributes:
        stream: of which source.
        picture: with the frame, or numbers and map alone.
        compare: with the second engine's map, if there is a picture.
    """

    stream: int
    picture: bool
    compare: bool

    @property
    def kind(self) -> Kind:
        """Which message answers it."""
        return "numbers" if not self.picture else "comparison" if self.compare else "picture"

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Read a request.

        Raises:
            ValueError: it is none.
        """
        try:
            values = json.loads(text)
        except RecursionError:
            values = None
        if not isinstance(values, dict) or values.get("stream") not in range(_LARGEST_STREAM + 1):
            raise ValueError(f"no request: {text[:100]}")
        return cls(
            stream=int(values["stream"]),
            picture=bool(values.get("picture")),
            compare=bool(values.get("compare")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    """A result as bytes, the same for all browsers; a higher number is a newer result."""

    number: int
    data: bytes


class Browser:
    """One that looks on: it asks for a result, gets the newest that it has not seen, and asks again.

    So a slow one gets fewer results, never old ones, and no queue grows.
    """

    def __init__(self, hub: Hub) -> None:
        """Begin without a request."""
        self._hub = hub
        self.request: Request | None = None
        self._seen: dict[int, int] = {}
        self.wake = asyncio.Event()

    def ask(self, request: Request) -> None:
        """Take a request in the place of the one before."""
        self.request = request
        self._hub.note_requests()
        self.wake.set()

    async def next_message(self) -> bytes:
        """Wait until there is a request, and a result that answers it."""
        while True:
            await self.wake.wait()
            self.wake.clear()
            if (answer := self._answer()) is not None:
                return answer

    def _answer(self) -> bytes | None:
        request = self.request
        message = self._hub.latest(request) if request else None
        if request is None or message is None or message.number <= self._seen.get(request.stream, -1):
            return None
        self.request, self._seen[request.stream] = None, message.number
        self._hub.note_requests()
        return message.data


class Hub:
    """Makes messages of results and wakes the browsers. All but `is_due` belongs to the server's thread."""

    def __init__(
        self, options: WebOptions, pulse: Pulse, compare: Model | None, warn: Callable[[str], None]
    ) -> None:
        """Start with nobody looking on; the second engine is used here alone."""
        self._options, self._pulse, self._compare, self._warn = options, pulse, compare, warn
        self.browsers: set[Browser] = set()
        self._messages: dict[tuple[int, Kind], _Message] = {}
        self._wanted: frozenset[tuple[int, Kind]] = frozenset()
        self._wanted_until_s: dict[tuple[int, Kind], float] = {}
        self._next_s: dict[int, float] = {}
        self._number = 0
        self._comparing = False
        self._comparer = _Comparer()

    def close(self) -> None:
        """Wait until the second engine is at rest."""
        self._comparer.close()

    def is_due(self, stream: int) -> bool:
        """Tell whether somebody wants a result of this stream now; if so, the next is due a while later."""
        now_s = time.monotonic()
        next_s = self._next_s.get(stream, now_s)
        if now_s < next_s or not any(self._is_wanted(stream, kind) for kind in get_args(Kind)):
            return False
        interval_s = 1 / self._options.max_fps
        self._next_s[stream] = max(next_s + interval_s, now_s)
        return True

    def note_requests(self) -> None:
        """Note what is wanted of which streams; what is no longer asked for is, for a little while."""
        requests = [browser.request for browser in self.browsers if browser.request is not None]
        wanted = frozenset((request.stream, request.kind) for request in requests)
        until_s = time.monotonic() + _INTEREST_S
        self._wanted_until_s.update(dict.fromkeys(self._wanted - wanted, until_s))
        self._wanted = wanted

    def latest(self, request: Request) -> _Message | None:
        """Give the newest message that answers a request; without a second engine that is a picture."""
        kind = "picture" if request.kind == "comparison" and self._compare is None else request.kind
        return self._messages.get((request.stream, kind))

    async def publish(self, result: Result) -> None:
        """Make the messages of a result that are wanted, and wake who waits.

        While one comparison is computed no other begins; who does not compare does not wait for it.
        """
        stream = result.saliency.frame.stream
        self._number += 1
        number = self._number
        wants_comparison = self._is_wanted(stream, "comparison")
        if self._is_wanted(stream, "picture") or (wants_comparison and self._compare is None):
            self._put(stream, "picture", number, self._update(result, has_picture=True))
        if self._is_wanted(stream, "numbers"):
            self._put(stream, "numbers", number, self._update(result, has_picture=False))
        if self._compare is not None and wants_comparison and not self._comparing:
            second = await self._second_map(self._compare, result.saliency.frame)
            kind: Kind = "picture" if second is None else "comparison"
            self._put(stream, kind, number, self._update(result, has_picture=True, second=second))

    async def _second_map(self, engine: Model, frame: Frame) -> NDArray[np.uint8] | None:
        self._comparing = True
        try:
            computed = self._comparer.run(lambda: levels_of(saliency_of(engine, frame.image_bgr)))
            return await asyncio.wait_for(computed, _COMPARISON_TIMEOUT_S)
        except Exception as error:
            reason = str(error) or f"no map within {_COMPARISON_TIMEOUT_S:.0f} s"
            self._warn(f"web view: no more comparisons: {reason}")
            self._compare = None
            return None
        finally:
            self._comparing = False

    def _update(
        self, result: Result, *, has_picture: bool, second: NDArray[np.uint8] | None = None
    ) -> Update:
        """Put a message together. A comparison has both maps as the networks gave them, without smoothing."""
        frame = result.saliency.frame
        header = header_of(
            result,
            rate_fps=self._pulse.rate_fps(frame.stream),
            dropped=self._pulse.dropped(frame.stream),
            streams=self._pulse.streams,
        )
        before = result.unsmoothed if second is not None else None
        return Update(
            header=header | {"compares": self._compare is not None, "unsmoothed": before is not None},
            levels=levels_of(result.saliency.values if before is None else before),
            picture_bgr=shrunk(frame, self._options.max_side_px) if has_picture else None,
            compared=second,
        )

    def _put(self, stream: int, kind: Kind, number: int, update: Update) -> None:
        data = update.to_bytes(self._options.jpeg_quality)
        self._messages[stream, kind] = _Message(number=number, data=data)
        for browser in self.browsers:
            browser.wake.set()

    def _is_wanted(self, stream: int, kind: Kind) -> bool:
        is_asked_for = (stream, kind) in self._wanted
        return is_asked_for or time.monotonic() < self._wanted_until_s.get((stream, kind), 0.0)


class _Comparer:
    """Computes in threads that nobody waits for when the program ends, unlike an executor's."""

    def __init__(self) -> None:
        self._thread = Thread()

    async def run(self, work: Callable[[], T]) -> T:
        """Compute something in a thread; one at a time."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(outcome: T | None, error: Exception | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(cast(T, outcome))

        def run() -> None:
            outcome, error = None, None
            try:
                outcome = work()
            except Exception as raised:
                error = raised
            with suppress(RuntimeError):  # the loop may have ended meanwhile
                loop.call_soon_threadsafe(settle, outcome, error)

        self._thread = Thread(target=run, name="web comparison", daemon=True)
        self._thread.start()
        return await future

    def close(self) -> None:
        """Wait for what is being computed; its engine may be closed afterwards."""
        if self._thread.ident is not None:
            self._thread.join(_CLOSING_S)
