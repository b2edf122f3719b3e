"""A run from its options: data, network, fit, checkpoint with its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..runtime.artifact import write_json
from ..runtime.errors import UsageError
from ..runtime.outputs import OutputPlan
from .batches import AUGMENTATION, Geometry, Source, TrainingBatches, evaluation_batches
from .checkpoint import load_checkpoint, save_checkpoint
from .datasets import read_dataset
from .datasets.sample import Dataset
from .distill import distilled_dataset
from .distributed import Process, process_group
from .fit import BEST_FILE, FitConfig, fit
from .losses import parse_loss
from .networks import NetworkConfig, config_of
from .networks.lite2 import Lite2, load_efficientnet
from .networks.mlnet import MLNet, load_vgg16
from .networks.saliency_network import SaliencyNetwork
from .recipes import DISTILLED, RECIPES, SOURCES, Recipe, RecipeData, recipe_data
from .run_state import STATE_FILE, RunState, check_same_run

VALIDATION_BATCH = 8
SPLIT_FILE = "split.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a run starts from.

    Attributes:
        checkpoint: a `.safetensors` file; None starts from fresh weights.
        vgg16: an `.npz` with VGG16's convolutions for a fresh MLNet; None leaves them fresh.
        efficientnet: the `.pth` file of EfficientNet-Lite2 for a fresh lite2; None leaves it fresh.
    """

    checkpoint: Path | None = None
    vgg16: Path | None = None
    efficientnet: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """What `saliency-train fit` is asked for; see its `--help`."""

    dataset: Path
    output: Path
    network: str
    size_hw: tuple[int, int] | None
    layout: str | None
    split: str | None
    validation_split: str | None
    validation_share: float
    strict: bool
    loss: str
    batch: int
    photographs: Path | None
    teachers: tuple[Path, ...]
    distilled: int
    config: FitConfig
    start: Start


def run_fit(options: FitOptions) -> Path:
    """Train on a user's own data, or go on with a run that was stopped.

    Returns:
        The best checkpoint, float16, with its training record in the header.

    Raises:
        InputError: a dataset cannot be read, or does not fit under `strict`.
        UsageError: options that cannot be.
        TrainingError: the run cannot go on.
    """
    config = config_of(options.network)
    _check_outputs(
        options.output,
        options.network,
        data={"DATASET": [options.dataset], "--photographs": [options.photographs]},
        teachers=options.teachers,
        start=options.start,
    )
    recipe = Recipe(
        network=options.network,
        sizes_hw=(options.size_hw or config.size_hw,),
        per_batch={"real": options.batch - options.distilled, "distilled": options.distilled},
        loss=options.loss,
        config=options.config,
        augmentation=AUGMENTATION,
    )
    return train(options.network, recipe, _data_of(options, recipe), options.output, options.start)


def run_recipe(
    name: str, data: Path, output: Path, teachers: tuple[Path, ...], start: Start, workers: int
) -> Path:
    """Run a recipe of the shipped weights to its end, or go on with it.

    Returns:
        The best checkpoint, as for `run_fit`.

    Raises:
        InputError: the data are not there.
        UsageError: the recipe is unknown, or asks no teacher where one is given.
        TrainingError: the run cannot go on.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}. Choose one of {', '.join(RECIPES)}")
    if teachers and not (RECIPES[name].blended or "distilled" in RECIPES[name].per_batch):
        raise UsageError(f"--teacher does nothing in the recipe {name}, which asks none. Leave it out")
    recipe = replace(RECIPES[name], config=replace(RECIPES[name].config, workers=workers))
    sets = [data / folder for folder in (*SOURCES, *DISTILLED)]
    _check_outputs(output, recipe.network, data={"--data": sets}, teachers=teachers, start=start)
    found = recipe_data(recipe, data, teachers, output.parent / "teacher_maps")
    return train(name, recipe, found, output, start)


def _check_outputs(
    output: Path,
    network: str,
    *,
    data: Mapping[str, Sequence[Path | None]],
    teachers: Sequence[Path],
    start: Start,
) -> None:
    """See, before anything is read, that a run's files can be written and destroy nothing that is read.

    Raises:
        UsageError: the run lies among its data, or would overwrite a file that it starts from.
        OutputError: the folder cannot be written.
    """
    plan = OutputPlan()
    for name, folders in data.items():
        for folder in folders:
            plan.read_sealed(name, folder)
    for teacher in teachers:
        plan.read_model("--teacher", teacher)
    plan.read_file("--start", start.checkpoint)
    plan.read_file("--vgg16", start.vgg16)
    plan.read_file("--efficientnet", start.efficientnet)
    plan.write_names("--output", output, (SPLIT_FILE, STATE_FILE, BEST_FILE, f"{network}.safetensors"))
    plan.check()


def train(name: str, recipe: Recipe, data: RecipeData, output: Path, start: Start) -> Path:
    """Fit a network by a recipe and keep its best checkpoint with a record of how it came about."""
    torch.manual_seed(recipe.config.seed)  # fresh weights are the same in every process, and in every run
    network = starting_network(config_of(recipe.network), start)
    check_same_run(output, network, recipe.config)
    write_json(output / SPLIT_FILE, _split(data))
    with process_group() as process:
        state = _fit(recipe, data, network, output, process)
        path = output / f"{recipe.network}.safetensors"
        if process.rank == 0:
            best = load_checkpoint(output / BEST_FILE)
            save_checkpoint(path, best.network, _record(name, recipe, data, state))
    return path


def starting_network(config: NetworkConfig, start: Start) -> SaliencyNetwork:
    """Make the network that a run starts from.

    Raises:
        UsageError: a backbone was given for another network than its own.
    """
    if start.checkpoint is not None:
        return load_checkpoint(start.checkpoint, network=config.name).network
    network = SaliencyNetwork(config)
    if start.vgg16 is not None:
        if not isinstance(network.body, MLNet):
            raise UsageError(f"--vgg16 is for MLNet, not for {config.name}")
        load_vgg16(network.body, start.vgg16)
    if start.efficientnet is not None:
        if not isinstance(network.body, Lite2):
            raise UsageError(f"--efficientnet is for lite2, not for {config.name}")
        load_efficientnet(network.body.backbone, start.efficientnet)
    return network


def _fit(
    recipe: Recipe, data: RecipeData, network: SaliencyNetwork, output: Path, process: Process
) -> RunState:
    geometries = [
        Geometry(size_hw=size_hw, map_size_hw=network.map_size_at(size_hw), fit=network.config.fit)
        for size_hw in recipe.sizes_hw
    ]
    batches = TrainingBatches(
        data.sources,
        geometries,
        recipe.augmentation,
        seed=recipe.config.seed,
        steps=recipe.config.steps,
        rank=process.rank,
        world_size=process.world_size,
    )
    validation = {
        dataset.name: list(evaluation_batches(dataset, geometries[0], VALIDATION_BATCH))
        for dataset in data.validation
    }
    return fit(network, batches, validation, parse_loss(recipe.loss), recipe.config, output, process)


def _data_of(options: FitOptions, recipe: Recipe) -> RecipeData:
    everything = read_dataset(
        options.dataset, layout=options.layout, split=options.split, strict=options.strict
    )
    if options.validation_split is None:
        learned, validation = _seeded_split(everything, options.validation_share, options.config.seed)
    else:
        learned = everything
        validation = read_dataset(options.dataset, layout=options.layout, split=options.validation_split)
    sources = [Source(dataset=learned, per_batch=recipe.per_batch["real"])]
    if options.distilled:
        sources.append(Source(dataset=_distilled(options), per_batch=options.distilled))
    return RecipeData(sources=tuple(sources), validation=(validation,))


def _seeded_split(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Keep a share of the samples apart for validation, chosen by the seed."""
    order = np.random.default_rng(seed).permutation(len(dataset))
    count = max(1, round(len(dataset) * share))
    if count >= len(dataset):
        raise UsageError(f"{dataset.name} has {len(dataset)} samples: too few to keep {share:.0%} apart")
    apart = set(order[:count].tolist())
    learned = [sample for index, sample in enumerate(dataset) if index not in apart]
    validation = [sample for index, sample in enumerate(dataset) if index in apart]
    return replace(dataset, samples=learned), replace(
        dataset, name=f"{dataset.name}, kept apart", samples=validation
    )


def _distilled(options: FitOptions) -> Dataset:
    if options.photographs is None or not options.teachers:
        raise UsageError("--distilled needs --photographs FOLDER and at least one --teacher FILE.onnx")
    if options.distilled >= options.batch:
        raise UsageError(f"--distilled {options.distilled} leaves no real pair in a batch of {options.batch}")
    return distilled_dataset(options.photographs, options.teachers, options.output / "teacher_maps")


def _record(name: str, recipe: Recipe, data: RecipeData, state: RunState) -> dict[str, object]:
    """Say how a checkpoint came about."""
    return {
        "recipe": name,
        "loss": recipe.loss,
        "sizes_hw": recipe.sizes_hw,
        "per_batch": {source.dataset.name: source.per_batch for source in data.sources},
        "samples": {source.dataset.name: len(source.dataset) for source in data.sources},
        "config": asdict(recipe.config),
        "best_step": state.best_step,
        "validation": {
            "mean over": [dataset.name for dataset in data.validation],
            **(state.best.to_json() if state.best else {}),
        },
    }


def _split(data: RecipeData) -> dict[str, list[str]]:
    split = {source.dataset.name: [sample.name for sample in source.dataset] for source in data.sources}
    validation = {
        f"validation: {dataset.name}": [sample.name for sample in dataset] for dataset in data.validation
    }
    return {**split, **validation}
