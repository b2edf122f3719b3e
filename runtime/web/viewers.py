"""The viewers of a run: what each asks for, and the messages that answer, made once for all of them."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from threading import Thread
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from ..backends.backend import Model, saliency_of
from ..fit import resize, size_hw_of
from ..frame import Frame, Result
from .monitoring import HealthMonitor
from .web_options import WebOptions

_INTEREST_S = 1.5  # after an answer the next request is on its way: the viewer still wants results
_LARGEST_STREAM = 255
_COMPARISON_TIMEOUT_S = 60.0
_CLOSING_S = 5.0
_LARGEST_MAP_SIDE = 160
_LEAST_LINEAR_SCALE = 0.5  # bilinear above it: each pixel counts, at a quarter of the cost of areas' means

Kind: TypeAlias = Literal["numbers", "picture", "comparison"]
"""What a message has: numbers and map; the frame too; the second engine's map too."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a viewer wants next.

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
    """A result as bytes, the same for all viewers; a higher number is a newer result."""

    number: int
    data: bytes


class Viewer:
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
    """Makes messages of results and wakes the viewers. All but `is_due` belongs to the server's thread."""

    def __init__(
        self, options: WebOptions, monitor: HealthMonitor, compare: Model | None, warn: Callable[[str], None]
    ) -> None:
        """Start with nobody looking on; the second engine is used here alone."""
        self._options, self._health_monitor, self._compare, self._warn = options, monitor, compare, warn
        self.viewers: set[Viewer] = set()
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
        requests = [viewer.request for viewer in self.viewers if viewer.request is not None]
        wanted = frozenset((request.stream, request.kind) for request in requests)
        until_s = time.monotonic() + _INTEREST_S
        self._wanted_until_s.update(dict.fromkeys(self._wanted - wanted, until_s))
        self._wanted = wanted

    def latest(self, request: Request) -> _Message | None:
        """The newest message that answers a request; without a second engine that is a picture."""
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
            self._put(stream, "picture", number, self._message(result, has_picture=True))
        if self._is_wanted(stream, "numbers"):
            self._put(stream, "numbers", number, self._message(result, has_picture=False))
        if self._compare is not None and wants_comparison and not self._comparing:
            second = await self._second_map(self._compare, result.saliency.frame)
            kind: Kind = "picture" if second is None else "comparison"
            self._put(stream, kind, number, self._message(result, has_picture=True, second=second))

    async def _second_map(self, engine: Model, frame: Frame) -> NDArray[np.uint8] | None:
        self._comparing = True
        try:
            computed = self._comparer.run(lambda: map_levels(saliency_of(engine, frame.image_bgr)))
            return await asyncio.wait_for(computed, _COMPARISON_TIMEOUT_S)
        except Exception as error:
            reason = str(error) or f"no map within {_COMPARISON_TIMEOUT_S:.0f} s"
            self._warn(f"web view: no more comparisons: {reason}")
            self._compare = None
            return None
        finally:
            self._comparing = False

    def _message(
        self, result: Result, *, has_picture: bool, second: NDArray[np.uint8] | None = None
    ) -> ResultMessage:
        """Put a message together. A comparison has both maps as the networks gave them, without smoothing."""
        frame = result.saliency.frame
        header = result_header(
            result,
            rate_fps=self._health_monitor.rate_fps(frame.stream),
            dropped=self._health_monitor.dropped(frame.stream),
            streams=self._health_monitor.streams,
        )
        before = result.unsmoothed if second is not None else None
        return ResultMessage(
            header=header | {"compares": self._compare is not None, "unsmoothed": before is not None},
            levels=map_levels(result.saliency.values if before is None else before),
            picture_bgr=shrink_frame(frame, self._options.max_side_px) if has_picture else None,
            compared=second,
        )

    def _put(self, stream: int, kind: Kind, number: int, update: ResultMessage) -> None:
        data = update.to_bytes(self._options.jpeg_quality)
        self._messages[stream, kind] = _Message(number=number, data=data)
        for viewer in self.viewers:
            viewer.wake.set()

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultMessage:
    """One result on its way to the viewers.

    Attributes:
        header: its numbers, for JSON.
        levels: its map, (h, w), 255 where saliency is 1.
        picture_bgr: the frame at the page's size; `None`: nobody looks.
        compared: the second engine's map, where somebody compares.
    """

    header: dict[str, Any]
    levels: NDArray[np.uint8]
    picture_bgr: NDArray[np.uint8] | None
    compared: NDArray[np.uint8] | None = None

    def to_bytes(self, jpeg_quality: int) -> bytes:
        """Serialize: length of the header (uint32, little-endian), header, maps, frame as JPEG."""
        maps = [self.levels] if self.compared is None else [self.levels, self.compared]
        header = {**self.header, "map_sizes_hw": [size_hw_of(levels) for levels in maps]}
        text = json.dumps(header, separators=(",", ":")).encode()
        jpeg = b"" if self.picture_bgr is None else encode_jpeg(self.picture_bgr, jpeg_quality)
        return b"".join([struct.pack("<I", len(text)), text, *(levels.tobytes() for levels in maps), jpeg])


def result_header(result: Result, *, rate_fps: float, dropped: int, streams: int) -> dict[str, Any]:
    """A result's numbers by name; pixels are the frame's."""
    frame = result.saliency.frame
    height, width = frame.size_hw
    return {
        "stream": frame.stream,
        "streams": streams,
        "index": frame.index,
        "size_hw": [height, width],
        "age_ms": round(result.age_s * 1e3, 1),
        "rate_fps": round(rate_fps, 2),
        "dropped": dropped,
        "regions": [asdict(region) for region in result.regions],
    }


def map_levels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map in levels of 0 to 255, shrunk where it is finer than a page can show over a frame."""
    height, width = values.shape
    scale = min(1.0, _LARGEST_MAP_SIDE / max(height, width))
    if scale < 1:
        size_wh = max(1, round(width * scale)), max(1, round(height * scale))
        values = cv2.resize(values, size_wh, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
    return cv2.convertScaleAbs(values, alpha=255.0).astype(np.uint8, copy=False)


def shrink_frame(frame: Frame, max_side_px: int) -> NDArray[np.uint8]:
    """Bring a frame to the page's size, its aspect kept; a small one stays as it is."""
    height, width = frame.size_hw
    scale = max_side_px / max(height, width)
    if scale >= 1:
        return frame.image_bgr
    size_hw = max(1, round(height * scale)), max(1, round(width * scale))
    if scale < _LEAST_LINEAR_SCALE:
        return resize(frame.image_bgr, size_hw)
    return cv2.resize(frame.image_bgr, size_hw[::-1]).astype(np.uint8, copy=False)


def encode_jpeg(picture_bgr: NDArray[np.uint8], quality: int) -> bytes:
    """Compress a picture."""
    return cv2.imencode(".jpg", picture_bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()
