"""The clip and the photographs that ship with the project; NOTICE names their authors and licences."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import InputError

CLIP_FRAMES = 4
_ASSETS = Path(__file__).parent / "assets"


def shipped_clip() -> Path:
    """Give the path of the shipped clip: 132 frames of Big Buck Bunny, 720 x 1280 (H x W), 25 a second."""
    return _ASSETS / "big_buck_bunny.mp4"


def shipped_frames() -> list[tuple[str, NDArray[np.uint8]]]:
    """Read the shipped photographs in the order of their names, then frames evenly spaced over the clip.

    Returns:
        Name and frame, (H, W, 3) BGR, 0 to 255; sizes differ, none is resized.

    Raises:
        InputError: a file is missing or damaged.
    """
    photos = [(path.stem, _read_photo(path)) for path in sorted(_ASSETS.glob("*.jpg"))]
    return photos + _clip_frames(shipped_clip())


def _read_photo(path: Path) -> NDArray[np.uint8]:
    photo = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if photo is None:
        raise InputError(f"cannot read the shipped photograph {path}. Install saliency-edge again")
    return photo.astype(np.uint8, copy=False)


def _clip_frames(clip: Path) -> list[tuple[str, NDArray[np.uint8]]]:
    """Decode the middle frame of `CLIP_FRAMES` equal parts, from the start on: seeking is not exact."""
    capture = cv2.VideoCapture(str(clip))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = {(2 * part + 1) * count // (2 * CLIP_FRAMES) for part in range(CLIP_FRAMES)}
    frames = []
    for index in range(max(wanted) + 1):
        whole, frame = capture.read()
        if not whole:
            raise InputError(f"cannot read frame {index} of {clip}. Install saliency-edge again")
        if index in wanted:
            frames.append((f"{clip.stem}_{index:03d}", frame.astype(np.uint8, copy=False)))
    capture.release()
    return frames
