"""The registry of networks: what a network is made with, by name.

A package adds a network by an entry point of the group `saliency_edge.networks`, whose name is the network's
name and whose object is a `Network`. The project's own five are added in the same way:

| name          | network                       | size (H x W) | map       | parameters | GMAC  |
| ------------- | ----------------------------- | ------------ | --------- | ---------- | ----- |
| `deep_half`   | deep convnet, half the width  | 240 x 320    | 240 x 320 |  6,583,681 |  34.3 |
| `deep_full`   | deep convnet, the paper's     | 240 x 320    | 240 x 320 | 25,806,209 | 133.7 |
| `mlnet`       | MLNet                         | 480 x 640    | 60 x 80   | 15,452,109 | 123.0 |
| `mlnet_small` | MLNet, the same weights       | 240 x 320    | 30 x 40   | 15,452,109 |  30.7 |
| `lite2`       | EfficientNet-Lite2, a readout | 384 x 512    | 48 x 64   |  4,713,401 |   2.5 |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from ...runtime.contract import Fit
from ...runtime.errors import ContractError, UsageError
from ...runtime.records import Side, to_record

if TYPE_CHECKING:
    from torch import nn

GROUP = "saliency_edge.networks"
"""The entry point group."""

ChannelOrder = Literal["bgr", "rgb"]
NetworkOutput = Literal["logits", "log_density", "density", "saliency", "affine"]

_Std: TypeAlias = Annotated[float, Meta(gt=0)]

_OWN = ("deep_half", "deep_full", "mlnet", "mlnet_small", "lite2")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """All that is needed to make a network again; it travels in the checkpoint's header.

    Attributes:
        name: of the network in the registry, such as `deep_half`.
        size_hw: height and width of the input, in pixels.
        fit: how frames are brought to that size: `stretch` ignores their aspect ratio, `pad` keeps it.
        channel_order: of the module's input.
        mean: subtracted from the input's three channels, in 0 to 255, in `channel_order`.
        std: the difference is divided by it, likewise.
        output: what the module's raw output x is, and so how it becomes a map in 0 to 1. `logits`:
            sigmoid(x);
            `log_density`: exp(x - max x); `density`: x / max x, for outputs that are not negative;
            `saliency`: x itself, in 0 to 1; `affine`: 0.5 x + `output_mean`, the inverse of the deep
            convnet's published training target.
        output_mean: mean level of the training maps in 0 to 1, for `affine`.
        parameters: keyword arguments for `Network.build`, JSON values.
    """

    name: str
    size_hw: tuple[Side, Side]
    fit: Fit
    channel_order: ChannelOrder = "bgr"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[_Std, _Std, _Std] = (1.0, 1.0, 1.0)
    output: NetworkOutput
    output_mean: float = 0.0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any], origin: str) -> NetworkConfig:
        """Read what `to_json` gave, or what versions up to 0.5 wrote.

        Raises:
            ContractError: fields are missing or unknown, or their values are.
        """
        if "architecture" in values:
            values = _from_version_0_5(values, origin)
        name = f"{origin}: the network's configuration"
        return to_record(values, cls, name, remedy="Train it again", error=ContractError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a name in the registry stands for.

    Attributes:
        config: size, scaling of input and output, and the parameters of `build`.
        build: makes the module with fresh weights. Its input is float (N, 3, H, W), normalised as `config`
            says;
            its output is (N, 1, h, w) or (N, h, w), any size. A module may have a method
            `map_size_hw(size_hw)` that gives h and w without computing, or raises `UsageError` for a size
            that it cannot take.
    """

    config: NetworkConfig
    build: Callable[..., nn.Module]


def network_names() -> tuple[str, ...]:
    """Names of all networks: the project's own first, then those of other packages, sorted; loads none."""
    return (*_OWN, *sorted(_entry_points().keys() - set(_OWN)))


def find_network(name: str) -> Network:
    """Load a network's entry in the registry.

    Raises:
        UsageError: there is no network of that name, or its package cannot be loaded.
    """
    found = _entry_points().get(name)
    if found is None:
        raise UsageError(f"unknown network {name!r}. Choose one of {', '.join(network_names())}")
    try:
        network = found.load()
    except Exception as error:  # whatever another package's import raises
        raise UsageError(f"network {name!r} cannot be loaded from {found.value} ({error!r})") from error
    if not isinstance(network, Network) or network.config.name != name:
        raise UsageError(f"{found.value} is no Network of the name {name!r}. Mend the package that adds it")
    return network


def config_of(name: str) -> NetworkConfig:
    """Configuration of a network as it is registered.

    Raises:
        UsageError: as `find_network`.
    """
    return find_network(name).config


def _entry_points() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _from_version_0_5(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Translate a header from before networks were a registry."""
    outputs = {"density": "log_density", "peak": "density", "affine": "affine"}
    try:
        return {
            "name": values["name"],
            "size_hw": values["size_hw"],
            "fit": values["fit"],
            "channel_order": "bgr",
            "mean": values["mean_bgr"],
            "std": [1 / values["scale"]] * 3,
            "output": outputs[values["output"]],
            "output_mean": values["output_mean"],
            "parameters": {"width": values["width"]} if values["architecture"] == "deep_convnet" else {},
        }
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise ContractError(f"{origin}: its configuration is damaged ({error!r}). Train it again") from error
