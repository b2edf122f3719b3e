"""Maps as files, one for each frame."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from ...artifact import atomic_file, check_writable
from ..frame import Result, SaliencyMap

MapsFormat = Literal["png16", "npy"]


class MapSink:
    """One file for each map, named like its frame.

    `npy`: (h, w) float32, 0 to 1, as the network gave it, cut to the frame. `png16`: at the frame's size,
    65535 where saliency is 1.
    """

    shows_pictures = False

    def __init__(self, folder: Path, maps_format: MapsFormat) -> None:
        """Make the folder.

        Raises:
            OutputError: it cannot be made, or not be written.
        """
        self.description = f"{folder}/*{_MAP_SUFFIXES[maps_format]}"
        self._folder, self._format = folder, maps_format
        check_writable(folder / "map")

    def write(self, result: Result) -> None:
        """Write one map."""
        saliency = result.saliency
        with atomic_file(self._folder / (saliency.frame.name + _MAP_SUFFIXES[self._format])) as temporary:
            if self._format == "npy":
                np.save(temporary, saliency.values)
            else:
                temporary.write_bytes(_png16_of(saliency))

    def close(self) -> None:
        """Nothing to finish: each map is whole."""


_MAP_SUFFIXES: dict[MapsFormat, str] = {"png16": ".png", "npy": ".npy"}


def _png16_of(saliency: SaliencyMap) -> bytes:
    height, width = saliency.frame.size_hw
    values = cv2.resize(saliency.values, (width, height), interpolation=cv2.INTER_CUBIC)
    levels = np.rint(np.clip(values, 0.0, 1.0) * 65535).astype(np.uint16)
    return cv2.imencode(".png", levels)[1].tobytes()
