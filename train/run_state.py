"""What a stopped run needs to go on: weights, their mean, the optimiser's moments and the history."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import torch

from ..runtime.artifact import atomic_file
from ..runtime.errors import ArtifactError, TrainingError
from ..runtime.records import Count, parse_json, to_record
from .checkpoint import load_weights, read_safetensors
from .networks.saliency_network import SaliencyNetwork
from .validate import Validation

if TYPE_CHECKING:
    from .fit import FitConfig

STATE_FILE = "state.safetensors"
_REMEDY = "Choose another --output, or remove it to begin from the start"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Where a run stands.

    Attributes:
        step: steps taken.
        best: the best validation so far, and `best_step`, when it was.
        stale: validations since then.
        plateau_factor: what the plateau schedule has made of the learning rate.
        history: all validations.
    """

    step: Count = 0
    best: Validation | None = None
    best_step: Count = 0
    stale: Count = 0
    plateau_factor: float = 1.0
    history: tuple[Mapping[str, int | float], ...] = ()


class _Header(TypedDict):
    """What stands in the file's header."""

    state: RunState
    config: dict[str, Any]


def save_state(
    folder: Path,
    state: RunState,
    network: SaliencyNetwork,
    averaged: SaliencyNetwork,
    optimiser: torch.optim.Optimizer,
    config: FitConfig,
) -> None:
    """Write all that the run needs to go on, in full precision, whole or not at all."""
    from safetensors.torch import save

    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"averaged.{name}": tensor for name, tensor in averaged.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = json.dumps({"state": asdict(state), "config": _config_json(network, config)})
    with atomic_file(folder / STATE_FILE) as temporary:
        temporary.write_bytes(save(tensors, {"run": header}))


def load_state(
    folder: Path,
    network: SaliencyNetwork,
    averaged: SaliencyNetwork,
    optimiser: torch.optim.Optimizer,
    config: FitConfig,
) -> RunState | None:
    """Read what `save_state` wrote into the network, the mean and the optimiser.

    Returns:
        Where the run stands; None where the folder holds no run.

    Raises:
        TrainingError: the folder holds a run with another configuration, or a damaged one.
    """
    path = folder / STATE_FILE
    found = _read_run(path, network, config)
    if found is None:
        return None
    tensors, state = found
    load_weights(network, _under(tensors, "network."), str(path))
    load_weights(averaged, _under(tensors, "averaged."), str(path))
    try:
        _load_moments(optimiser, _under(tensors, "optimiser."))
    except (ValueError, KeyError, IndexError) as error:
        raise TrainingError(f"{path}: the optimiser's moments do not fit ({error}). {_REMEDY}") from error
    return state


def check_same_run(folder: Path, network: SaliencyNetwork, config: FitConfig) -> None:
    """See, before anything is written there, that a folder holds no run or one of this configuration.

    Raises:
        TrainingError: the folder holds a run with another configuration, or a damaged one.
    """
    _read_run(folder / STATE_FILE, network, config)


def _read_run(
    path: Path, network: SaliencyNetwork, config: FitConfig
) -> tuple[Mapping[str, torch.Tensor], RunState] | None:
    """Read a run's tensors and where it stands; None where there is no file."""
    if not path.exists():
        return None
    try:
        tensors, metadata = read_safetensors(path)
        name = f"{path}: the header"
        header = to_record(parse_json(metadata.get("run", "null"), name), _Header, name)
    except ArtifactError as error:
        raise TrainingError(f"{error}. {_REMEDY}") from error
    _refuse_other_run(path, header["config"], _config_json(network, config))
    return tensors, header["state"]


def _config_json(network: SaliencyNetwork, config: FitConfig) -> dict[str, Any]:
    """Give what must be equal for a run to go on; how many processes read ahead does not matter."""
    values: dict[str, Any] = {**network.config.to_json(), **asdict(config)}
    del values["workers"]
    return json.loads(json.dumps(values))  # type: ignore[no-any-return]


def _refuse_other_run(path: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    changed = [name for name in asked if found.get(name) != asked[name]]
    differing = [f"{name} {found.get(name)} -> {asked[name]}" for name in changed]
    if changed:
        raise TrainingError(
            f"{path} belongs to another run ({', '.join(differing)}). Choose another --output"
        )


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _load_moments(optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, moment = name.split(".", 1)
        moments.setdefault(int(index), {})[moment] = tensor
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
