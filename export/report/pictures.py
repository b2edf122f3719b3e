"""Pictures for the page: frames, maps and differences as data URIs."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...runtime.contract import Precision
from ...runtime.fit import resize
from ...runtime.video.frame import Frame, SaliencyMap
from ...runtime.video.render import Renderer, RenderOptions
from .findings import ShownMaps

WIDTH_PX = 320
_JPEG_QUALITY = 88
_BELOW_BGR = np.array([255, 168, 80])  # where the graph sees less than PyTorch
_ABOVE_BGR = np.array([70, 150, 255])  # where it sees more
_KEY_STEPS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePictures:
    """The pictures of one frame, as data URIs.

    Attributes:
        frame: as the network sees it.
        reference: PyTorch's map.
        maps: of each other graph, by its precision.
        differences: of each of them from PyTorch's.
    """

    frame: str
    reference: str
    maps: Mapping[Precision, str]
    differences: Mapping[Precision, str]


def frame_pictures(shown: ShownMaps) -> list[FramePictures]:
    """Draw the frames of a report, `WIDTH_PX` wide; all differences have one scale."""
    renderer = Renderer(RenderOptions(view="side-by-side"))
    return [_pictures_of(shown, place, renderer) for place in range(len(shown.frames))]


def map_key() -> str:
    """Draw the colours of a map from 0 to 1, left to right."""
    ramp = np.linspace(0, 1, _KEY_STEPS, dtype=np.float32)[np.newaxis]
    levels = np.rint(ramp * 255).astype(np.uint8)
    return _png(np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), np.uint8))


def difference_key() -> str:
    """Draw the colours of a difference, from all below on the left to all above on the right."""
    return _png(difference_colours(np.linspace(-1, 1, _KEY_STEPS)[np.newaxis]))


def difference_colours(shares: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colour differences: black for none, blue for below, orange for above.

    Args:
        shares: (h, w) of the scale, -1 to 1.

    Returns:
        (h, w, 3) BGR.
    """
    above, below = np.clip(shares, 0, 1)[..., np.newaxis], np.clip(-shares, 0, 1)[..., np.newaxis]
    return np.asarray(np.rint(above * _ABOVE_BGR + below * _BELOW_BGR), np.uint8)


def _pictures_of(shown: ShownMaps, place: int, renderer: Renderer) -> FramePictures:
    frame_bgr, reference = _shrunk(shown.frames.pixels[place]), shown.references[place]
    maps = {precision: found[place] for precision, found in shown.maps.items()}
    scale = shown.difference_scale() or 1.0
    return FramePictures(
        frame=_jpeg(frame_bgr),
        reference=_jpeg(_coloured(reference, frame_bgr, renderer)),
        maps={precision: _jpeg(_coloured(found, frame_bgr, renderer)) for precision, found in maps.items()},
        differences={
            precision: _jpeg(_difference((found - reference) / scale, frame_bgr))
            for precision, found in maps.items()
        },
    )


def _shrunk(frame_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = frame_bgr.shape[:2]
    return resize(frame_bgr, (round(height * WIDTH_PX / width), WIDTH_PX))


def _coloured(
    values: NDArray[np.float32], frame_bgr: NDArray[np.uint8], renderer: Renderer
) -> NDArray[np.uint8]:
    """Colour a map as saliency-run does: the right half of a side-by-side picture, (H, W, 3)."""
    frame = Frame(index=0, name="", image_bgr=frame_bgr, captured_s=0.0)
    both: NDArray[np.uint8] = renderer.render(SaliencyMap(frame=frame, values=values))
    return np.asarray(both[:, frame_bgr.shape[1] :])


def _difference(shares: NDArray[np.float32], frame_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour a difference at a frame's size; cells stay square blocks, so that none is hidden."""
    height, width = frame_bgr.shape[:2]
    enlarged = cv2.resize(shares, (width, height), interpolation=cv2.INTER_NEAREST)
    return difference_colours(np.asarray(enlarged, np.float32))


def _jpeg(image_bgr: NDArray[np.uint8]) -> str:
    return _uri("jpeg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])


def _png(image_bgr: NDArray[np.uint8]) -> str:
    return _uri("png", image_bgr, [])


def _uri(kind: str, image_bgr: NDArray[np.uint8], options: list[int]) -> str:
    data = cv2.imencode(f".{kind}", image_bgr, options)[1].tobytes()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
