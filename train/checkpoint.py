"""Checkpoints: safetensors with the configuration and the training record in the header. Never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import torch

from ..runtime.artifact import atomic_file, refuse_pickle, sha256_of
from ..runtime.errors import ArtifactError, ContractError, UsageError, reason_of
from ..runtime.records import parse_json, to_record
from .networks import Network, NetworkConfig, find_network
from .networks.saliency_network import SaliencyNetwork

HEADER_KEY = "saliency_edge"
_WEIGHTS = Path(__file__).parent / "weights"
# Networks whose weights ship, by the file that holds them. Both sizes of MLNet share one.
_SHIPPED = {"deep_half": "deep_half", "mlnet": "mlnet", "mlnet_small": "mlnet", "lite2": "lite2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A trained network as it was read from a file.

    Attributes:
        network: in evaluation mode, float32, on the CPU.
        sha256: of the file.
        record: what is known of its training: data, recipe, figures.
    """

    network: SaliencyNetwork
    sha256: str
    record: Mapping[str, Any]

    @property
    def config(self) -> NetworkConfig:
        """The network's configuration."""
        return self.network.config


def shipped_weights(network: str) -> Path:
    """Find the weights that ship for a network.

    Raises:
        UsageError: the network is unknown, or none ship for it.
    """
    find_network(network)
    if network not in _SHIPPED:
        raise UsageError(
            f"no weights ship for {network}. Train it (saliency-train), then give --weights FILE"
        )
    return _WEIGHTS / f"{_SHIPPED[network]}.safetensors"


def save_checkpoint(
    path: Path,
    network: SaliencyNetwork,
    record: Mapping[str, Any],
    *,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a network's weights, whole or not at all.

    Args:
        path: a `.safetensors` file.
        network: the network; it stays as it is.
        record: JSON values that say how it was trained.
        dtype: of the stored weights. float16 halves the file and moves maps by less than 1e-3.

    Raises:
        OutputError: the file cannot be written.
    """
    from safetensors.torch import save

    header = json.dumps({"network": network.config.to_json(), "record": record}, sort_keys=True)
    tensors = {name: tensor.detach().to(dtype).contiguous() for name, tensor in network.state_dict().items()}
    with atomic_file(path) as temporary:
        temporary.write_bytes(save(tensors, {HEADER_KEY: header}))


def load_checkpoint(
    path: Path, *, network: str | None = None, size_hw: tuple[int, int] | None = None
) -> Checkpoint:
    """Read a network with its weights.

    Args:
        path: a `.safetensors` file that `save_checkpoint` wrote.
        network: take it as this network, where only the size differs (`mlnet` as `mlnet_small`).
        size_hw: take it at this input size instead of its own, in pixels.

    Raises:
        ArtifactError: the file is missing, damaged or a pickle.
        ContractError: it holds another network than asked for, or its weights do not fit.
        UsageError: the network cannot take that size.
    """
    tensors, header = _read(path)
    config = NetworkConfig.from_json(header["network"], str(path))
    if network is not None:
        config = _as_network(config, network, path)
    if size_hw is not None:
        config = replace(config, size_hw=size_hw)
    model = SaliencyNetwork(config)
    load_weights(model, tensors, str(path))
    return Checkpoint(network=model.eval(), sha256=sha256_of(path), record=header["record"])


def load_weights(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], origin: str) -> None:
    """Copy weights into a model; names and shapes must be its own.

    Raises:
        ContractError: they differ; the first differences are named.
    """
    expected = model.state_dict()
    differences = [f"{name} missing" for name in expected if name not in tensors]
    differences += [f"{name} unknown" for name in tensors if name not in expected]
    differences += [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if differences:
        more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
        shown = "; ".join(differences[:3]) + more
        raise ContractError(f"{origin} does not fit the network: {shown}. Choose its own --network")
    model.load_state_dict({name: tensors[name].to(expected[name].dtype) for name in expected})


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read all tensors and the metadata of a safetensors file.

    Raises:
        ArtifactError: it cannot be read, or is damaged.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 (not a dict)
    except Exception as error:  # SafetensorError, and what torch raises where the header lies
        raise ArtifactError(
            f"{path} is no safetensors file, or it is damaged ({reason_of(error)}). Get it again"
        ) from error


class _Header(TypedDict):
    """What stands in the file's header under `HEADER_KEY`."""

    network: dict[str, Any]
    record: dict[str, Any]


def _read(path: Path) -> tuple[dict[str, torch.Tensor], _Header]:
    if not path.is_file():
        raise ArtifactError(f"{path}: no such checkpoint. Give a .safetensors file that saliency-train wrote")
    refuse_pickle(path)
    tensors, metadata = read_safetensors(path)
    if HEADER_KEY not in metadata:
        raise ContractError(f"{path} was not written by saliency-train: its header names no network")
    name = f"{path}: the header"
    return tensors, to_record(parse_json(metadata[HEADER_KEY], name), _Header, name, remedy="Get it again")


def _as_network(found: NetworkConfig, name: str, path: Path) -> NetworkConfig:
    """Take a configuration under another name of the same architecture: `mlnet` as `mlnet_small`."""
    wanted = find_network(name)
    if found.name == name:
        return found
    if not _has_same_modules(found, wanted):
        raise ContractError(f"{path} holds {found.name}, not {name}. Choose --network {found.name}")
    return replace(found, name=name, size_hw=wanted.config.size_hw)


def _has_same_modules(found: NetworkConfig, wanted: Network) -> bool:
    is_of_one_build = find_network(found.name).build is wanted.build
    return is_of_one_build and found.parameters == wanted.config.parameters
