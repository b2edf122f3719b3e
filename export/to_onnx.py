"""From a checkpoint to the fp32 ONNX graph: PyTorch's exporter, then our names, contract and checks."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..runtime.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, Contract, Fit
from ..runtime.errors import ArtifactError, BackendError
from .options import DEFAULT_OPSET, check_opset
from .parity import reference_maps
from .tidy_graph import tidy

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from ..train.checkpoint import Checkpoint


class Original(Protocol):
    """What is exported: it gives the fp32 graph, and the maps that every graph is compared with."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def name(self) -> str:
        """Name of the network."""

    @property
    def label(self) -> str:
        """What computes the reference maps, in reports: `PyTorch`."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the frames, in pixels."""

    @property
    def fit(self) -> Fit:
        """How frames are brought to that size."""

    @property
    def own_batch(self) -> tuple[int, int]:
        """Smallest and largest batch where none is asked for."""

    @property
    def record(self) -> Mapping[str, Any]:
        """What the manifest says of its origin, JSON values."""

    def contract(self, batch: tuple[int, int]) -> Contract:
        """Contract of the fp32 graph."""

    def graph(self, batch: tuple[int, int], opset: int) -> onnx.ModelProto:
        """The fp32 graph, with its contract in `metadata_props`."""

    def maps(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Maps, (K, h, w) in 0 to 1, of frames, (K, H, W, 3) BGR."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointOriginal:
    """A checkpoint of this project's or a registered network; PyTorch computes the reference maps.

    Attributes:
        path: the file.
        checkpoint: what it holds.
    """

    path: Path
    checkpoint: Checkpoint

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.checkpoint.config.name

    @property
    def label(self) -> str:
        """What computes the reference maps."""
        return "PyTorch"

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the frames, in pixels."""
        return self.checkpoint.config.size_hw

    @property
    def fit(self) -> Fit:
        """How frames are brought to that size."""
        return self.checkpoint.config.fit

    @property
    def own_batch(self) -> tuple[int, int]:
        """Smallest and largest batch where none is asked for."""
        return (1, 1)

    @property
    def record(self) -> Mapping[str, Any]:
        """What is known of the training."""
        return self.checkpoint.record

    def contract(self, batch: tuple[int, int]) -> Contract:
        """Contract of the fp32 graph."""
        return contract_of(self.checkpoint, batch)

    def graph(self, batch: tuple[int, int], opset: int) -> onnx.ModelProto:
        """Export the fp32 graph, see `onnx_from_checkpoint`."""
        return onnx_from_checkpoint(self.checkpoint, batch, opset)

    def maps(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the reference maps, see `reference_maps`."""
        return reference_maps(self.checkpoint, pixels)


def contract_of(checkpoint: Checkpoint, batch: tuple[int, int]) -> Contract:
    """Give the contract of a checkpoint's fp32 graph.

    Args:
        checkpoint: the network.
        batch: smallest and largest number of frames in a batch.
    """
    config = checkpoint.config
    return Contract(
        network=config.name,
        precision="fp32",
        size_hw=config.size_hw,
        map_size_hw=checkpoint.network.map_size_hw,
        batch=batch,
        fit=config.fit,
        weights_sha256=checkpoint.sha256,
    )


def onnx_from_checkpoint(
    checkpoint: Checkpoint, batch: tuple[int, int] = (1, 1), opset: int = DEFAULT_OPSET
) -> onnx.ModelProto:
    """Export a checkpoint's deployed graph; the same inputs give the same bytes.

    Nodes and tensors have the names that `tidy_graph.py` gives.

    Args:
        checkpoint: the network; its weights must be finite.
        batch: smallest and largest number of frames in a batch; equal for a fixed batch.
        opset: of ONNX's own operators.

    Returns:
        A checked model with its weights inside and its contract in `metadata_props`.

    Raises:
        UsageError: the opset is not one that is supported.
        ArtifactError: weights are NaN or infinite, or the graph is not what was expected.
        BackendError: PyTorch's exporter fails.
    """
    import onnx_ir

    _refuse_broken_weights(checkpoint)
    model = _exported(checkpoint, batch, check_opset(opset))
    tidy(model)
    model.metadata_props[METADATA_KEY] = contract_of(checkpoint, batch).to_json()
    proto = onnx_ir.to_proto(model)
    check_model(proto)
    return proto


def opset_of(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators; 0 where a model names none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def check_model(model: onnx.ModelProto) -> None:
    """Check a graph by ONNX's own rules, with full shape inference.

    Raises:
        ArtifactError: it breaks one of them.
    """
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).partition("\n")[0]
        raise ArtifactError(
            f"the exported graph breaks ONNX's rules ({reason}). Try another --opset"
        ) from error


def _refuse_broken_weights(checkpoint: Checkpoint) -> None:
    for name, tensor in checkpoint.network.state_dict().items():
        if not tensor.isfinite().all():
            raise ArtifactError(
                f"{name} holds NaN or infinite weights. Train again, or take an earlier checkpoint"
            )


def _exported(checkpoint: Checkpoint, batch: tuple[int, int], opset: int) -> ir.Model:
    """Run PyTorch's exporter, without its chatter."""
    import torch

    from ..train.networks.saliency_network import DeployGraph

    smallest, largest = batch
    fixed = smallest == largest
    count = smallest if fixed else 2  # the exporter would take a dynamic batch of 1 for a constant
    frames = torch.zeros((count, *checkpoint.config.size_hw, 3), dtype=torch.uint8)
    dynamic = None if fixed else {INPUT_NAME: {0: torch.export.Dim("batch", min=smallest, max=largest)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                DeployGraph(checkpoint.network).eval(),
                (frames,),
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                opset_version=opset,
                dynamic_shapes=dynamic,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error).strip().partition("\n")[0]
            raise BackendError(f"torch {torch.__version__} cannot export this network: {reason}") from error
    assert program is not None
    return program.model
