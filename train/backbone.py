"""VGG16 for MLNet: its convolutions from a file of plain arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..runtime.errors import ArtifactError, ContractError
from .mlnet import MLNet


def load_vgg16(network: MLNet, path: Path) -> None:
    """Fill MLNet's VGG16 with trained convolutions.

    Args:
        network: its blocks are overwritten; encoder, readout and prior stay.
        path: an `.npz` with `convB_C.weight` (OIHW) and `convB_C.bias` for the 13 convolutions conv1_1 to
            conv5_3, for BGR input in 0 to 255 minus (103.939, 116.779, 123.68).

    Raises:
        ArtifactError: the file cannot be read.
        ContractError: arrays are missing or of another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} cannot be read as .npz ({error}). Get the backbone again") from error
    for number, block in enumerate(network.blocks, start=1):
        convolutions = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
        for position, convolution in enumerate(convolutions, start=1):
            _fill(convolution, arrays, f"conv{number}_{position}", path)


def _fill(convolution: nn.Conv2d, arrays: dict[str, NDArray[np.floating]], name: str, path: Path) -> None:
    for kind, parameter in convolution.named_parameters():
        found = arrays.get(f"{name}.{kind}")
        if found is None or found.shape != tuple(parameter.shape):
            shape = "missing" if found is None else str(found.shape)
            raise ContractError(f"{path}: {name}.{kind} is {shape}, expected {tuple(parameter.shape)}")
        parameter.data.copy_(torch.from_numpy(found.astype(np.float32)))
