"""Maps as files, one for each frame."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from ...artifact import atomic_file, check_writable, unwritable
from ...errors import OutputError
from ...frame import Result, SaliencyMap

MapsFormat = Literal["png16", "npy"]


class MapSink:
    """One file for each map, named like its frame.

    `npy`: (h, w) float32, 0 to 1, as the network gave it, cut to the frame. `png16`: at the frame's size,
    65535 where saliency is 1.
    """

    shows_pictures = False
    has_reader = False

    def __init__(self, folder: Path, maps_format: MapsFormat) -> None:
        """Make the folder.

        Raises:
            OutputError: it cannot be made, or not be written.
        """
        self.description = f"{folder}/*{MAP_SUFFIXES[maps_format]}"
        self._folder, self._format = folder, maps_format
        check_writable(folder / "map")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error

    def write(self, result: Result) -> None:
        """Write one map."""
        saliency = result.saliency
        with atomic_file(self._folder / (saliency.frame.name + MAP_SUFFIXES[self._format])) as temporary:
            if self._format == "npy":
                np.save(temporary, saliency.values)
            else:
                temporary.write_bytes(_png16_of(saliency))

    def close(self) -> None:
        """Nothing to finish: each map is whole."""


MAP_SUFFIXES: dict[MapsFormat, str] = {"png16": ".png", "npy": ".npy"}


def _png16_of(saliency: SaliencyMap) -> bytes:
    height, width = saliency.frame.size_hw
    values = cv2.resize(saliency.values, (width, height), interpolation=cv2.INTER_CUBIC)
    levels = np.rint(np.clip(values, 0.0, 1.0) * 65535).astype(np.uint16)
    try:
        return cv2.imencode(".png", levels)[1].tobytes()
    except cv2.error as error:  # a side beyond what PNG or OpenCV takes
        raise OutputError(
            f"a map of {width}x{height} pixels cannot be a PNG: {error.err}. Give --maps-format npy"
        ) from error
