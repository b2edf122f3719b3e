"""ONNX Runtime behind the engines' protocol: on CUDA where it works, else on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..contract import INPUT_NAME, OUTPUT_NAME, Contract
from ..errors import BackendError, ContractError
from .engine import check_frames
from .ort_session import first_line, open_session

if TYPE_CHECKING:
    import onnxruntime


class OrtEngine:
    """An ONNX file in ONNX Runtime."""

    def __init__(self, session: onnxruntime.InferenceSession, contract: Contract, version: str) -> None:
        """Take a session that fulfils `contract`; `load` makes both."""
        self.on_gpu = "CUDAExecutionProvider" in session.get_providers()
        self.contract = contract
        device = "CUDA" if self.on_gpu else "CPU"
        self.description = f"ONNX Runtime {version} {device}, {contract.precision}"
        self._session = session

    @classmethod
    def load(cls, path: Path, *, threads: int | None = None) -> OrtEngine:
        """Load an ONNX file with its contract.

        Args:
            path: of the `.onnx`.
            threads: that compute one inference on the CPU; `None`: one for each core.

        Raises:
            ArtifactError: the file is missing, empty, cut off or no ONNX.
            ContractError: it carries no contract, or its graph does not keep it.
            BackendError: onnxruntime is not installed.
        """
        session = open_session(path, threads=threads)
        import onnxruntime  # after the opener, which says what to do where it is missing

        contract = Contract.from_metadata(session.get_modelmeta().custom_metadata_map, str(path))
        _check_graph(session, contract, path)
        return cls(session, contract, onnxruntime.__version__)

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute saliency maps, (N, H, W, 3) to (N, h, w); see `Engine.infer`."""
        check_frames(frames, self.contract)
        try:
            maps: NDArray[np.float32] = self._session.run([OUTPUT_NAME], {INPUT_NAME: frames})[0]
        except Exception as error:  # ONNX Runtime's errors share no other base
            raise BackendError(f"{self.description} failed: {first_line(error)}") from error
        return maps

    def close(self) -> None:
        """Release the session's memory and threads."""
        del self._session


def _check_graph(session: onnxruntime.InferenceSession, contract: Contract, path: Path) -> None:
    """Hold the graph's own inputs and outputs against the contract that it carries."""
    expected = {
        INPUT_NAME: ("tensor(uint8)", (*contract.size_hw, 3)),
        OUTPUT_NAME: ("tensor(float)", contract.map_size_hw),
    }
    found = {
        tensor.name: (tensor.type, tuple(tensor.shape[1:]))
        for tensor in (*session.get_inputs(), *session.get_outputs())
    }
    if found != expected:
        raise ContractError(f"{path} has {found}, its contract says {expected}. Make it with saliency-export")
    smallest, largest = contract.batch
    batch = session.get_inputs()[0].shape[0]
    expected_batch = smallest if smallest == largest else None
    if expected_batch != (batch if isinstance(batch, int) else None):
        raise ContractError(
            f"{path} takes batches of {batch}, its contract says {smallest} to {largest}. "
            "Make it with saliency-export"
        )
