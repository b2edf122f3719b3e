"""From a checkpoint to the fp32 ONNX graph: PyTorch's exporter, then our names, contract and checks."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from ..runtime.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, Contract
from ..runtime.errors import ArtifactError, BackendError
from .options import DEFAULT_OPSET, check_opset
from .tidy_graph import tidy

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from ..train.checkpoint import Checkpoint


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
