"""Between the run and the browsers: the newest result for each, and nothing made that nobody asked for."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backends.backend import Model, saliency_of
from ..errors import SaliencyError
from ..video.frame import Frame, Result
from .options import WebOptions
from .pulse import Pulse
from .update import Update, header_of, levels_of, shrunk

_INTEREST_S = 1.5  # after an answer the next request is on its way: the browser still wants results
_LARGEST_STREAM = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a browser wants next.

    Attributes:
        stream: of which source.
        picture: with the frame, or numbers and map alone.
        compare: with the second engine's map.
    """

    stream: int
    picture: bool
    compare: bool

    @property
    def parts(self) -> tuple[str, ...]:
        """What has to be made for it."""
        return ("numbers", *("picture",) * self.picture, *("compared",) * self.compare)

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Read a request.

        Raises:
            ValueError: it is none.
        """
        values = json.loads(text)
        if not isinstance(values, dict) or values.get("stream") not in range(_LARGEST_STREAM + 1):
            raise ValueError(f"no request: {text[:100]}")
        return cls(
            stream=values["stream"], picture=bool(values.get("picture")), compare=bool(values.get("compare"))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    """A result as bytes, the same for all browsers."""

    number: int
    full: bytes
    numbers_only: bytes


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
        message = self._hub.latest(request.stream) if request else None
        if request is None or message is None or message.number <= self._seen.get(request.stream, -1):
            return None
        self.request, self._seen[request.stream] = None, message.number
        self._hub.note_requests()
        return message.full if request.picture else message.numbers_only


class Hub:
    """Makes messages of results and wakes the browsers. All but `is_due` belongs to the server's thread."""

    def __init__(self, options: WebOptions, pulse: Pulse, compare: Model | None) -> None:
        """Start with nobody looking on; the second engine is used here alone."""
        self._options, self._pulse, self._compare = options, pulse, compare
        self.browsers: set[Browser] = set()
        self._messages: dict[int, _Message] = {}
        self._wanted: frozenset[tuple[int, str]] = frozenset()
        self._wanted_until_s: dict[tuple[int, str], float] = {}
        self._next_s: dict[int, float] = {}
        self._number = 0
        self._comparing = False

    def is_due(self, stream: int) -> bool:
        """Tell whether somebody wants a result of this stream now; if so, the next is due a while later."""
        now_s = time.monotonic()
        next_s = self._next_s.get(stream, now_s)
        if not self._is_wanted(stream, "numbers") or now_s < next_s:
            return False
        interval_s = 1 / self._options.max_fps
        self._next_s[stream] = max(next_s + interval_s, now_s)
        return True

    def note_requests(self) -> None:
        """Note which parts of which streams are wanted; those no longer asked for are, for a little while."""
        requests = [browser.request for browser in self.browsers if browser.request is not None]
        wanted = frozenset((request.stream, part) for request in requests for part in request.parts)
        until_s = time.monotonic() + _INTEREST_S
        self._wanted_until_s.update(dict.fromkeys(self._wanted - wanted, until_s))
        self._wanted = wanted

    def latest(self, stream: int) -> _Message | None:
        """Give the newest message of a stream."""
        return self._messages.get(stream)

    async def publish(self, result: Result) -> None:
        """Make a result's message and wake who waits; while a comparison is computed, others are left out."""
        if self._comparing:
            return
        compared = None
        stream = result.saliency.frame.stream
        if self._compare is not None and self._is_wanted(stream, "compared"):
            compared = await self._second_map(self._compare, result.saliency.frame)
        self._number += 1
        self._messages[stream] = self._message_of(result, compared)
        for browser in self.browsers:
            browser.wake.set()

    async def _second_map(self, engine: Model, frame: Frame) -> NDArray[np.uint8] | None:
        self._comparing = True
        try:
            return await asyncio.to_thread(_levels_by, engine, frame)
        except SaliencyError as error:
            print(f"web view: no more comparisons: {error}", file=sys.stderr, flush=True)
            self._compare = None
            return None
        finally:
            self._comparing = False

    def _message_of(self, result: Result, compared: NDArray[np.uint8] | None) -> _Message:
        frame = result.saliency.frame
        header = header_of(
            result,
            rate_fps=self._pulse.rate_fps(frame.stream),
            dropped=self._pulse.dropped(frame.stream),
            streams=self._pulse.streams,
        )
        wants_picture = self._is_wanted(frame.stream, "picture")
        levels = levels_of(result.saliency.values)
        picture_bgr = shrunk(frame, self._options.max_side_px) if wants_picture else None
        numbers = Update(header=header, levels=levels, picture_bgr=None)
        full = Update(header=header, levels=levels, picture_bgr=picture_bgr, compared=compared)
        quality = self._options.jpeg_quality
        return _Message(
            number=self._number, full=full.to_bytes(quality), numbers_only=numbers.to_bytes(quality)
        )

    def _is_wanted(self, stream: int, part: str) -> bool:
        is_asked_for = (stream, part) in self._wanted
        return is_asked_for or time.monotonic() < self._wanted_until_s.get((stream, part), 0.0)


def _levels_by(engine: Model, frame: Frame) -> NDArray[np.uint8]:
    """Compute a frame's map with another engine, in levels of 0 to 255."""
    return levels_of(saliency_of(engine, frame.image_bgr))
