"""What a browser gets for one result, as bytes that are made once for all browsers."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..fit import resize, size_hw_of
from ..video.frame import Frame, Result

_LARGEST_MAP_SIDE = 160
_LEAST_LINEAR_SCALE = 0.5  # bilinear above it: each pixel counts, at a quarter of the cost of areas' means


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One result on its way to the browsers.

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
        """Give the header's length as 4 bytes, little-endian, the header, the maps, and the frame as JPEG."""
        maps = [self.levels] if self.compared is None else [self.levels, self.compared]
        header = {**self.header, "map_sizes_hw": [size_hw_of(levels) for levels in maps]}
        text = json.dumps(header, separators=(",", ":")).encode()
        jpeg = b"" if self.picture_bgr is None else jpeg_of(self.picture_bgr, jpeg_quality)
        return b"".join([struct.pack("<I", len(text)), text, *(levels.tobytes() for levels in maps), jpeg])


def header_of(result: Result, *, rate_fps: float, dropped: int, streams: int) -> dict[str, Any]:
    """Give a result's numbers by name; pixels are the frame's."""
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


def levels_of(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Give a map in levels of 0 to 255, shrunk where it is finer than a page can show over a frame."""
    height, width = values.shape
    scale = min(1.0, _LARGEST_MAP_SIDE / max(height, width))
    if scale < 1:
        size_wh = max(1, round(width * scale)), max(1, round(height * scale))
        values = cv2.resize(values, size_wh, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
    return cv2.convertScaleAbs(values, alpha=255.0).astype(np.uint8, copy=False)


def shrunk(frame: Frame, max_side_px: int) -> NDArray[np.uint8]:
    """Bring a frame to the page's size, its aspect kept; a small one stays as it is."""
    height, width = frame.size_hw
    scale = max_side_px / max(height, width)
    if scale >= 1:
        return frame.image_bgr
    size_hw = max(1, round(height * scale)), max(1, round(width * scale))
    if scale < _LEAST_LINEAR_SCALE:
        return resize(frame.image_bgr, size_hw)
    return cv2.resize(frame.image_bgr, size_hw[::-1]).astype(np.uint8, copy=False)


def jpeg_of(picture_bgr: NDArray[np.uint8], quality: int) -> bytes:
    """Compress a picture."""
    return cv2.imencode(".jpg", picture_bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()
