"""A web view fed with noise, and browsers made of aiohttp."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from threading import Event, Thread
from typing import Any

import aiohttp
import cv2
import numpy as np
from numpy.typing import NDArray

from saliency_edge.runtime.backends.backend import Model
from saliency_edge.runtime.contract import Contract
from saliency_edge.runtime.errors import BackendError
from saliency_edge.runtime.frame import Region
from saliency_edge.runtime.telemetry import Telemetry
from saliency_edge.runtime.web.view import WebSink, open_web
from saliency_edge.runtime.web.web_options import WebOptions
from sink_results import result_of
from toy_models import noise, toy_contract, toy_map

FRAME_HW = (360, 640)


@dataclass(frozen=True)
class View:
    """A web view that is being fed, and what it costs its feeder."""

    sink: WebSink
    telemetry: Telemetry
    writes_s: list[float]

    @property
    def url(self) -> str:
        return self.sink.address.split("?")[0]

    @property
    def token(self) -> str:
        return self.sink.address.partition("?token=")[2]


class ToyEngine:
    """The toy network, times a factor; fails where it is told to."""

    def __init__(self, description: str = "toy", *, factor: float = 1.0, fails: bool = False) -> None:
        self.description, self._factor, self._fails, self.calls = description, factor, fails, 0
        self.contract: Contract = toy_contract(FRAME_HW)

    def infer(self, frames: Any) -> Any:
        self.calls += 1
        if self._fails:
            raise BackendError("the device has gone")
        return np.stack([toy_map(frame) * self._factor for frame in frames]).astype(np.float32)

    def close(self) -> None: ...


def frame_of(index: int) -> NDArray[np.uint8]:
    """Give the frame that a fed view shows at this index."""
    return noise(FRAME_HW, index % 8)


def values_of(index: int) -> NDArray[np.float32]:
    return toy_map(frame_of(index)).astype(np.float32)


@contextmanager
def fed_view(
    options: WebOptions | None = None,
    *,
    fps: float = 60,
    streams: int = 1,
    engine: Model | None = None,
    compare: Model | None = None,
    regions: tuple[Region, ...] = (),
    unsmoothed: float | None = None,
    warn: Callable[[str], None] = print,
) -> Iterator[View]:
    """Open a web view on a free port, and feed it with results while the block runs.

    With `unsmoothed`, the results come from smoothed maps: before it they were so many times as large.
    """
    telemetry = Telemetry()
    opened = open_web(
        options or WebOptions(port=0),
        telemetry,
        title="noise",
        engine=engine or ToyEngine(),
        compare=compare,
        warn=warn,
    )
    with closing(opened) as sink:
        view, stop = View(sink, telemetry, []), Event()
        feeder = Thread(target=_feed, args=(view, stop, fps, streams, regions, unsmoothed))
        feeder.start()
        try:
            yield view
        finally:
            stop.set()
            feeder.join()


def _feed(
    view: View,
    stop: Event,
    fps: float,
    streams: int,
    regions: tuple[Region, ...],
    unsmoothed: float | None,
) -> None:
    frames, maps = [frame_of(i) for i in range(8)], [values_of(i) for i in range(8)]
    index = 0
    while not stop.wait(1 / fps):
        result = result_of(
            frames[index % 8],
            values=maps[index % 8],
            index=index,
            stream=index % streams,
            captured_s=time.monotonic() - 0.05,
            age_s=0.05,
            dropped=1,
        )
        before = None if unsmoothed is None else maps[index % 8] * np.float32(unsmoothed)
        result = replace(result, regions=regions, unsmoothed=before)
        start_s = time.perf_counter()
        view.sink.write(result)
        view.writes_s.append(time.perf_counter() - start_s)
        view.telemetry.counters.add("done")
        index += 1


@dataclass(frozen=True)
class Message:
    """What a browser got."""

    header: dict[str, Any]
    maps: list[NDArray[np.uint8]]
    jpeg: bytes

    @classmethod
    def parse(cls, data: bytes) -> Message:
        (length,) = struct.unpack_from("<I", data)
        header = json.loads(data[4 : 4 + length])
        offset, maps = 4 + length, []
        for height, width in header["map_sizes_hw"]:
            maps.append(np.frombuffer(data, np.uint8, height * width, offset).reshape(height, width))
            offset += height * width
        return cls(header, maps, data[offset:])

    def picture_bgr(self) -> NDArray[np.uint8]:
        picture = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        return np.asarray(picture, np.uint8)


async def look_on(url: str, count: int, **request: Any) -> list[Message]:
    """Ask for so many results, one after the other."""
    messages = []
    async with aiohttp.ClientSession() as session, session.ws_connect(url + "socket") as socket:
        for _ in range(count):
            await socket.send_json({"stream": 0, "picture": True} | request)
            messages.append(Message.parse(await socket.receive_bytes(timeout=10)))
    return messages


def messages_of(url: str, count: int, **request: Any) -> list[Message]:
    return asyncio.run(look_on(url, count, **request))
