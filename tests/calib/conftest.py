"""A tiny network to calibrate and photographs to calibrate it with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from engine_bundles import TINY, tiny_model
from saliency_edge.calib.frames import shipped_frames
from saliency_edge.calib.graph import CalibratedModel, load_model
from saliency_edge.runtime.fit import fit_frame

Frames = list[NDArray[np.uint8]]


@pytest.fixture
def model_onnx(tmp_path: Path) -> Path:
    """The fp32 ONNX file of three convolutions."""
    path = tmp_path / "tiny.onnx"
    onnx.save(tiny_model(TINY), path)
    return path


@pytest.fixture
def model(model_onnx: Path) -> CalibratedModel:
    """The same, loaded."""
    return load_model(model_onnx)


@pytest.fixture(scope="session")
def photographs() -> Frames:
    """Twelve different frames at the network's size."""
    return [fit_frame(frame, TINY.size_hw, "stretch") for _, frame in shipped_frames()] + [
        np.ascontiguousarray(fit_frame(shipped_frames()[0][1], TINY.size_hw, "stretch")[:, ::-1])
    ]


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[[str, Frames], Path]:
    """Write frames as PNG files of a folder."""

    def write(folder: str, frames: Frames) -> Path:
        (tmp_path / folder).mkdir()
        for number, frame in enumerate(frames):
            cv2.imwrite(str(tmp_path / folder / f"{number:03d}.png"), frame)
        return tmp_path / folder

    return write
