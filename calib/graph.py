"""The fp32 graph that is calibrated: which tensors count, and hashes of its content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.artifact import refuse_pickle
from ..runtime.bundle import Bundle
from ..runtime.contract import INPUT_NAME, Contract
from ..runtime.errors import ArtifactError, BackendError, ContractError, reason_of

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedModel:
    """An fp32 graph that is calibrated.

    Attributes:
        graph: with its weights.
        contract: its name, size and fit.
        path: what the user calls it.
    """

    graph: onnx.ModelProto
    contract: Contract
    path: Path


def load_model(path: Path) -> CalibratedModel:
    """Read an fp32 `.onnx` file, or the fp32 model of a bundle.

    Raises:
        ArtifactError: it is missing, damaged, not fp32 or not of this project.
        BackendError: onnx is not installed.
    """
    if path.is_dir() or path.suffix == ".zip":
        with Bundle.open(path) as bundle:
            return _read_model(bundle.model("fp32"), path)
    if not path.is_file():
        raise ArtifactError(f"no such model: {path}. Make it: saliency-export --fp32")
    refuse_pickle(path)
    return _read_model(path, path)


def observed_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """Name what int8 scales are needed for: activation inputs of every Conv, all inputs of every Concat.

    Returns:
        The names in the order in which the graph uses them first, each once.

    Raises:
        ContractError: there are none.
    """
    from onnx import TensorProto

    floats = {
        value.name
        for value in (*model.graph.value_info, *model.graph.input)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    names: dict[str, None] = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            names[node.input[0]] = None
        elif node.op_type == "Concat":  # others join constants, or the sizes of a tensor
            names.update(dict.fromkeys(name for name in node.input if name in floats))
    if not names:
        raise ContractError("the graph holds no Conv and no Concat: there is nothing to calibrate")
    return tuple(names)


def model_hash(model: onnx.ModelProto) -> str:
    """Hash what ranges depend on: the graph from its input to its last convolution.

    Operators, attributes, names, weights and the size of the frames count. The batch, the producer, the
    opset's number and metadata do not; nor does what follows the last convolution, where constants that
    the exporter computed differ from one processor to the next by a rounding.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(weights_hash(model).encode())
    _update(digest, map(str, size_hw_of_model(model)))
    for node in _calibrated_nodes(model):
        attributes = sorted(node.attribute, key=lambda attribute: attribute.name)
        _update(digest, (node.op_type, node.name, *node.input, "to", *node.output))
        for attribute in attributes:
            digest.update(attribute.SerializeToString(deterministic=True))
    return digest.hexdigest()


def weights_hash(model: onnx.ModelProto) -> str:
    """Hash the constants that the same part of the graph reads: names, shapes, types and values."""
    from onnx import numpy_helper

    read = {name for node in _calibrated_nodes(model) for name in node.input}
    digest = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda tensor: tensor.name):
        if tensor.name in read:
            _update(digest, (tensor.name, str(tensor.data_type), *map(str, tensor.dims)))
            digest.update(numpy_helper.to_array(tensor).tobytes())
    return digest.hexdigest()


def size_hw_of_model(model: onnx.ModelProto) -> tuple[int, int]:
    """Give the height and width of the frames that a deployed graph takes.

    Raises:
        ContractError: it takes no frames (N, H, W, 3).
    """
    for tensor in model.graph.input:
        shape = [size.dim_value for size in tensor.type.tensor_type.shape.dim]
        if tensor.name == INPUT_NAME and len(shape) == 4:
            return shape[1], shape[2]
    raise ContractError(f"the graph has no input {INPUT_NAME} (N, H, W, 3). Make it with saliency-export")


def read_onnx(file: Path, path: Path, remedy: str) -> onnx.ModelProto:
    """Read an ONNX file with its weights, those in other files too.

    Args:
        file: where it lies.
        path: what the user calls it.
        remedy: ends the message about a damaged one.

    Raises:
        ArtifactError: it cannot be read.
        BackendError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise BackendError("onnx is not installed. Add it: pip install 'saliency-edge[calib]'") from error
    try:
        return onnx.load(file)
    except Exception as error:  # protobuf's DecodeError, which onnx does not name
        if re.search("external data|should be stored in", str(error), re.IGNORECASE):
            raise ArtifactError(
                f"{path} keeps weights in another file, which cannot be read ({reason_of(error)}). "
                "Put that file beside it, or save the model as one file"
            ) from error
        raise ArtifactError(f"{path} is damaged or no ONNX model. {remedy}") from error


def _read_model(file: Path, path: Path) -> CalibratedModel:
    graph = read_onnx(file, path, "Make it again: saliency-export --fp32")
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    contract = Contract.from_metadata(metadata, str(path))
    if contract.precision != "fp32":
        raise ContractError(
            f"{path} is {contract.precision}; ranges are taken of fp32. Give the bundle, or its fp32.onnx"
        )
    return CalibratedModel(graph=graph, contract=contract, path=path)


def _calibrated_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    nodes = list(model.graph.node)
    while nodes and nodes[-1].op_type not in ("Conv", "ConvTranspose"):
        nodes.pop()
    return nodes


def _update(digest: hashlib._Hash, words: Iterable[str]) -> None:
    digest.update(("\0".join(words) + "\n").encode())
