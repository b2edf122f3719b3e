"""From what the user calls SOURCE to a source."""

from __future__ import annotations

from pathlib import Path

from ..images import is_image
from .image_files import ImageSource, images_in, images_of_glob
from .source import Source
from .video_file import VideoSource


def open_source(text: str, *, every: int = 1, max_frames: int | None = None) -> Source:
    """Open a source by its name.

    Args:
        text: a video file, a folder of images, an image, or a glob such as `shots/*.png`.
        every: take one frame in so many, beginning with the first.
        max_frames: end after so many; `None`: take all.

    Raises:
        InputError: there is nothing there, or nothing that can be read.
    """
    path = Path(text)
    if path.is_dir():
        return ImageSource(images_in(path), text, every=every, max_frames=max_frames)
    if path.is_file() and is_image(path):
        return ImageSource([path], text, every=every, max_frames=max_frames)
    if path.exists():
        return VideoSource(path, every=every, max_frames=max_frames)
    return ImageSource(images_of_glob(text), text, every=every, max_frames=max_frames)
