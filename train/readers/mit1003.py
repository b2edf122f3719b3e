"""MIT1003, as Judd et al. publish it.

    mit1003/
      ALLSTIMULI/i05june05_....jpeg
      ALLFIXATIONMAPS/i05june05_..._fixMap.jpg     density map
      ALLFIXATIONMAPS/i05june05_..._fixPts.jpg     white where anybody looked (may be missing)

The points do not tell who looked, so there is no inter-observer figure. There are no splits. The folder DATA,
published beside these, is not read: see docs/adr/049.
"""

from __future__ import annotations

from pathlib import Path

from ...runtime.errors import UsageError
from ..samples import Fixations
from .located import fixations_at
from .pairing import Found
from .pixels import images_in, read_map

MAP_ENDING, POINTS_ENDING = "_fixMap", "_fixPts"


def is_mit1003(root: Path) -> bool:
    """Tell whether the folder has this layout."""
    return (root / "ALLSTIMULI").is_dir() and (root / "ALLFIXATIONMAPS").is_dir()


def find_mit1003(root: Path, split: str | None) -> Found:
    """List what lies in the folder.

    Raises:
        InputError: a file of points cannot be read.
        UsageError: a split is asked for.
    """
    if split is not None:
        raise UsageError(
            f"MIT1003 has no splits, found {split!r}. Leave it out, and choose images by their names"
        )
    files = images_in(root / "ALLFIXATIONMAPS")
    located = {name: _points(path) for name, path in _ending(files, POINTS_ENDING).items()}
    return Found(
        photos=images_in(root / "ALLSTIMULI"),
        maps=_ending(files, MAP_ENDING),
        fixations={name: fixations for name, (fixations, _) in located.items()},
        sizes_hw={name: size_hw for name, (_, size_hw) in located.items()},
    )


def _ending(files: dict[str, Path], ending: str) -> dict[str, Path]:
    return {name.removesuffix(ending): path for name, path in files.items() if name.endswith(ending)}


def _points(path: Path) -> tuple[Fixations, tuple[int, int]]:
    """Read the points; JPEG leaves grey around each white pixel, so half of white parts the two."""
    return fixations_at(read_map(path) > 0.5)
