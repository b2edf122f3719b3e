"""Reading a bundle: the folder, or the same zipped, that carries all that a device needs."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict

from .artifact import sha256_of, temporary_directory
from .contract import PRECISIONS, Contract, Fit, Precision
from .errors import ArtifactError, ContractError, OutputError, SaliencyError, UsageError
from .records import Count, Side, check_schema, read_json, to_record

MANIFEST_NAME = "manifest.json"
SCHEMA = 1

_CHUNK_BYTES = 1 << 20
_LARGEST_TEXT_BYTES = 16 << 20
_LARGEST_FILE_BYTES = 2 << 30  # ONNX files end there, being Protocol Buffers
_HARMLESS_BYTES = 64 << 20
_HIGHEST_RATIO = 100  # weights shrink by a tenth at most, frames not at all


class _FileEntry(TypedDict):
    """A file of a bundle, as it stands in the manifest."""

    file: str
    sha256: str
    bytes: Count


class _Lineage(TypedDict, total=False):
    """Where the models come from, as far as engines record it."""

    weights_sha256: str
    ranges_sha256: str


class _ManifestOptional(TypedDict, total=False):
    lineage: _Lineage


class _Manifest(_ManifestOptional):
    """What is read of manifest.json; the rest is for people."""

    network: str
    size_hw: tuple[Side, Side]
    map_size_hw: tuple[Side, Side]
    batch: tuple[Side, Side]
    fit: Fit
    models: dict[str, _FileEntry]
    golden: _FileEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledFile:
    """A file of a bundle, as the manifest has it.

    Attributes:
        path: where it should be.
        sha256: what its content should be.
        size_bytes: how long it should be.
    """

    path: Path
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An open bundle. A zipped one lies in a temporary folder until it is closed.

    Attributes:
        path: what the user calls it.
        folder: where its files lie.
        network: name of the network.
        models: the ONNX files by precision; they may be damaged or missing until `model` has checked them.
        golden: frames and PyTorch's maps of them.
        manifest: all of manifest.json.
    """

    path: Path
    folder: Path
    network: str
    models: Mapping[Precision, BundledFile]
    golden: BundledFile
    manifest: Mapping[str, Any]
    unpacked: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Open a bundle's folder or .zip, and read its manifest.

        Raises:
            ArtifactError: it is missing, no bundle, damaged, or of a later version.
            OutputError: a zipped one cannot be unpacked for want of room.
        """
        if not path.exists():
            raise ArtifactError(f"no such bundle: {path}. Make one with saliency-export")
        if path.is_dir():
            return cls._read(path, path, None)
        unpacked = temporary_directory("bundle")
        try:
            return cls._read(_unpack(path, Path(unpacked.name)), path, unpacked)
        except SaliencyError:
            unpacked.cleanup()
            raise

    def precision_or_default(self, precision: Precision | None) -> Precision:
        """The precision asked for; without one fp16, which is what ships, or else the first there is.

        Raises:
            UsageError: the bundle has no model of that precision.
        """
        if precision is None:
            return "fp16" if "fp16" in self.models else next(iter(self.models))
        if precision not in self.models:
            raise UsageError(
                f"{self.path} holds {', '.join(self.models)}, not {precision}. {self._remedy(precision)}"
            )
        return precision

    def model(self, precision: Precision) -> Path:
        """Path of a model's ONNX file, checked.

        Raises:
            UsageError: the bundle has no model of that precision.
            ArtifactError: the file is missing or damaged.
        """
        return self._checked(self.models[self.precision_or_default(precision)], self._remedy(precision))

    def golden_file(self) -> Path:
        """Path of the golden frames and maps, checked.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        return self._checked(self.golden, self._remedy("fp16"))

    def check_contract(self, contract: Contract) -> None:
        """Hold the manifest against what a model of the bundle says about itself.

        Raises:
            ContractError: they contradict one another.
        """
        for name in ("network", "size_hw", "map_size_hw", "batch", "fit"):
            said, found = self.manifest.get(name), getattr(contract, name)
            expected = list(found) if isinstance(found, tuple) else found
            if name in self.manifest and said != expected:
                raise ContractError(
                    f"{self.path}: the manifest says {name} {said}, "
                    f"its {contract.precision} model {expected}. {self._remedy(contract.precision)}"
                )

    def close(self) -> None:
        """Remove the temporary folder of a zipped bundle."""
        if self.unpacked is not None:
            self.unpacked.cleanup()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @classmethod
    def _read(cls, folder: Path, path: Path, unpacked: tempfile.TemporaryDirectory[str] | None) -> Bundle:
        """Read the manifest in `folder`; `path` is what the user calls it."""
        name = f"{path}: the manifest"
        remedy = "Export it again, or use the version of saliency-edge that made it"
        manifest = check_schema(
            read_json(folder / MANIFEST_NAME, remedy="Export it again"), SCHEMA, name, "one", remedy=remedy
        )
        read = to_record(manifest, _Manifest, name, remedy="Export it again", more_fields=True)
        models = {
            precision: _bundled(folder, read["models"][precision], name)
            for precision in PRECISIONS
            if precision in read["models"]
        }
        golden, network = _bundled(folder, read["golden"], name), read["network"]
        if not models:
            raise ContractError(
                f"{path} holds no model. Export it again: saliency-export --network {network}"
            )
        return cls(
            path=path,
            folder=folder,
            network=network,
            models=models,
            golden=golden,
            manifest=manifest,
            unpacked=unpacked,
        )

    def _checked(self, file: BundledFile, remedy: str) -> Path:
        """Hold a file against the manifest: first what is quick to see, then its hash."""
        name = f"{self.path}/{file.path.name}"
        if not file.path.is_file():
            raise ArtifactError(f"{name} is missing. {remedy}")
        size_bytes = file.path.stat().st_size
        if size_bytes != file.size_bytes:
            raise ArtifactError(
                f"{name} is damaged: {size_bytes} bytes, the manifest says {file.size_bytes}. {remedy}"
            )
        sha256 = sha256_of(file.path)
        if sha256 != file.sha256:
            raise ArtifactError(
                f"{name} is damaged: sha256 {sha256[:8]}… is not the manifest's {file.sha256[:8]}…. {remedy}"
            )
        return file.path

    def _remedy(self, precision: Precision) -> str:
        option = "" if precision == "fp32" else f" --{precision}"
        return f"Export it again: saliency-export{option} --network {self.network}"


def _bundled(folder: Path, entry: _FileEntry, origin: str) -> BundledFile:
    """Read a file's entry; a name that leads out of the folder is refused."""
    name = entry["file"]
    if Path(name).name != name or "\0" in name:
        raise ArtifactError(f"{origin}: {name!r} is no file name. Export it again")
    return BundledFile(path=folder / name, sha256=entry["sha256"], size_bytes=entry["bytes"])


def _unpack(path: Path, target: Path) -> Path:
    """Unpack a zipped bundle into `target`, and give the bundle's folder in it: the top, or the one folder.

    Only what belongs to a bundle is unpacked: the manifest, the files that it names, at the sizes that it
    says, and engines. Whatever else a zip holds stays there, however large it says or turns out to be.

    Raises:
        ArtifactError: it is no zip, is damaged, or holds no bundle, or what would fill the disk.
        OutputError: there is no room to unpack it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            top = _top_of(archive, path)
            members = {item.filename: item for item in archive.infolist() if item.filename.startswith(top)}
            folder = target / "bundle"
            _extract(archive, members[top + MANIFEST_NAME], folder / MANIFEST_NAME, _LARGEST_TEXT_BYTES, path)
            for name, size_bytes in _announced(read_json(folder / MANIFEST_NAME)):
                member = members.get(top + name)
                if member is not None and member.file_size != size_bytes:
                    raise ArtifactError(
                        f"{path}/{name} is damaged: {member.file_size} bytes, "
                        f"the manifest says {size_bytes}. Export it again"
                    )
                if member is not None:
                    _extract(archive, member, folder / name, _LARGEST_FILE_BYTES, path)
            for name, member in members.items():
                place = name.removeprefix(top)
                if re.fullmatch(r"engines/[^/\\]+", place):
                    _extract(archive, member, folder / place, _LARGEST_FILE_BYTES, path)
            return folder
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be unpacked ({error}). Export it again") from error
    except OSError as error:
        if not path.is_file():
            raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
        raise OutputError(
            f"cannot unpack {path} into {target.parent}: {error.strerror or error}. "
            "Make room there, or set TMPDIR to a folder on another disk"
        ) from error


def _top_of(archive: zipfile.ZipFile, path: Path) -> str:
    """What the names of a zipped bundle's files begin with."""
    manifests = [name for name in archive.namelist() if Path(name).name == MANIFEST_NAME]
    if not manifests:
        raise ArtifactError(
            f"{path} holds no {MANIFEST_NAME}: it is no bundle. Make one with saliency-export"
        )
    return min(manifests, key=lambda name: (name.count("/"), name)).removesuffix(MANIFEST_NAME)


def _announced(manifest: Any) -> Iterator[tuple[str, int]]:
    """List the files that a manifest names, with their sizes in bytes; what cannot be read is not listed."""
    if not isinstance(manifest, dict):
        return
    models = manifest.get("models")
    entries = [manifest.get("golden"), *(models.values() if isinstance(models, dict) else ())]
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("bytes"), int):
            name = str(entry.get("file"))
            if Path(name).name == name:
                yield name, entry["bytes"]


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path, most: int, path: Path) -> None:
    """Unpack a file; `zipfile` reads no more than the size that was checked here, and checks its CRC."""
    is_bomb = member.file_size > max(_HARMLESS_BYTES, _HIGHEST_RATIO * member.compress_size)
    if member.file_size > most or is_bomb:
        raise ArtifactError(
            f"{path} would unpack {member.filename} to {member.file_size / 1e6:.0f} MB from "
            f"{member.compress_size / 1e6:.1f} MB: that is no bundle of saliency-export. Export it again"
        )
    to.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as packed, to.open("wb") as file:
        shutil.copyfileobj(packed, file, _CHUNK_BYTES)
