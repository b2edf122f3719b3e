"""Which outputs a command may write: one rule for all commands, applied before anything is opened.

A file that an option names is written, and what lies there is overwritten. Never overwritten is what the same
command reads: files (however they are called: by another path, a link, a glob, an open descriptor), anything
inside a bundle, and existing files of a dataset. No two outputs may be the same file. A folder that is
replaced as a whole (a bundle, a selection of frames) may hold nothing but what the same command writes there.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from .artifact import check_replaceable, check_writable, descriptor_of
from .bundle import MANIFEST_NAME
from .errors import OutputError, UsageError

STDOUT = Path("-")

Names: TypeAlias = Sequence[str] | re.Pattern[str]
"""The names that are written into a folder: all of them, or how they look."""

_Identity: TypeAlias = tuple[str | int, ...]
_EXTERNAL_DATA = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")
"""An entry of an ONNX file that names a file with its weights: the length of the name, which follows."""


def stdout_or(path: Path | None) -> Path | None:
    """`-` for every name of standard output, such as `/dev/stdout`; other paths stay."""
    return STDOUT if path is not None and path != STDOUT and descriptor_of(path) == 1 else path


@dataclass(frozen=True, slots=True)
class _Input:
    name: str
    path: Path
    kind: Literal["file", "tree", "sealed"]

    def __str__(self) -> str:
        return f"{self.name} {self.path}"


@dataclass(frozen=True, slots=True)
class _Output:
    option: str
    path: Path
    names: Names | None = None  # of files in the folder `path`
    check_ours: Callable[[Path], None] | None = None  # of a folder that is replaced as a whole

    @property
    def is_replaced(self) -> bool:
        """Whether the folder `path` is replaced as a whole."""
        return self.check_ours is not None

    def __str__(self) -> str:
        return f"{self.option} {self.path}"

    def existing(self) -> Iterator[Path]:
        """List the files that are there and would be overwritten."""
        if self.names is None:
            yield self.path
        elif isinstance(self.names, re.Pattern):
            if self.path.is_dir():
                yield from (item for item in self.path.iterdir() if self.names.fullmatch(item.name))
        else:
            yield from (item for name in self.names if os.path.lexists(item := self.path / name))

    def takes(self, path: Path) -> bool:
        """Tell whether a file of that path is one of those written into the folder."""
        if self.names is None or _real(path.parent) != _real(self.path):
            return False
        if isinstance(self.names, re.Pattern):
            return self.names.fullmatch(path.name) is not None
        return path.name in self.names


@dataclass(slots=True)
class OutputPlan:
    """What a command reads and writes. Each `read_` and `write_` adds something; `check` decides."""

    _inputs: list[_Input] = field(default_factory=list)
    _outputs: list[_Output] = field(default_factory=list)

    def read_file(self, name: str, path: Path | None) -> None:
        """Add a file that is read, such as a clip; None adds nothing."""
        if path is not None:
            self._inputs.append(_Input(name, path, "file"))

    def read_tree(self, name: str, folder: Path | None) -> None:
        """Add a folder that is read to any depth: new files may be written there, none overwritten."""
        if folder is not None:
            self._inputs.append(_Input(name, folder, "tree"))

    def read_sealed(self, name: str, folder: Path | None) -> None:
        """Add a folder in which nothing at all may be written."""
        if folder is not None:
            self._inputs.append(_Input(name, folder, "sealed"))

    def read_model(self, name: str, path: Path) -> None:
        """Add a model: a bundle, in which nothing may be written, or a file with all that belongs to it."""
        bundle = _bundle_around(path)
        if bundle is not None:
            self.read_sealed(name, bundle)
        if not path.is_dir():
            self._inputs.extend(_Input(name, file, "file") for file in (path, *_companions_of(path)))

    def write_file(self, option: str, path: Path | None, *, takes_stdout: bool = False) -> None:
        """Add a file that is written; None adds nothing.

        Args:
            option: that names it.
            path: of the file.
            takes_stdout: whether `-` is standard output for this option; else it is refused.

        Raises:
            UsageError: `path` is `-`, and the option does not take it.
        """
        if path == STDOUT and not takes_stdout:
            raise UsageError(f"{option} - cannot be standard output. Give a file name")
        if path is not None:
            self._outputs.append(_Output(option, path))

    def write_names(self, option: str, folder: Path, names: Names) -> None:
        """Add files that are written into a folder, beside whatever is there."""
        self._outputs.append(_Output(option, folder, names=names))

    def write_folder(self, option: str, folder: Path, check_ours: Callable[[Path], None]) -> None:
        """Add a folder that is written as a whole, in the place of the one that is there.

        Args:
            option: that names it.
            folder: its path.
            check_ours: raises an `OutputError` if the folder that is there holds anything that the same
                command does not write.

        Raises:
            UsageError: `folder` is `-`.
        """
        if folder == STDOUT:
            raise UsageError(f"{option} - cannot be standard output. Give a folder")
        self._outputs.append(_Output(option, folder, check_ours=check_ours))

    def check(self) -> None:
        """See that every output can be written, and that none destroys an input or another output.

        Nothing is made or changed.

        Raises:
            UsageError: an output is an input, lies in a bundle that is read, or is written twice.
            OutputError: an output cannot be written.
        """
        self._check_each_other()
        for output in (*_redirected(), *self._outputs):
            self._check_against_inputs(output)
        for output in self._outputs:
            if output.check_ours is not None:
                check_replaceable(output.path)
                output.check_ours(output.path)
            elif output.names is not None:
                if output.path.exists() and not output.path.is_dir():
                    raise OutputError(f"cannot write {output.path}/*: {output.path} is a file. Give a folder")
                check_writable(output.path / "map")
            elif output.path != STDOUT:
                check_writable(output.path)

    def _check_against_inputs(self, output: _Output) -> None:
        if output.path == STDOUT:
            return
        written = {identity: path for path in output.existing() for identity in _identities(path)}
        for read in self._inputs:
            if output.is_replaced:
                if _holds(output.path, read.path) or (read.kind != "file" and _equal(output.path, read.path)):
                    raise UsageError(f"{output} would be replaced, but {read} in it is read. {_REMEDY}")
                if read.kind == "sealed" and _holds(read.path, output.path):
                    raise UsageError(f"{output} lies inside {read}, which is read. {_REMEDY}")
                continue
            if read.kind == "sealed":
                inside = output.path if output.names is not None else output.path.parent
                if _equal(inside, read.path) or _holds(read.path, inside):
                    raise UsageError(f"{output} lies inside {read}, which is read. Write it elsewhere")
            for path in _paths_read(read, output, written.values()):
                found = next((written[key] for key in _identities(path) if key in written), None)
                if found is not None:
                    raise UsageError(
                        f"{output.option} {found} is {read.name} {path}, which is read. {_REMEDY}"
                    )

    def _check_each_other(self) -> None:
        outputs = [*self._outputs, *_redirected()]
        for place, one in enumerate(self._outputs):
            for other in outputs[place + 1 :]:
                if _collide(one, other) or _collide(other, one):
                    raise UsageError(
                        f"{one} and {other} are written to the same place. Give each its own name"
                    )


_REMEDY = "Choose another name"
_REDIRECTED = {1: "standard output", 2: "standard error"}


def _collide(one: _Output, other: _Output) -> bool:
    """Tell whether `other` would overwrite `one`, or cannot be beside it."""
    if STDOUT in (one.path, other.path):
        return one.path == other.path
    if _is_device(one.path) or _is_device(other.path):  # what goes to /dev/null may go there twice
        return False
    if one.is_replaced:
        return _equal(one.path, other.path) or _holds(one.path, other.path)
    if one.names is None:
        is_same = other.names is None and bool(_identities(one.path) & _identities(other.path))
        is_folder_too = _holds(one.path, other.path) or (
            other.names is not None and _equal(one.path, other.path)
        )
        return is_same or is_folder_too or other.takes(one.path)
    if other.names is None or not _equal(one.path, other.path):
        return False
    if isinstance(one.names, re.Pattern):
        return isinstance(other.names, re.Pattern) or any(map(one.names.fullmatch, other.names))
    return not isinstance(other.names, re.Pattern) and bool(set(one.names) & set(other.names))


def _identities(path: Path) -> set[_Identity]:
    """What two paths of one file have in common: the resolved path, or device and inode."""
    descriptor = descriptor_of(path)
    try:
        status = path.stat() if descriptor is None else os.fstat(descriptor)
    except OSError:
        return {(_real(path),)}
    inode: set[_Identity] = {(status.st_dev, status.st_ino)}
    return inode if descriptor is not None else {(_real(path),), *inode}


def _paths_read(read: _Input, output: _Output, written: Iterable[Path]) -> Iterator[Path]:
    """List an input's files that an output might be; a folder is searched only where one exists already."""
    if read.kind == "file":
        yield read.path
        return
    existing = [path for path in written if path.exists()]
    yield from (path for path in existing if _holds(read.path, path))
    if existing and output.option not in _REDIRECTED.values():
        yield from _files_below(read.path)


def _files_below(folder: Path) -> Iterator[Path]:
    """List the files of a folder to any depth, through links to folders too, each folder once."""
    seen: set[_Identity] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        yield from (Path(parent, name) for name in names)


def _redirected() -> Iterator[_Output]:
    """List standard output and error where the shell writes them to files."""
    for descriptor, name in _REDIRECTED.items():
        try:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        except OSError:
            continue
        if is_file:
            yield _Output(name, Path(f"/dev/fd/{descriptor}"))


def _bundle_around(path: Path) -> Path | None:
    """Find the bundle that a model is, or lies in."""
    if path.is_dir():
        return path
    real = Path(_real(path))
    folders = (real.parent, real.parent.parent)
    return next((folder for folder in folders if (folder / MANIFEST_NAME).is_file()), None)


def _companions_of(model: Path) -> list[Path]:
    """List the files that belong to a model: an engine's receipt, an ONNX file's external weights."""
    found = [model.with_suffix(".receipt.json")] if model.suffix == ".engine" else []
    try:
        if model.suffix == ".onnx" and model.stat().st_size:
            with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                names = {
                    content[match.end() : match.end() + match[1][0]]
                    for match in _EXTERNAL_DATA.finditer(content)
                }
            found += [model.parent / os.fsdecode(name) for name in sorted(names) if b"\0" not in name]
    except OSError:  # whoever loads the model says so
        return found
    return found


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False


def _holds(folder: Path, path: Path) -> bool:
    """Tell whether a path lies below a folder."""
    return Path(_real(folder)) in Path(_real(path)).parents


def _equal(one: Path, other: Path) -> bool:
    return _real(one) == _real(other)


def _real(path: Path) -> str:
    return os.path.realpath(path)


def existing_files(words: Iterable[str]) -> Iterator[Path]:
    """Find files among the words of a command, such as `location=clip.mp4` or `concat:a.mp4|b.mp4`.

    Patterns of names, `img%03d.png` and globs, stand for the files that match; a list of ffmpeg's concat
    demuxer stands for itself and the files in it.
    """
    for word in words:
        parts = {word, *re.split(r"[=|,;'\"]", word), *re.split(r"(?:file:(?://)?)", word)}
        for part in sorted(filter(None, parts)):
            text = part.partition("file:")[2].removeprefix("//") if part.startswith("file:") else part
            text = re.sub(r"%0?\d*d", "[0-9]*", text)
            is_pattern = any(letter in text for letter in "*?[")
            pattern = Path(text)
            try:
                matches = (
                    Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
                    if is_pattern
                    else [pattern]
                )
                for path in [path for path in matches if path.exists() and not path.is_dir()]:
                    yield path
                    yield from _listed_in(path)
            except (OSError, ValueError, NotImplementedError):
                continue


def _listed_in(path: Path) -> Iterator[Path]:
    """Read the names in a list for ffmpeg's concat demuxer; other files list nothing."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if b"\0" in start or not re.search(rb"^\s*file\s", start, re.MULTILINE):
        return
    for name in re.findall(rb"^\s*file\s+(.+?)\s*$", start, re.MULTILINE):
        yield path.parent / os.fsdecode(name.strip(b"'\""))
