"""What a base install weighs: the package and what it requires, without extras."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

DISTRIBUTION = "saliency-edge"
_PACKAGES = Path(__file__).resolve().parents[2]
_OWN_FOLDERS = ("runtime", "train", "calib", "export")


def base_install_mb() -> dict[str, float]:
    """Give the size of each distribution of a base install, in 10^6 bytes, the largest first.

    Byte code is not counted, nor what the interpreter brings.
    """
    weights = {DISTRIBUTION: _own_bytes()}
    todo = _requirements_of(DISTRIBUTION)
    while todo:
        name = todo.pop()
        if name in weights:
            continue
        found = _find(name)
        if found is None:  # for another system or another Python
            continue
        weights[name] = _bytes_of(found)
        todo += _requirements_of(name)
    return {name: weights[name] / 1e6 for name in sorted(weights, key=weights.__getitem__, reverse=True)}


def _own_bytes() -> int:
    """Weigh the four folders themselves: an editable install lists no files of its own."""
    files = (path for folder in _OWN_FOLDERS for path in (_PACKAGES / folder).rglob("*"))
    return sum(path.stat().st_size for path in files if path.is_file() and path.suffix != ".pyc")


def _find(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _requirements_of(name: str) -> list[str]:
    """Name what a distribution requires, extras left out."""
    found = _find(name)
    requirements = (found.requires or []) if found else []
    return [
        re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()
        for requirement in requirements
        if not re.search(r"\bextra\s*==", requirement)
    ]


def _bytes_of(found: Distribution) -> int:
    paths = (Path(str(file.locate())) for file in found.files or [] if file.suffix != ".pyc")
    return sum(path.stat().st_size for path in paths if path.is_file())
