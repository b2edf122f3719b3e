"""Crop an image or a video to where people look: python examples/smart_crop.py BUNDLE INPUT OUTPUT --aspect
9:16

The window of the wanted aspect ratio that holds most of the map's mass is found with an integral image. In a
video the window follows with a time constant, so that it does not jitter.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from saliency_edge.runtime import Predictor

IMAGES = {".jpg", ".jpeg", ".png", ".webp"}


def window_hw(frame_hw: tuple[int, int], aspect: float) -> tuple[int, int]:
    """Largest window of an aspect ratio (width / height) inside a frame, even sides."""
    height, width = frame_hw
    size = (height, height * aspect) if height * aspect <= width else (width / aspect, width)
    return int(size[0]) // 2 * 2, int(size[1]) // 2 * 2


def best_corner(density: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Row and column of the window with the most mass; of equals the one nearest to the centre."""
    integral = cv2.integral(density)  # (H + 1, W + 1)
    height, width = size_hw
    mass = integral[height:, width:] - integral[:-height, width:] - integral[height:, :-width]
    mass = mass + integral[:-height, :-width]
    rows, columns = np.nonzero(mass >= mass.max() - 1e-6)
    centre = (np.array(density.shape) - size_hw) / 2
    nearest = np.argmin(np.hypot(rows - centre[0], columns - centre[1]))
    return np.array([rows[nearest], columns[nearest]], np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle")
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--aspect", default="9:16", help="width:height of the result (default: 9:16)")
    parser.add_argument("--follow-s", type=float, default=0.5, help="time constant in seconds (default: 0.5)")
    options = parser.parse_args()
    across, down = (float(side) for side in options.aspect.split(":"))

    writer, corner = None, None
    fps = cv2.VideoCapture(str(options.input)).get(cv2.CAP_PROP_FPS) or 25.0
    weight = 1 - np.exp(-1 / (fps * options.follow_s))
    with Predictor(options.bundle) as predictor:
        for result in predictor.stream(options.input):
            size = window_hw(result.frame.size_hw, across / down)
            target = best_corner(result.density, size)
            corner = target if corner is None else corner + weight * (target - corner)
            top, left = (round(float(edge)) for edge in corner)
            cropped = result.frame.image_bgr[top : top + size[0], left : left + size[1]]
            if options.output.suffix.lower() in IMAGES:
                cv2.imwrite(str(options.output), cropped)
                continue
            if writer is None:
                codec = cv2.VideoWriter.fourcc(*"mp4v")
                writer = cv2.VideoWriter(str(options.output), codec, fps, size[::-1])
            writer.write(np.ascontiguousarray(cropped))
    if writer is not None:
        writer.release()
    print(f"wrote {options.output}: {size[1]}x{size[0]}")


if __name__ == "__main__":
    main()
