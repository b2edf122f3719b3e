"""Draw the model cards' picture: all photographs that ship and a frame of the clip, with each network's map.

python docs/maps_picture.py docs/images/maps.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from parity_picture import GAP_PX, cell, overlay

from saliency_edge.calib.frames import shipped_frames
from saliency_edge.train.checkpoint import load_checkpoint, shipped_weights
from saliency_edge.train.torch_backend import TorchModel

NETWORKS = ("deep_half", "mlnet_small", "mlnet")
FRAMES = 8
ROWS = 4
JPEG_QUALITY = 85


def shipped_engine(network: str) -> TorchModel:
    """Load a network with the weights that ship."""
    checkpoint = load_checkpoint(shipped_weights(network), network=network)
    return TorchModel(checkpoint, torch.device("cpu"))


def main(picture: Path) -> None:
    """Draw a frame and its maps beside each other, two such strips in a row."""
    engines = [shipped_engine(network) for network in NETWORKS]
    strips = [
        np.hstack([cell(image), *(cell(overlay(engine, name, image)) for engine in engines)])
        for name, image in list(shipped_frames())[:FRAMES]
    ]
    halves = [np.vstack(strips[:ROWS]), np.vstack(strips[ROWS:])]
    whole = np.hstack(halves)[:-GAP_PX, :-GAP_PX]
    cv2.imwrite(str(picture), whole, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
