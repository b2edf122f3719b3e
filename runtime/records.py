"""JSON that somebody else may have written, read into typed records: the one place where it is parsed.

Manifests, contracts, receipts, activation ranges, lists of frames, baselines and headers of checkpoints are
read here, by the types of the records that they become (msgspec: docs/adr/088). What is refused, each in one
line that says where:

- text that is not JSON, not UTF-8, too large, or nested deeper than any record;
- a name that stands twice, a number that is not finite (1e999; `NaN` and `Infinity` are taken for null);
- a value of another type or outside its limits, a field that is missing, or one that is unknown.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from .errors import ArtifactError, SaliencyError

Record = TypeVar("Record")

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Side = Annotated[int, Meta(ge=1, le=65535)]
"""Height or width of a frame or a map, or the number of frames in a batch."""
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]

MAX_JSON_BYTES = 64 << 20
"""Largest JSON file that is read. Lists of frames grow with the data, all others are far smaller."""
MAX_DEPTH = 32
"""Deepest nesting that is read; our own files have fewer than ten levels."""


def parse_json(
    text: str | bytes, name: str, *, remedy: str = "", error: type[SaliencyError] = ArtifactError
) -> Any:
    """Parse JSON.

    Args:
        text: UTF-8 where it is bytes.
        name: what to call it in an error.
        remedy: what the user can do where it is not that.
        error: what is raised.

    Returns:
        Plain values; finite numbers, None for `NaN` and `Infinity`, and no name twice in an object.

    Raises:
        SaliencyError: `error`, where it is not that.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite_float
        )
        if _is_deeper(value, MAX_DEPTH):
            raise RecursionError
    except RecursionError:
        raise error(f"{name} is nested deeper than {MAX_DEPTH} levels{_then(remedy)}") from None
    except UnicodeDecodeError as problem:
        raise error(f"{name} is not JSON: byte {problem.start} is not UTF-8{_then(remedy)}") from problem
    except ValueError as problem:
        raise error(f"{name} is not JSON: {problem}{_then(remedy)}") from problem
    return value


def read_json(
    path: Path,
    *,
    remedy: str = "",
    error: type[SaliencyError] = ArtifactError,
    max_bytes: int = MAX_JSON_BYTES,
) -> Any:
    """Read a JSON file.

    Args:
        path: of the file.
        remedy: what the user can do where it cannot be read.
        error: what is raised.
        max_bytes: a larger file is refused unread.

    Raises:
        SaliencyError: `error`, where it is missing or is not JSON.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as problem:
        raise error(f"cannot read {path}: {problem.strerror or problem}{_then(remedy)}") from problem
    if len(data) > max_bytes:
        raise error(f"{path} is larger than {max_bytes >> 20} MiB, which none of ours is{_then(remedy)}")
    return parse_json(data, str(path), remedy=remedy, error=error)


def to_record(
    value: Any,
    kind: type[Record],
    name: str,
    *,
    remedy: str = "",
    error: type[SaliencyError] = ArtifactError,
    more_fields: bool = False,
) -> Record:
    """Make a typed record of plain values.

    Args:
        value: what `parse_json` gave.
        kind: a dataclass, a TypedDict, or a type of their fields.
        name: what to call it in an error.
        remedy: what the user can do.
        error: what is raised.
        more_fields: whether fields that `kind` does not have are passed over.

    Raises:
        SaliencyError: `error`, where a value does not have its type, a field is missing, or is unknown.
    """
    try:
        record = msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError, OverflowError) as problem:
        raise error(f"{name}: {_in_words(str(problem))}{_then(remedy)}") from problem
    if not more_fields and (unknown := _unknown_field(value, msgspec.to_builtins(record))):
        raise error(f"{name}: unknown field {unknown}{_then(remedy)}")
    return record


def check_schema(value: Any, schema: int, name: str, what: str, *, remedy: str = "") -> dict[str, Any]:
    """Check that a document is an object of the schema that this version reads.

    Args:
        value: what `read_json` gave.
        schema: the number that its field `schema` must have.
        name: of the file.
        what: the kind of document, with its article.
        remedy: what the user can do.

    Raises:
        ArtifactError: it is no object, or of another schema.
    """
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise ArtifactError(f"{name} is not {what}: expected an object, found a {kind}{_then(remedy)}")
    found = value.get("schema")
    if found != schema or isinstance(found, bool):
        shown = "missing" if "schema" not in value else repr(found)[:40]
        raise ArtifactError(
            f"{name} is not {what} of this version: schema is {shown}, expected {schema}{_then(remedy)}"
        )
    return value


def read_foreign(path: Path, kind: type[Record], *, what: str, error: type[SaliencyError]) -> Record:
    """Read a JSON file of others' making, of any size, straight into a record; unknown fields are ignored.

    Args:
        path: of the file.
        kind: as for `to_record`.
        what: whose format it is, for an error.
        error: what is raised.

    Raises:
        SaliencyError: `error`, where it cannot be read, or is not of that format.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as problem:
        raise error(f"cannot read {path}: {problem.strerror or problem}") from problem
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, OverflowError) as problem:
        raise error(f"{path} is not {what}: {_in_words(str(problem))}") from problem


def _then(remedy: str) -> str:
    return f". {remedy}" if remedy else ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in values if names.count(name) > 1)
        raise ValueError(f"the name {twice[:40]!r} stands twice in one object")
    return values


def _no_number(_text: str) -> None:
    """NaN and Infinity, which versions up to 0.5 wrote and JSON lacks: null, as they are written now."""


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large for a number")
    return number


def _is_deeper(value: Any, limit: int) -> bool:
    """Whether lists and objects are nested more than `limit` deep; level by level, without recursion."""
    level = [value]
    for _ in range(limit + 1):
        level = [
            item
            for holder in level
            if isinstance(holder, dict | list)
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
        if not level:
            return False
    return any(isinstance(item, dict | list) for item in level)


def _unknown_field(found: Any, known: Any, place: str = "") -> str | None:
    """Path of the first field that a record does not have; None where it has all."""
    if isinstance(found, Mapping) and isinstance(known, Mapping):
        for name, item in found.items():
            inner = f"{place}.{name}" if place else str(name)
            if name not in known:
                return inner[:80]
            if unknown := _unknown_field(item, known[name], inner):
                return unknown
    elif isinstance(found, list) and isinstance(known, list | tuple):
        for index, (item, other) in enumerate(zip(found, known, strict=False)):
            if unknown := _unknown_field(item, other, f"{place}[{index}]"):
                return unknown
    return None


def _in_words(message: str) -> str:
    """Turn msgspec's message into ours: the place first, without its marks."""
    text, _, place = message.replace("`", "").partition(" - at ")
    text = text.replace("Object missing required field", "missing field")
    text = re.sub(r"^([A-Z])(?=[a-z])", lambda first: first[1].lower(), text)
    place = place.removeprefix("$").removeprefix(".")
    return f"{place}: {text}" if place else text
