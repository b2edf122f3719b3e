"""A run from its options: data, network, fit, checkpoint with its record."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from ..runtime.artifact import write_json
from ..runtime.errors import UsageError
from .backbone import load_vgg16
from .batches import Geometry, TrainingBatches, evaluation_batches
from .checkpoint import load_checkpoint, save_checkpoint
from .distributed import Process, process_group
from .fit import fit
from .losses import parse_loss
from .mlnet import MLNet
from .networks import NetworkConfig, SaliencyNetwork, config_of
from .recipes import RECIPES, Recipe, RecipeData, recipe_data
from .run_state import RunState

VALIDATION_BATCH = 8


def run_recipe(
    name: str,
    data: Path,
    output: Path,
    teachers: tuple[Path, ...],
    start: Path | None,
    vgg16: Path | None,
    workers: int,
) -> Path:
    """Run a recipe to its end, or go on with it.

    Returns:
        The best checkpoint, float16, with its training record in the header.

    Raises:
        UsageError: the recipe is unknown.
        TrainingError: the run cannot go on.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}. Choose one of {', '.join(RECIPES)}")
    recipe = replace(RECIPES[name], config=replace(RECIPES[name].config, workers=workers))
    found = recipe_data(recipe, data, teachers, output.parent / "teacher_maps")
    write_json(output / "split.json", _split(found))
    with process_group() as process:
        network = starting_network(config_of(recipe.network), start, vgg16)
        state = _fit(recipe, found, network, output, process)
        return _final_checkpoint(name, recipe, found, output, state)


def starting_network(config: NetworkConfig, start: Path | None, vgg16: Path | None) -> SaliencyNetwork:
    """Make the network that a run starts from: a checkpoint's, or a new one, perhaps on a trained VGG16."""
    if start is not None:
        return load_checkpoint(start, network=config.name).network
    network = SaliencyNetwork(config)
    if vgg16 is not None:
        if not isinstance(network.body, MLNet):
            raise UsageError(f"--vgg16 is for MLNet, not for {config.name}")
        load_vgg16(network.body, vgg16)
    return network


def _fit(
    recipe: Recipe, data: RecipeData, network: SaliencyNetwork, output: Path, process: Process
) -> RunState:
    fit_mode = network.config.fit
    geometries = [
        Geometry(size_hw=size_hw, map_size_hw=network.body.map_size_hw(size_hw), fit=fit_mode)
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
    validation = list(evaluation_batches(data.validation, geometries[0], VALIDATION_BATCH))
    return fit(network, batches, validation, parse_loss(recipe.loss), recipe.config, output, process)


def _final_checkpoint(name: str, recipe: Recipe, data: RecipeData, output: Path, state: RunState) -> Path:
    """Write the best checkpoint once more, with all that is known of its training."""
    best = load_checkpoint(output / "best.safetensors")
    record = {
        "recipe": name,
        "loss": recipe.loss,
        "sizes_hw": recipe.sizes_hw,
        "per_batch": {source.dataset.name: source.per_batch for source in data.sources},
        "samples": {source.dataset.name: len(source.dataset) for source in data.sources},
        "config": asdict(recipe.config),
        "best_step": state.best_step,
        "validation": {"on": data.validation.name, **(state.best.to_json() if state.best else {})},
    }
    path = output / f"{best.config.name}.safetensors"
    save_checkpoint(path, best.network, record)
    return path


def _split(data: RecipeData) -> dict[str, list[str]]:
    split = {source.dataset.name: [sample.name for sample in source.dataset] for source in data.sources}
    return {**split, f"validation: {data.validation.name}": [sample.name for sample in data.validation]}
