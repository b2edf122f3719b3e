"""Distillation: what teachers see in photographs that nobody has looked at, kept on disk as density maps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.artifact import atomic_file, sha256_of
from ..runtime.backends.backend import Model, saliency_of
from ..runtime.backends.onnxruntime_backend import OnnxRuntimeModel, open_session
from ..runtime.contract import METADATA_KEY
from ..runtime.errors import ArtifactError, ContractError
from ..runtime.fit import resize
from .datasets import read_photo
from .datasets.pairing import images_in
from .datasets.sample import Dataset, Sample

if TYPE_CHECKING:
    import onnxruntime

MAP_HW = (60, 80)


class Teacher(Protocol):
    """Anything that gives a density for a photograph."""

    def density(self, photograph: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Give a map (h, w), not negative, for a photograph (H, W, 3) BGR."""
        ...


class BundleTeacher:
    """A network of this project, exported to ONNX: takes uint8 BGR frames."""

    def __init__(self, engine: Model) -> None:
        """Take a loaded model."""
        self._engine = engine

    def density(self, photograph: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: D102
        return saliency_of(self._engine, photograph)


class PlainTeacher:
    """A fixation predictor from elsewhere: takes RGB in 0 to 1, (1, 3, H, W), and gives (1, 1, h, w)."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        """Take a loaded model."""
        self._session = session
        self._input = session.get_inputs()[0].name
        height, width = session.get_inputs()[0].shape[2:]
        self._size_hw = int(height), int(width)

    def density(self, photograph: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: D102
        rgb = resize(photograph, self._size_hw)[:, :, ::-1].astype(np.float32) / 255
        chw = np.ascontiguousarray(rgb.transpose(2, 0, 1))
        saliency = self._session.run(None, {self._input: chw[None]})[0]
        density: NDArray[np.float32] = saliency.reshape(saliency.shape[-2:]) - saliency.min()
        return density


def load_teacher(path: Path) -> Teacher:
    """Load a teacher; it looks once at each photograph, so the CPU will do.

    Raises:
        ArtifactError: the file is no ONNX model.
        ContractError: its input is neither this project's nor (1, 3, H, W).
    """
    try:
        session = open_session(path, cpu_only=True)
    except ArtifactError as error:
        raise ArtifactError(
            f"{path} is no ONNX model that can be loaded. Give a teacher's .onnx file"
        ) from error
    if METADATA_KEY in session.get_modelmeta().custom_metadata_map:
        return BundleTeacher(OnnxRuntimeModel.load(path))
    shape = session.get_inputs()[0].shape
    if len(shape) != 4 or shape[1] != 3 or not all(isinstance(side, int) for side in shape[2:]):
        raise ContractError(
            f"{path} takes {shape}; a teacher takes RGB (1, 3, H, W), or is one of our exports"
        )
    return PlainTeacher(session)


def distilled_dataset(
    photographs: Path, teachers: Sequence[Path], cache: Path, *, size_hw: tuple[int, int] | None = None
) -> Dataset:
    """Let teachers see every photograph of a folder, once.

    Args:
        photographs: folder of images, searched to any depth.
        teachers: ONNX files; each one's map is divided by its sum, and the maps are averaged.
        cache: folder for the maps, `.npy` float16; those of other teachers lie in other folders.
        size_hw: the aspect that squashed photographs are shown at.

    Returns:
        Samples whose maps are the teachers'.
    """
    samples = [
        Sample(name=name, image=file, size_hw=size_hw) for name, file in images_in(photographs).items()
    ]
    files = teacher_maps(samples, teachers, cache)
    kept = [replace(sample, map_file=file) for sample, file in zip(samples, files, strict=True)]
    return Dataset(name=f"{photographs.name} by {len(teachers)} teachers", samples=kept)


def teacher_maps(samples: Sequence[Sample], teachers: Sequence[Path], cache: Path) -> list[Path]:
    """Let teachers see photographs, each once.

    Args:
        samples: the photographs, shown at their `size_hw`.
        teachers: as for `distilled_dataset`.
        cache: likewise.

    Returns:
        A file with `MAP_HW` density for each sample.
    """
    from rich.progress import track

    folder = cache / _key(teachers)
    files = [folder / _place(sample.image) for sample in samples]
    missing = [(sample, file) for sample, file in zip(samples, files, strict=True) if not file.exists()]
    models = [load_teacher(path) for path in teachers] if missing else []
    for sample, file in track(missing, description="teachers' maps", transient=True):
        _keep(file, mean_density(models, _shown(read_photo(sample.image), sample.size_hw)))
    return files


def _place(image: Path) -> str:
    """Name a photograph's map by its file and its folder's: names alone repeat between sets."""
    folder = hashlib.sha256(str(image.parent.resolve()).encode()).hexdigest()[:8]
    return f"{folder}/{image.stem}.npy"


def mean_density(teachers: Sequence[Teacher], photograph: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Average the teachers' maps, each divided by its sum.

    Returns:
        `MAP_HW` density, largest value 1.
    """
    total = np.zeros(MAP_HW, np.float32)
    for teacher in teachers:
        density = np.asarray(
            cv2.resize(teacher.density(photograph), MAP_HW[::-1], interpolation=cv2.INTER_AREA)
        )
        total += density.astype(np.float32) / max(float(density.sum()), 1e-9)
    return total / max(float(total.max()), 1e-9)


def _shown(photograph: NDArray[np.uint8], size_hw: tuple[int, int] | None) -> NDArray[np.uint8]:
    return photograph if size_hw is None else resize(photograph, size_hw)


def _keep(path: Path, density: NDArray[np.float32]) -> None:
    with atomic_file(path) as temporary:
        np.save(temporary, density.astype(np.float16))


def _key(teachers: Sequence[Path]) -> str:
    """Name the teachers by their content: another teacher, another folder."""
    return hashlib.sha256("".join(sorted(sha256_of(path) for path in teachers)).encode()).hexdigest()[:16]
