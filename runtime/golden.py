"""The golden frames of a bundle: real frames and PyTorch's maps of them, for checks without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import ArtifactError


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenFrames:
    """What `golden.npz` holds.

    Attributes:
        names: of the K frames.
        pixels: (K, H, W, 3) uint8 BGR, at the network's size.
        maps: (K, h, w) float32, 0 to 1, PyTorch's.
    """

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    maps: NDArray[np.float32]

    @classmethod
    def read(cls, path: Path) -> GoldenFrames:
        """Read a bundle's `golden.npz`.

        Raises:
            ArtifactError: it is missing, damaged, or holds no frames.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                golden = cls(
                    names=tuple(map(str, arrays["names"])), pixels=arrays["frames"], maps=arrays["maps"]
                )
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ArtifactError(
                f"{path} holds no golden frames ({error}). Export the bundle again: saliency-export"
            ) from error
        if not len(golden.names) == len(golden.pixels) == len(golden.maps) > 0:
            raise ArtifactError(f"{path} holds no golden frames. Export the bundle again: saliency-export")
        return golden
