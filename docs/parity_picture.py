"""Draw the README's picture: shipped frames, PyTorch's maps and the maps of an exported model.

python docs/parity_picture.py BUNDLE docs/images/parity.jpg int8
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from saliency_edge.calib.frames import shipped_frames
from saliency_edge.runtime.backends.backend import Model, saliency_of
from saliency_edge.runtime.backends.select import load_model
from saliency_edge.runtime.contract import Precision
from saliency_edge.runtime.frame import Frame, SaliencyMap
from saliency_edge.runtime.stream.render import Renderer, RenderOptions
from saliency_edge.train.checkpoint import shipped_weights

CELL_HW = (180, 260)
SHOWN = ("astronaut", "chelsea", "rocket", "big_buck_bunny_082")
GAP_PX = 6
WHITE = 255


def overlay(engine: Model, name: str, image_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay an engine's map over a frame, (H, W, 3)."""
    frame = Frame(index=0, name=name, captured_s=0.0, image_bgr=image_bgr)
    saliency = SaliencyMap(frame=frame, values=saliency_of(engine, image_bgr))
    return Renderer(RenderOptions()).render(saliency).copy()


def cell(image_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut the middle of an image to a cell's aspect, and shrink it."""
    height, width = image_bgr.shape[:2]
    aspect = CELL_HW[1] / CELL_HW[0]
    inner_h, inner_w = min(height, round(width / aspect)), min(width, round(height * aspect))
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    inner = image_bgr[top : top + inner_h, left : left + inner_w]
    small = cv2.resize(inner, CELL_HW[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(np.pad(small, ((0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=WHITE), np.uint8)


def main(bundle: Path, picture: Path, precision: Precision) -> None:
    """Draw one row for PyTorch and one for the bundle's model, under the frames themselves."""
    frames = [(name, image) for name, image in shipped_frames() if name in SHOWN]
    exported = load_model(bundle, precision)
    reference = load_model(shipped_weights(exported.contract.network))
    rows = [[cell(image) for _, image in frames]]
    rows += [[cell(overlay(engine, *frame)) for frame in frames] for engine in (reference, exported)]
    cv2.imwrite(str(picture), np.vstack([np.hstack(row) for row in rows])[:-GAP_PX, :-GAP_PX])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), cast(Precision, sys.argv[3]))
