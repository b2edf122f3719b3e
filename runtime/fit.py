"""From a frame of any size to the network's size, and from the map back onto the frame.

Training, export and the device all use these functions, so no pre-processing is written twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .contract import Fit


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the network's input that shows the frame, as fractions of its height and width."""

    top: float
    left: float
    bottom: float
    right: float


FULL_WINDOW = Window(0.0, 0.0, 1.0, 1.0)


def window_of(frame_hw: tuple[int, int], size_hw: tuple[int, int], fit: Fit) -> Window:
    """Tell where a frame lies in the network's input.

    Args:
        frame_hw: the frame's height and width, in pixels.
        size_hw: the network's, in pixels.
        fit: `stretch` fills the input; `pad` keeps the aspect and centres the frame.
    """
    if fit == "stretch":
        return FULL_WINDOW
    (height, width), (full_height, full_width) = _inner_hw(frame_hw, size_hw), size_hw
    top, left = (full_height - height) // 2, (full_width - width) // 2
    return Window(
        top / full_height, left / full_width, (top + height) / full_height, (left + width) / full_width
    )


def fit_frame(
    frame_bgr: NDArray[np.uint8],
    size_hw: tuple[int, int],
    fit: Fit,
    shown_hw: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """Bring a frame to the network's size, on black where `fit` is `pad`.

    Args:
        frame_bgr: (H', W', 3), 0 to 255.
        size_hw: H and W of the result, in pixels.
        fit: how, as in the contract.
        shown_hw: the aspect that people see the frame at, where its pixels are not square.

    Returns:
        (H, W, 3) BGR; the argument itself where nothing is to be done.
    """
    if fit == "stretch":
        return resize(frame_bgr, size_hw)
    inner_hw = _inner_hw(shown_hw or size_hw_of(frame_bgr), size_hw)
    inner = resize(frame_bgr, inner_hw)
    if inner_hw == size_hw:
        return inner
    top, left = (size_hw[0] - inner_hw[0]) // 2, (size_hw[1] - inner_hw[1]) // 2
    padded = np.zeros((*size_hw, 3), np.uint8)
    padded[top : top + inner_hw[0], left : left + inner_hw[1]] = inner
    return padded


def crop_map(saliency: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """Cut from a map the part that shows the frame: its edges are the frame's edges.

    Args:
        saliency: (h, w), 0 to 1.
        window: as `window_of` gave it.

    Returns:
        (h', w'), one cell at least. A view where the window's edges fall on cells; where they cut cells, a
        bilinear resampling on a grid as fine as the map's, so that nothing is shifted.
    """
    height, width = saliency.shape
    top, bottom = (round(edge * height, 6) for edge in (window.top, window.bottom))
    left, right = (round(edge * width, 6) for edge in (window.left, window.right))
    if all(edge.is_integer() for edge in (top, bottom, left, right)):
        return saliency[int(top) : int(bottom), int(left) : int(right)]
    cropped: NDArray[np.floating] = (
        _bilinear(top, bottom, height) @ saliency @ _bilinear(left, right, width).T
    )
    return cropped.astype(np.float32, copy=False)


def resize(image: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image: by the mean of each area when it shrinks, else bilinearly.

    Args:
        image: (H', W', 3) or (H', W').
        size_hw: H and W of the result, in pixels.
    """
    if image.shape[:2] == size_hw:
        return image
    shrinks = image.shape[0] >= size_hw[0] and image.shape[1] >= size_hw[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (size_hw[1], size_hw[0]), interpolation=method).astype(image.dtype, copy=False)


def size_hw_of(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Height and width of an image, (H, W, 3) or (H, W), in pixels."""
    return image.shape[0], image.shape[1]


def _inner_hw(frame_hw: tuple[int, int], size_hw: tuple[int, int]) -> tuple[int, int]:
    """Largest height and width of the frame's aspect that fit into `size_hw`, one pixel at least."""
    scale = min(size_hw[0] / frame_hw[0], size_hw[1] / frame_hw[1])
    height, width = round(frame_hw[0] * scale), round(frame_hw[1] * scale)
    return max(1, min(size_hw[0], height)), max(1, min(size_hw[1], width))


def _bilinear(first: float, last: float, cells: int) -> NDArray[np.float32]:
    """Weights that take `cells` cells to those between two edges, (k, cells); each row sums to 1."""
    count = int(np.ceil(last - first))
    centres = first + (np.arange(count) + 0.5) / count * (last - first) - 0.5
    inside = np.clip(centres, 0, cells - 1)
    distances = np.abs(inside[:, np.newaxis] - np.arange(cells))
    return np.maximum(0.0, 1.0 - distances).astype(np.float32)
