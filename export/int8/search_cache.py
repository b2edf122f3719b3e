"""What a search has measured so far, in a file: one that was killed goes on from there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from ...runtime.artifact import write_json
from ...runtime.errors import ArtifactError
from ...runtime.records import read_json, to_record

Values = dict[str, Any]


class _File(TypedDict):
    """The file."""

    key: str
    values: dict[str, Values]


class SearchCache:
    """Measurements by name, of one content: others' are not read."""

    def __init__(self, path: Path, content: object) -> None:
        """Open the file, or start without one.

        Args:
            path: where it lies; it is written after each measurement.
            content: all that the measurements depend on, as JSON values.
        """
        self._path = path
        self._key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        self._values = self._read()

    def __contains__(self, name: str) -> bool:
        """Tell whether something was measured."""
        return name in self._values

    def once(self, name: str, measure: Callable[[], Values]) -> Values:
        """Give what was measured; measure it where it was not.

        Args:
            name: of the measurement.
            measure: gives JSON values.
        """
        if name not in self._values:
            self._values[name] = measure()
            write_json(self._path, {"key": self._key, "values": self._values})
        found: Values = self._values[name]
        return found

    def remove(self) -> None:
        """Delete the file: the search has ended."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Values]:
        """Read what fits; a damaged file counts for nothing, as it only saves time."""
        try:
            content = to_record(read_json(self._path), _File, str(self._path))
        except ArtifactError:
            return {}
        return content["values"] if content["key"] == self._key else {}
