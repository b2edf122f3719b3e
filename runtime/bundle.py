"""Reading a bundle: the folder, or the same zipped, that carries all that a device needs."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .artifact import read_json, sha256_of
from .contract import PRECISIONS, Precision
from .errors import ArtifactError, ContractError, UsageError

MANIFEST_NAME = "manifest.json"
SCHEMA = 1


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
        """
        if not path.exists():
            raise ArtifactError(f"no such bundle: {path}. Make one with saliency-export")
        if path.is_dir():
            return cls._read(path, path, None)
        unpacked = tempfile.TemporaryDirectory(prefix="saliency-bundle-")
        try:
            return cls._read(_unpack(path, Path(unpacked.name)), path, unpacked)
        except ArtifactError:
            unpacked.cleanup()
            raise

    def precision_or_default(self, precision: Precision | None) -> Precision:
        """Give the precision asked for; without one fp16, which is what ships, or else the first there is.

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
        """Give the path of a model's ONNX file, checked.

        Raises:
            UsageError: the bundle has no model of that precision.
            ArtifactError: the file is missing or damaged.
        """
        return self._checked(self.models[self.precision_or_default(precision)], self._remedy(precision))

    def golden_file(self) -> Path:
        """Give the path of the golden frames and maps, checked.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        return self._checked(self.golden, self._remedy("fp16"))

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
        manifest = read_json(folder / MANIFEST_NAME)
        if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
            found = manifest.get("schema") if isinstance(manifest, dict) else None
            raise ArtifactError(
                f"{path}: the manifest's schema is {found}, expected {SCHEMA}. "
                "Export it again, or use the version of saliency-edge that made it"
            )
        try:
            models = {
                precision: _bundled(folder, manifest["models"][precision])
                for precision in PRECISIONS
                if precision in manifest["models"]
            }
            golden, network = _bundled(folder, manifest["golden"]), str(manifest["network"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{path}: the manifest is incomplete ({error}). Export it again") from error
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


def _bundled(folder: Path, entry: Mapping[str, Any]) -> BundledFile:
    """Read a file's entry; a name that leads out of the folder is refused."""
    name = str(entry["file"])
    if Path(name).name != name:
        raise ValueError(f"{name!r} is no file name")
    return BundledFile(path=folder / name, sha256=str(entry["sha256"]), size_bytes=int(entry["bytes"]))


def _unpack(path: Path, target: Path) -> Path:
    """Unpack a zipped bundle and give its folder: the top, or the one folder in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(target)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ArtifactError(f"{path} cannot be unpacked ({error}). Export it again") from error
    manifests = sorted(target.glob(f"**/{MANIFEST_NAME}"), key=lambda found: len(found.parts))
    if not manifests:
        raise ArtifactError(
            f"{path} holds no {MANIFEST_NAME}: it is no bundle. Make one with saliency-export"
        )
    return manifests[0].parent
