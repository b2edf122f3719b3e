"""Checkpoints: what goes in comes out, and nothing else is let in."""

import pickle
from dataclasses import replace

import pytest
import torch

from saliency_edge.runtime.errors import ArtifactError, ContractError, UsageError
from saliency_edge.train.checkpoint import load_checkpoint, save_checkpoint, shipped_weights
from saliency_edge.train.networks import config_of
from saliency_edge.train.networks.saliency_network import SaliencyNetwork


@pytest.fixture
def saved(tmp_path, tiny_config):
    torch.manual_seed(0)
    network = SaliencyNetwork(tiny_config).eval()
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, network, {"recipe": "none", "figures": [1, 2]})
    return path, network


def test_weights_configuration_and_record_come_back(saved, tiny_config):
    path, network = saved
    checkpoint = load_checkpoint(path)
    assert checkpoint.config == tiny_config
    assert checkpoint.record == {"recipe": "none", "figures": [1, 2]}
    assert not checkpoint.network.training
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(
            checkpoint.network.state_dict()[name], tensor.half().float(), rtol=0, atol=0
        )


def test_the_same_network_gives_the_same_bytes(saved, tmp_path):
    path, network = saved
    save_checkpoint(tmp_path / "again.safetensors", network, {"figures": [1, 2], "recipe": "none"})
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_one_file_serves_both_sizes_of_mlnet(tmp_path):
    network = SaliencyNetwork(replace(config_of("mlnet"), size_hw=(64, 96)))
    save_checkpoint(tmp_path / "mlnet.safetensors", network, {})
    small = load_checkpoint(tmp_path / "mlnet.safetensors", network="mlnet_small")
    assert (small.config.name, small.config.size_hw) == ("mlnet_small", (240, 320))
    assert load_checkpoint(tmp_path / "mlnet.safetensors", size_hw=(64, 64)).network.map_size_hw == (8, 8)


def test_another_network_is_refused(saved):
    with pytest.raises(ContractError, match="holds deep_half, not mlnet"):
        load_checkpoint(saved[0], network="mlnet")


def test_the_first_differences_are_named(saved, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path, _ = saved
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    del tensors["body.conv1.bias"]
    tensors["body.conv2.weight"] = torch.zeros(1, 2, 3, 3)
    tensors["extra"] = torch.zeros(1)
    save_file(tensors, tmp_path / "other.safetensors", metadata)
    with pytest.raises(
        ContractError, match=r"body.conv1.bias missing; extra unknown; body.conv2.weight is \(1, 2, 3, 3\)"
    ):
        load_checkpoint(tmp_path / "other.safetensors")


class _Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was loaded')",))


def _pickle(path):
    path.write_bytes(pickle.dumps(_Trap()))


def _torch_zip(path):
    torch.save({"weight": torch.zeros(2)}, path)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("write", [_pickle, _torch_zip])
def test_pickles_are_refused_and_never_loaded(tmp_path, name, write):
    write(tmp_path / name)
    with pytest.raises(ArtifactError, match="is a pickle"):
        load_checkpoint(tmp_path / name)


@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_damaged_files_are_refused(saved, tmp_path, keep):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(saved[0].read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="damaged"):
        load_checkpoint(cut)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_safetensors_from_elsewhere_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ContractError, match="header names no network"):
        load_checkpoint(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize("name", ["deep_half", "mlnet", "mlnet_small", "lite2"])
def test_shipped_weights_load_and_say_how_they_were_trained(name):
    checkpoint = load_checkpoint(shipped_weights(name), network=name)
    assert checkpoint.config == replace(config_of(name), output=checkpoint.config.output)
    assert {"recipe", "validation", "config"} <= set(checkpoint.record)
    if name.startswith("mlnet"):
        assert checkpoint.network.body.prior.abs().max() > 0.01, "the prior was never learned"


def test_networks_without_shipped_weights_say_so():
    with pytest.raises(UsageError, match="no weights ship for deep_full"):
        shipped_weights("deep_full")
