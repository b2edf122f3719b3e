"""PyTorch as a backend: the reference that all others are compared with.

The runtime finds it through the entry point `pytorch`. It lists what it could run without importing torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..runtime.backends.backend import (
    REFERENCE_TIER,
    Candidate,
    LoadOptions,
    ModelSource,
    check_frames,
    installed_version,
)
from ..runtime.contract import Arithmetic, Contract
from ..runtime.errors import ArtifactError, BackendError, SaliencyError, UsageError
from ..runtime.machine import processor, usable_cores

if TYPE_CHECKING:
    import torch

    from .checkpoint import Checkpoint

MAX_BATCH = 64
_WEIGHTS = Path(__file__).parent / "weights"


class TorchBackend:
    """A checkpoint, and a bundle whose checkpoint ships with this package."""

    name = "pytorch"
    suffixes: tuple[str, ...] = (".safetensors",)

    def probe(self, source: ModelSource, options: LoadOptions) -> Sequence[Candidate]:
        """List a checkpoint, or a bundle's where it was asked for by name; see `Backend.probe`."""
        file = source.file
        if file is None and source.bundle is not None and options.backend == self.name:
            file = _WEIGHTS  # which of them, `load` finds out
        if file is None or file.suffix not in ("", *self.suffixes):
            return []
        version = installed_version("torch")
        missing = next((name for name in ("torch", "safetensors") if installed_version(name) is None), None)
        problem: SaliencyError | None = None
        if missing is not None:
            problem = BackendError(
                f"{source.file or 'PyTorch'} needs {missing}, which is not installed. "
                "Add it: pip install 'saliency-edge[train]'"
            )
        return [
            Candidate(
                backend=self.name,
                title="PyTorch",
                file=file,
                precision="fp32",
                environment={
                    "version": str(version),
                    "device": processor(),
                    "threads": str(options.threads or usable_cores()),
                },
                tier=REFERENCE_TIER,
                problem=problem,
                expected=source.file is not None,
            )
        ]

    def load(self, source: ModelSource, candidate: Candidate, _options: LoadOptions) -> TorchModel:
        """Load a checkpoint; that of a bundle must be the one that the bundle was made from.

        Raises:
            ArtifactError: it is missing, damaged, a pickle, or another one.
        """
        if source.bundle is None:
            return TorchModel.load(candidate.file)
        from .checkpoint import shipped_weights

        bundle = source.bundle
        height, width = bundle.manifest["size_hw"]
        try:
            model = TorchModel.load(
                shipped_weights(bundle.network), network=bundle.network, size_hw=(int(height), int(width))
            )
        except UsageError:
            model = None
        if model is None or model.contract.weights_sha256 != bundle.manifest["lineage"]["weights_sha256"]:
            raise ArtifactError(
                f"{source.path} was made from weights that do not ship. Give the .safetensors file itself"
            )
        return model


class TorchModel:
    """A checkpoint in PyTorch, float32, on the GPU where there is one."""

    arithmetic: Arithmetic = "fp32"

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        """Take a checkpoint's network as it is.

        Args:
            checkpoint: its network moves to the device.
            device: where to compute.
        """
        import torch

        from .networks.saliency_network import DeployGraph

        config = checkpoint.config
        self.graph = DeployGraph(checkpoint.network).eval().to(device)
        self.device = device
        self.description = f"PyTorch {torch.__version__.split('+')[0]} {device.type.upper()}, fp32"
        self.contract = Contract(
            network=config.name,
            precision="fp32",
            size_hw=config.size_hw,
            map_size_hw=checkpoint.network.map_size_hw,
            batch=(1, MAX_BATCH),
            fit=config.fit,
            weights_sha256=checkpoint.sha256,
        )

    @classmethod
    def load(
        cls, path: Path, *, network: str | None = None, size_hw: tuple[int, int] | None = None
    ) -> TorchModel:
        """Load a `.safetensors` checkpoint, as this network and at this size instead of its own if given.

        Raises:
            ArtifactError: it is missing, damaged or a pickle.
        """
        import torch

        from .checkpoint import load_checkpoint

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return cls(load_checkpoint(path, network=network, size_hw=size_hw), device)

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute saliency maps, (N, H, W, 3) to (N, h, w); see `Model.infer`."""
        import torch

        check_frames(frames, self.contract)
        with torch.inference_mode():
            maps: torch.Tensor = self.graph(torch.from_numpy(frames).to(self.device))
        return maps.cpu().numpy()

    def close(self) -> None:
        """Nothing to release: PyTorch frees the device with the graph."""
