"""Files that are whole or absent: atomic writing, hashes, JSON."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import ArtifactError, OutputError

_CHUNK_BYTES = 1 << 20


def sha256_of(path: Path) -> str:
    """Hash a file's content.

    Args:
        path: an existing file.

    Returns:
        The SHA-256 of its bytes, 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def temporary_beside(path: Path) -> Path:
    """Make an empty file in `path`'s folder, to be renamed to `path` or removed by the caller.

    Raises:
        OutputError: `path` is a folder, or its folder is missing, read-only or full.
    """
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder. Give a file name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}. Choose a folder that is writable"
        ) from error
    os.close(handle)
    return Path(name)


def check_writable(path: Path) -> None:
    """Find out, before any work is done, whether a file can be written.

    Raises:
        OutputError: it cannot.
    """
    temporary_beside(path).unlink()


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when the block ends well.

    A failure or a kill leaves the old file, or none: never half of one.

    Raises:
        OutputError: the folder is missing, read-only or full.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`, and put it in `path`'s place when the block ends well.

    Raises:
        OutputError: the parent folder is missing, read-only or full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}. Choose a folder that is writable"
        ) from error
    try:
        yield temporary
        temporary.chmod(0o755)
        _replace_folder(temporary, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(new: Path, path: Path) -> None:
    """Rename `new` to `path`; no folder can be renamed over a full one: the old one steps aside."""
    if not path.exists():
        new.replace(path)
        return
    old = new.with_name(f"{new.name}.old")
    path.replace(old)
    try:
        new.replace(path)
    except OSError:
        old.replace(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all; a number that is not finite becomes null.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_file(path) as temporary:
        text = json.dumps(finite(value), indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def finite(value: Any) -> Any:
    """Put None in the place of NaN and infinity, which JSON does not have, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def refuse_pickle(path: Path) -> None:
    """Refuse a file that looks like a pickle, bare or zipped as torch writes it, without loading it.

    Raises:
        ArtifactError: it begins like one, or its suffix is one of theirs.
    """
    with path.open("rb") as file:
        start = file.read(9)
    is_safetensors = start[8:] == b"{"  # after the header's length, whose first byte may be a pickle's
    is_pickle = start[:1] == b"\x80" and not is_safetensors
    is_pickle |= start[:2] == b"PK" and path.suffix != ".zip"
    if is_pickle or path.suffix in {".pt", ".pth", ".pkl", ".pickle", ".ckpt"}:
        raise ArtifactError(
            f"{path} is a pickle, which can run any code when it is loaded: refused. Give a .safetensors file"
        )
