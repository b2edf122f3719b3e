"""Files that are whole or absent: atomic writing, hashes, JSON."""

from __future__ import annotations

import atexit
import ctypes
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from .errors import ArtifactError, OutputError

_CHUNK_BYTES = 1 << 20
_LONGEST_NAME_BYTES = 255
_KEPT_CHARACTERS = 32  # of a long name in a temporary one
_MOST_LINKS = 40
_POLL_S = 0.05
_MARK = ".saliency-"
"""In the name of everything temporary, before the number of the process that makes it."""
_UMASK = os.umask(0o022)
os.umask(_UMASK)

_pending: set[Path] = set()
_cleaned: set[tuple[int, Path]] = set()


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


def check_writable(path: Path) -> None:
    """Find out, before any work is done, whether a file can be written; nothing is made or changed.

    Raises:
        OutputError: it cannot.
    """
    try:
        descriptor = descriptor_of(path)
        if descriptor is not None:
            if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise OSError(errno.EBADF, "it is open for reading alone")
            return
        target = _target_of(path)
        if target.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder. Give a file name")
        if target.exists() and not os.access(target, os.W_OK):
            raise OutputError(f"cannot write {path}: it is read-only. Choose another name, or chmod u+w it")
        if not _is_special(target):
            _check_folder(target)
    except OSError as error:
        raise unwritable(path, error) from error


class PendingFile:
    """A file under a temporary name, until it is worth its own.

    A regular file is made beside its final name and renamed to it: who looks there finds the old content or
    the new one, never half of one. A symbolic link stays, and what it points to is replaced. What cannot be
    replaced (a FIFO, a device, an open descriptor such as `/dev/fd/3`) gets the content in place at the end.
    The temporary file goes with the process; one that a SIGKILL left goes when something is written to that
    folder next.
    """

    def __init__(self, path: Path) -> None:
        """Make the empty temporary file.

        Raises:
            OutputError: `path` is a folder, or its folder is missing, read-only or full.
        """
        check_writable(path)
        self.final = path
        try:
            self._target = _target_of(path)
            self.is_special = _is_special(self._target)
            folder = Path(tempfile.gettempdir()) if self.is_special else self._target.parent
            folder.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(folder)
            suffix = path.suffix if len(path.suffix) <= _KEPT_CHARACTERS else ""
            prefix = _temporary_prefix(self._target)
            self._lock, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=folder)
            _try_lock(self._lock)
        except OSError as error:
            raise unwritable(path, error) from error
        self.path = Path(name)
        self._temporary = self.path
        _pending.add(self.path)

    @property
    def is_placed(self) -> bool:
        """Whether it has its final name."""
        return self.path != self._temporary

    def place(self) -> None:
        """Take the final name, with the mode of the file that was there, or what the umask leaves.

        Raises:
            OutputError: the disk is full, the folder is read-only, or who read the FIFO has gone.
        """
        if self.is_placed:
            return
        try:
            if self.is_special:
                self._copy_in_place()
                return
            self.path.chmod(_mode_of(self._target, 0o666))
            try:
                self.path.replace(self._target)
            except OSError as error:
                if error.errno != errno.EBUSY:  # a file that is mounted by itself, as containers do
                    raise
                self._copy_in_place()
                return
        except OSError as error:
            raise unwritable(self.final, error) from error
        self.path = self._target

    def discard(self) -> None:
        """Remove the temporary file, if it has not become the final one."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        if not self.is_placed:
            self._temporary.unlink(missing_ok=True)
        _pending.discard(self._temporary)

    def _copy_in_place(self) -> None:
        with self.path.open("rb") as content, open_in_place(self.final) as special:
            shutil.copyfileobj(content, special, _CHUNK_BYTES)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path, and bring its content to `path` when the block ends well: see `PendingFile`.

    A failure or a kill leaves the old file, or none: never half of one.

    Raises:
        OutputError: the folder is missing, read-only or full.
    """
    pending = PendingFile(path)
    try:
        yield pending.path
        pending.place()
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        pending.discard()


def open_in_place(path: Path, is_stopped: Callable[[], bool] = lambda: False) -> BinaryIO:
    """Open a file to be written as it is, unbuffered: a regular one is emptied, a FIFO waits for its reader.

    Args:
        path: of the file; a descriptor such as `/dev/fd/3` or `/dev/stdout` is duplicated, which also works
            for sockets and keeps the place where a redirected file is being written.
        is_stopped: once it says yes, nobody is waited for.

    Raises:
        OutputError: it cannot be opened, or nobody reads the FIFO when the run is stopped.
    """
    try:
        descriptor = descriptor_of(path)
        if descriptor is not None:
            return os.fdopen(os.dup(descriptor), "wb", buffering=0)
        while True:
            try:
                opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o666)
                break
            except OSError as error:
                if error.errno != errno.ENXIO or not stat.S_ISFIFO(path.stat().st_mode) or is_stopped():
                    raise
                time.sleep(_POLL_S)
        os.set_blocking(opened, True)
        return os.fdopen(opened, "wb", buffering=0)
    except OSError as error:
        raise unwritable(path, error) from error


def descriptor_of(path: Path) -> int | None:
    """Descriptor of this process that a path names, such as `/dev/stdout`; None for other paths."""
    for _ in range(_MOST_LINKS):
        folder = os.path.realpath(path.parent)
        if folder == f"/proc/{os.getpid()}/fd" and path.name.isdecimal():
            return int(path.name)
        place = Path(folder, path.name)
        if not path.name or not place.is_symlink():
            return None
        path = Path(folder, place.readlink())
    return None


def is_temporary(name: str) -> bool:
    """Tell whether a file or folder of that name is a temporary one of ours, perhaps left by a SIGKILL."""
    return name.startswith(".") and _MARK in name


def is_special(path: Path) -> bool:
    """Tell whether a path is a FIFO, a device or a descriptor: what is written in place, never replaced."""
    return _is_special(_target_of(path))


def unwritable(path: Path, error: OSError) -> OutputError:
    """Say which file a failure of the disk is about, and what helps against it."""
    reason = error.strerror or str(error)
    temporary = Path(tempfile.gettempdir()) if tempfile.tempdir else None
    elsewhere = "choose another folder"
    if temporary is not None and temporary in path.parents:
        elsewhere = "set TMPDIR to a folder on another disk"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = f"Make room there, or {elsewhere}"
    elif error.errno == errno.EFBIG:
        remedy = "Raise the limit on the size of files: ulimit -f"
    elif error.errno == errno.ENAMETOOLONG:
        remedy = "Choose a shorter name"
    elif error.errno in (errno.EBADF, errno.ENXIO, errno.EPIPE):
        remedy = "See that somebody reads it"
    else:
        remedy = "Choose a folder that is writable"
    return OutputError(f"cannot write {path}: {reason}. {remedy}")


@contextmanager
def atomic_folder(path: Path, check_ours: Callable[[Path], None] = lambda _: None) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, and put it in `path`'s place when the block ends well.

    A folder that a SIGKILL left there before is removed, if it is ours and nobody writes in it. A symbolic
    link stays, and the folder that it points to is replaced.

    Args:
        path: of the folder.
        check_ours: raises if what is there must not be replaced; asked again at the end, when hours may have
            gone by.

    Raises:
        OutputError: the parent folder is missing, read-only or full, or `path` is a folder that cannot be
            replaced: the current one, one above it, or a mount point.
    """
    target = Path(os.path.realpath(path))
    check_replaceable(path)
    check_ours(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target.parent)
        temporary = Path(tempfile.mkdtemp(prefix=_temporary_prefix(target), dir=target.parent))
        lock = os.open(temporary, os.O_RDONLY)
        _try_lock(lock)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield temporary
        temporary.chmod(_mode_of(target, 0o777))
        check_ours(path)
        _replace_folder(temporary, target)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        os.close(lock)
        shutil.rmtree(temporary, ignore_errors=True)


def check_replaceable(path: Path) -> None:
    """See, before any work is done, that a folder can be made at `path`, or put in the place of one.

    Raises:
        OutputError: it cannot.
    """
    target = Path(os.path.realpath(path))
    if Path.cwd().is_relative_to(target):
        raise OutputError(f"cannot write the folder {path}: it holds the current one. Name another")
    if target.exists() and not target.is_dir():
        raise OutputError(f"cannot write the folder {path}: it is a file. Choose another name")
    if os.path.ismount(target):
        raise OutputError(f"cannot replace {path}: it is a mount point. Give a folder inside it")
    try:
        _check_folder(target)
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """Yield a folder for temporary files, and remove it when the block ends.

    Args:
        purpose: a word for its name.

    Raises:
        OutputError: there is no place for temporary files, or it is full.
    """
    with temporary_directory(purpose) as name:
        yield Path(name)


def temporary_directory(purpose: str) -> tempfile.TemporaryDirectory[str]:
    """Make a folder for temporary files that the caller removes by `cleanup`.

    Raises:
        OutputError: there is no place for temporary files, or it is full.
    """
    try:
        return tempfile.TemporaryDirectory(prefix=f"saliency-{purpose}-")
    except OSError as error:
        raise OutputError(
            f"cannot write temporary files: {error.strerror or error}. "
            "Make room there, or set TMPDIR to a folder that is writable"
        ) from error


def _target_of(path: Path) -> Path:
    """Follow symbolic links to what is written; a descriptor's path stays.

    Raises:
        OSError: the links go round in a circle.
    """
    if descriptor_of(path) is not None:
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def _is_special(target: Path) -> bool:
    if descriptor_of(target) is not None:
        return True
    try:
        mode = target.stat().st_mode
    except OSError:  # whoever writes there says so
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _check_folder(target: Path) -> None:
    """See that something of a name can be made in its folder, or in the nearest one that is there.

    Raises:
        OSError: it cannot.
    """
    folder = next(parent for parent in target.parents if os.path.lexists(parent))
    if not folder.is_dir():
        raise OSError(errno.ENOTDIR, f"{folder} is not a folder")
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    missing = target.relative_to(folder).parts
    if any(len(os.fsencode(name)) > _LONGEST_NAME_BYTES for name in missing):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def _mode_of(target: Path, widest: int) -> int:
    """Permissions that a file or folder has, or that a new one gets."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except OSError:
        return widest & ~_UMASK


def _temporary_prefix(target: Path) -> str:
    """Start the name of something temporary beside `target`: it says which process makes it."""
    return f".{target.name[:_KEPT_CHARACTERS]}{_MARK}{os.getpid()}-"


def _remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed left in a folder: theirs is gone, and nobody holds its lock."""
    if (os.getpid(), folder) in _cleaned:
        return
    _cleaned.add((os.getpid(), folder))
    found: list[os.DirEntry[str]] = []
    with suppress(OSError), os.scandir(folder) as entries:
        found = [entry for entry in entries if _is_leftover(entry.name)]
    for entry in found:
        with suppress(OSError):
            if entry.is_symlink() or entry.stat().st_uid != os.geteuid():
                continue
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                is_left = _try_lock(descriptor)
                if is_left and entry.is_dir():
                    shutil.rmtree(entry.path, ignore_errors=True)
                elif is_left:
                    Path(entry.path).unlink()
            finally:
                os.close(descriptor)


def _is_leftover(name: str) -> bool:
    process = name.partition(_MARK)[2].partition("-")[0]
    if not name.startswith(".") or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's, or no number of a process
        pass
    return False


def _try_lock(descriptor: int) -> bool:
    """Lock a file or folder, unless someone else has; the lock goes with the descriptor."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _replace_folder(new: Path, path: Path) -> None:
    """Rename `new` to `path`; with a full folder there it changes places, and the caller removes `new`.

    Where the system cannot exchange them, the old one steps aside; a SIGKILL at that moment leaves it there.
    """
    if not path.exists():
        new.replace(path)
        return
    if _exchange(new, path):
        return
    old = path.with_name(f".{path.name[:_KEPT_CHARACTERS]}.old-{os.getpid()}")
    path.replace(old)
    try:
        new.replace(path)
    except OSError:
        old.replace(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change their names at once (Linux's renameat2), where that can be done."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    at_cwd, rename_exchange = -100, 2
    return bool(renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), rename_exchange) == 0)


def _remove_pending() -> None:
    """Remove what threads that were left behind had not finished."""
    if os.getpid() == _PID:
        for path in _pending:
            path.unlink(missing_ok=True)


_PID = os.getpid()
atexit.register(_remove_pending)


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
