"""The recipes of the shipped weights: everything that was chosen, in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..runtime.errors import InputError
from .augment import AUGMENTATION, Augmentation
from .batches import Source
from .distill import distilled_dataset
from .fit import FitConfig
from .readers import read_dataset
from .samples import Dataset

SHOWN_HW = (480, 640)  # COCO photographs are mostly 4:3; the 256 x 256 copies are squashed


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One run that leads to shipped weights.

    Attributes:
        network: its name.
        sizes_hw: input sizes, taken in turn.
        real: photographs with human fixations in each batch.
        distilled: photographs with the teachers' maps in each batch.
        loss: as `parse_loss` reads it.
        config: how to fit.
        augmentation: limits of the random changes.
    """

    network: str
    sizes_hw: tuple[tuple[int, int], ...]
    real: int
    distilled: int
    loss: str
    config: FitConfig
    augmentation: Augmentation = AUGMENTATION


_DEEP = Recipe(
    network="deep_half",
    sizes_hw=((120, 160),),
    real=4,
    distilled=12,
    loss="kld+0.2*cc",
    config=FitConfig(steps=2500, learning_rate=5e-4, ema=0.998, validate_every=250),
)
_DEEP_FINE = replace(
    _DEEP,
    sizes_hw=((240, 320),),
    real=3,
    distilled=5,
    config=FitConfig(steps=1300, learning_rate=3e-4, warmup=50, ema=0.997, validate_every=100),
)
# Both sizes in turn, so that one file serves both; it is chosen by the large one.
_MLNET_FINE = Recipe(
    network="mlnet",
    sizes_hw=((480, 640), (240, 320)),
    real=3,
    distilled=3,
    loss="kld+0.2*cc",
    config=FitConfig(
        steps=800, learning_rate=2e-4, backbone_rate=0.3, warmup=50, ema=0.995, validate_every=200
    ),
)
_MLNET_LONG = replace(
    _MLNET_FINE,
    config=replace(
        _MLNET_FINE.config,
        steps=1150,
        backbone_rate=0.5,
        frozen_blocks=2,
        ema=0.997,
        validate_every=230,
        seed=1,
    ),
)
# What both networks had become is among the teachers, and there is more of their maps than people's.
_MLNET_FINAL = replace(
    _MLNET_LONG,
    real=2,
    distilled=4,
    config=replace(_MLNET_LONG.config, steps=1200, validate_every=300, seed=2),
)
RECIPES: dict[str, Recipe] = {
    "mlnet_coarse": Recipe(
        network="mlnet_small",
        sizes_hw=((240, 320),),
        real=4,
        distilled=4,
        loss="kld+0.2*cc",
        config=FitConfig(steps=1500, learning_rate=2e-4, backbone_rate=0.15, ema=0.997, validate_every=250),
    ),
    "mlnet_fine": _MLNET_FINE,
    "mlnet_long": _MLNET_LONG,
    "mlnet_final": _MLNET_FINAL,
    # Each round from the top of the learning rate had gained: once more.
    "mlnet_more": replace(
        _MLNET_FINAL, config=replace(_MLNET_FINAL.config, steps=900, learning_rate=1.5e-4, seed=4)
    ),
    "deep_half_coarse": _DEEP,
    "deep_half_fine": _DEEP_FINE,
    # Once more from the top of the learning rate, with MLNet among the teachers.
    "deep_half_final": replace(
        _DEEP_FINE, config=replace(_DEEP_FINE.config, steps=2000, ema=0.998, validate_every=200)
    ),
    # It still followed its teachers no better on photographs it knew than on others: longer, not other.
    "deep_half_long": replace(
        _DEEP_FINE,
        real=2,
        distilled=6,
        config=replace(_DEEP_FINE.config, steps=2300, ema=0.998, validate_every=230, seed=1),
    ),
    # Teachers' maps are softer than people's: a little of people alone, averaged with what was there before.
    "deep_half_last": replace(
        _DEEP_FINE,
        real=8,
        distilled=0,
        config=replace(
            _DEEP_FINE.config,
            steps=60,
            learning_rate=4e-5,
            warmup=10,
            ema=0.98,
            ema_rises=False,
            validate_every=20,
            seed=2,
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeData:
    """Where the recipes' data lie."""

    sources: tuple[Source, ...]
    validation: Dataset


def recipe_data(recipe: Recipe, data: Path, teachers: tuple[Path, ...], cache: Path) -> RecipeData:
    """Read what a recipe learns from.

    Args:
        recipe: which.
        data: folder with `salicon`, `scene500` and `photos`.
        teachers: ONNX files for the distilled photographs.
        cache: folder for the teachers' maps.

    Raises:
        InputError: something is missing.
    """
    if not data.is_dir():
        raise InputError(f"{data} is not a folder. Give the folder that holds salicon, scene500 and photos")
    salicon = read_dataset(data / "salicon", split="train", stretch=True)
    scene = scene500_training(data / "scene500")
    real = Dataset(name="salicon and scene500", samples=(*salicon.samples, *scene.samples))
    sources = [Source(dataset=real, per_batch=recipe.real)]
    if recipe.distilled:
        photographs = distilled_dataset(data / "photos" / "train", teachers, cache, size_hw=SHOWN_HW)
        sources.append(Source(dataset=photographs, per_batch=recipe.distilled))
    validation = read_dataset(data / "salicon", split="val", stretch=True)
    return RecipeData(sources=tuple(sources), validation=validation)


def scene500_training(root: Path) -> Dataset:
    """Read Scene-500 without its test set, the photographs whose number is a multiple of 5."""
    everything = read_dataset(root, stretch=True)
    kept = [sample for sample in everything.samples if int(Path(sample.name).stem) % 5]
    return replace(everything, samples=kept, name="scene500 without the test set")
