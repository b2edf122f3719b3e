"""The recipes of the shipped weights: everything that was chosen, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..runtime.errors import InputError
from .batches import Augmentation, Source
from .datasets import read_dataset
from .datasets.sample import Dataset, Sample
from .distill import distilled_dataset, teacher_maps
from .fit import FitConfig

SHOWN_HW = (480, 640)  # COCO photographs are mostly 4:3; the 256 x 256 copies are squashed
DISTILLED = ("photos/train",)
"""Folders of squashed photographs that the teachers label: nobody, or few people, looked at them."""
VALIDATION_EVERY = 10
"""Every tenth image of MIT1003 and of crowd, in order of names from the first, is for validation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One run that leads to shipped weights.

    Attributes:
        network: its name.
        sizes_hw: input sizes, taken in turn.
        per_batch: how many samples of each batch come from each source: a name of `SOURCES`, or `distilled`,
            the photographs of `DISTILLED` with the teachers' maps.
        blended: people's maps are averaged with the teachers' of the same photographs.
        loss: as `parse_loss` reads it.
        config: how to fit.
        augmentation: limits of the random changes.
    """

    network: str
    sizes_hw: tuple[tuple[int, int], ...]
    per_batch: Mapping[str, int]
    loss: str
    config: FitConfig
    blended: bool = False
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(crop=0.75))


_LOSS = "kld+0.2*cc+0.1*nss"
_DEEP_HALF_DISTILLED = Recipe(
    network="deep_half",
    sizes_hw=((240, 320),),
    per_batch={"mit1003": 2, "crowd": 2, "scene500": 1, "salicon": 1, "distilled": 2},
    loss=_LOSS,
    blended=True,
    config=FitConfig(steps=520, learning_rate=1.5e-4, warmup=20, ema=0.99, validate_every=260, seed=7),
)
# Both sizes in turn, so that one file serves both; it is chosen by the large one.
_MLNET_DISTILLED = Recipe(
    network="mlnet",
    sizes_hw=((480, 640), (240, 320)),
    per_batch={"mit1003": 2, "crowd": 1, "scene500": 1, "salicon": 1, "distilled": 1},
    loss=_LOSS,
    blended=True,
    config=FitConfig(
        steps=260,
        learning_rate=2e-4,
        backbone_rate=0.5,
        frozen_blocks=2,
        warmup=20,
        ema=0.99,
        validate_every=130,
        seed=8,
    ),
)
RECIPES: dict[str, Recipe] = {
    "lite2": Recipe(
        network="lite2",
        sizes_hw=((384, 512),),
        per_batch={"mit1003": 3, "crowd": 1, "scene500": 1, "salicon": 1, "fixmaps3005": 2},
        loss=_LOSS,
        config=FitConfig(
            steps=1000,
            learning_rate=1e-3,
            backbone_rate=0.2,
            frozen_blocks=3,
            warmup=50,
            ema=0.995,
            validate_every=250,
            seed=6,
        ),
    ),
    "deep_half_eyes": Recipe(
        network="deep_half",
        sizes_hw=((240, 320),),
        per_batch={"mit1003": 3, "crowd": 2, "scene500": 1, "salicon": 1, "fixmaps3005": 1},
        loss=_LOSS,
        config=FitConfig(steps=450, learning_rate=1.5e-4, warmup=30, ema=0.99, validate_every=150, seed=5),
    ),
    "deep_half_distilled": _DEEP_HALF_DISTILLED,
    "deep_half_last": replace(
        _DEEP_HALF_DISTILLED,
        per_batch={"mit1003": 2, "crowd": 1, "scene500": 1, "salicon": 2, "distilled": 2},
        config=replace(
            _DEEP_HALF_DISTILLED.config, steps=500, learning_rate=2e-4, validate_every=250, seed=9
        ),
    ),
    "mlnet_distilled": _MLNET_DISTILLED,
    "mlnet_last": replace(
        _MLNET_DISTILLED, config=replace(_MLNET_DISTILLED.config, steps=240, validate_every=120, seed=10)
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeData:
    """Where the recipes' data lie."""

    sources: tuple[Source, ...]
    validation: tuple[Dataset, ...]


def recipe_data(recipe: Recipe, data: Path, teachers: tuple[Path, ...], cache: Path) -> RecipeData:
    """Read what a recipe learns from.

    Args:
        recipe: which.
        data: folder with the sets of `SOURCES` and `photos/train`.
        teachers: ONNX files for the distilled photographs.
        cache: folder for the teachers' maps.

    Raises:
        InputError: something is missing.
    """
    if not data.is_dir():
        raise InputError(
            f"{data} is not a folder. Give the folder that holds {', '.join(SOURCES)} and photos"
        )
    sources = [
        Source(dataset=_source(name, recipe, data, teachers, cache), per_batch=count)
        for name, count in recipe.per_batch.items()
    ]
    return RecipeData(sources=tuple(sources), validation=validation_sets(data))


def _source(name: str, recipe: Recipe, data: Path, teachers: tuple[Path, ...], cache: Path) -> Dataset:
    if name == "distilled":
        sets = [distilled_dataset(data / one, teachers, cache, size_hw=SHOWN_HW) for one in DISTILLED]
        return Dataset(name="distilled", samples=tuple(sample for one in sets for sample in one))
    dataset = SOURCES[name](data)
    if not recipe.blended:
        return dataset
    files = teacher_maps(dataset.samples, teachers, cache)
    blended = [
        replace(sample, teacher_file=file) for sample, file in zip(dataset.samples, files, strict=True)
    ]
    return replace(dataset, name=f"{dataset.name}, blended", samples=blended)


def validation_sets(data: Path) -> tuple[Dataset, ...]:
    """Read what chooses checkpoints: every tenth of MIT1003 and of crowd, thinned, as is SALICON val.

    All of them cost a CPU as much as fifty steps; `saliency-eval` takes all.
    """
    salicon = read_dataset(data / "salicon", split="val", stretch=True)
    return (
        _every_tenth(data / "mit1003", validation=True).every(2),
        _every_tenth(data / "crowd", validation=True),
        salicon.every(5),
    )


def scene500_training(root: Path) -> Dataset:
    """Read Scene-500 without its test set, the photographs whose number is a multiple of 5."""
    everything = read_dataset(root, stretch=True)
    kept = [sample for sample in everything.samples if int(Path(sample.name).stem) % 5]
    return replace(everything, samples=kept, name="scene500 without the test set")


def _every_tenth(root: Path, *, validation: bool) -> Dataset:
    """Read a set's validation images, or all others."""
    everything = read_dataset(root)
    tenth = [
        index % VALIDATION_EVERY == 0 for index in range(len(everything))
    ]  # in order of names, as `read_dataset` gives them
    kept = [sample for sample, apart in zip(everything, tenth, strict=True) if apart == validation]
    part = "every tenth" if validation else "without every tenth"
    return replace(everything, samples=kept, name=f"{root.name} {part}")


def _fixmaps3005(root: Path) -> Dataset:
    """Read fixmaps3005: photographs squashed to squares, their own aspect not known, taken as COCO's."""
    everything = read_dataset(root, stretch=True)
    return replace(everything, samples=[_shown(sample) for sample in everything])


def _shown(sample: Sample) -> Sample:
    return replace(sample, size_hw=SHOWN_HW)


SOURCES: dict[str, Callable[[Path], Dataset]] = {
    "mit1003": lambda data: _every_tenth(data / "mit1003", validation=False),
    "crowd": lambda data: _every_tenth(data / "crowd", validation=False),
    "scene500": lambda data: scene500_training(data / "scene500"),
    "salicon": lambda data: read_dataset(data / "salicon", split="train", stretch=True),
    "fixmaps3005": lambda data: _fixmaps3005(data / "fixmaps3005"),
}
"""Sets of photographs with human fixations, without what is kept apart for validation and tests."""
