"""ONNX Runtime: an ONNX file on CUDA where that works, else on the CPU.

The session's options are the same for the device, the export and the calibration.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..contract import INPUT_NAME, OUTPUT_NAME, Arithmetic, Contract
from ..errors import ArtifactError, BackendError, ContractError
from ..machine import find_gpu, processor, usable_cores
from .backend import (
    CPU_TIER,
    GPU_TIER,
    ROUNDING_MODEL,
    Candidate,
    LoadOptions,
    ModelSource,
    arithmetic_of_fp16,
    check_frames,
    installed_version,
    tier_of,
)

if TYPE_CHECKING:
    import onnxruntime


class OnnxRuntimeBackend:
    """ONNX Runtime, which all models are exported for."""

    name = "onnxruntime"
    suffixes: tuple[str, ...] = (".onnx",)

    def probe(self, source: ModelSource, options: LoadOptions) -> Sequence[Candidate]:
        """List a bundle's precisions; see `Backend.probe`."""
        files = source.onnx_files()
        version, gpu = installed_version("onnxruntime"), find_gpu()
        uses_gpu = gpu is not None and _has_cuda_provider()
        device = f"{gpu.name}, driver {gpu.driver}" if gpu is not None and uses_gpu else processor()
        return [
            Candidate(
                backend=self.name,
                title="ONNX Runtime",
                file=file,
                precision=precision,
                environment={
                    "version": str(version),
                    "device": device,
                    "threads": str(options.threads or usable_cores()),
                },
                tier=tier_of(precision, files, GPU_TIER if uses_gpu else CPU_TIER),
                problem=None if version else BackendError(NOT_INSTALLED),
                expected=version is not None,
            )
            for precision, file in files.items()
        ]

    def load(self, source: ModelSource, candidate: Candidate, options: LoadOptions) -> OnnxRuntimeModel:
        """Load an ONNX file; see `Backend.load`.

        Raises:
            BackendError: it would run on the CPU, and `options` forbid that.
        """
        model = OnnxRuntimeModel.load(source.verified(candidate), threads=options.threads)
        if options.strict and options.backend == "auto" and not model.on_gpu:
            model.close()
            raise BackendError(
                f"{model.description}: no CUDA, and --strict forbids the CPU. "
                "Install onnxruntime-gpu for the CUDA version here, or see saliency-doctor"
            )
        return model


class OnnxRuntimeModel:
    """An ONNX file in ONNX Runtime."""

    def __init__(self, session: onnxruntime.InferenceSession, contract: Contract, version: str) -> None:
        """Take a session that fulfils `contract`; `load` makes both."""
        self.on_gpu = "CUDAExecutionProvider" in session.get_providers()
        self.contract = contract
        device = "CUDA" if self.on_gpu else "CPU"
        self.description = f"ONNX Runtime {version} {device}, {contract.precision}"
        self.arithmetic: Arithmetic = (
            _arithmetic_of_fp16(on_gpu=self.on_gpu) if contract.precision == "fp16" else contract.precision
        )
        self._session = session

    @classmethod
    def load(cls, path: Path, *, threads: int | None = None) -> OnnxRuntimeModel:
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

        try:
            contract = Contract.from_metadata(session.get_modelmeta().custom_metadata_map, str(path))
            _check_graph(session, contract, path)
        except UnicodeDecodeError as error:  # names and metadata are bytes to ONNX Runtime
            raise ArtifactError(
                f"{path} is damaged: a name in it is not UTF-8. Make it again with saliency-export"
            ) from error
        return cls(session, contract, onnxruntime.__version__)

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute saliency maps, (N, H, W, 3) to (N, h, w); see `Model.infer`."""
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


NOT_INSTALLED = "onnxruntime is not installed. Add it: pip install 'saliency-edge[onnxruntime]'"
_LONGEST_REASON = 200
FATAL_ONLY = 4  # ONNX Runtime's log level; what matters is raised as an error here


def open_session(
    model: Path | bytes, *, threads: int | None = None, cpu_only: bool = False
) -> onnxruntime.InferenceSession:
    """Open a model on the best device there is.

    Args:
        model: an `.onnx` file, or a serialised model.
        threads: that compute one inference on the CPU; `None`: one for each core.
        cpu_only: whether to leave a GPU aside, for figures that are the same on every machine of a kind.

    Raises:
        ArtifactError: the file is missing, empty, cut off or no ONNX.
        BackendError: onnxruntime is not installed, or refuses a serialised model.
    """
    ort = _onnxruntime()
    ort.set_default_logger_severity(FATAL_ONLY)
    options = ort.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.intra_op_num_threads = threads or 0
    # Threads that spin between operators take the cores from capture and rendering.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if cpu_only:  # Q/DQ nodes as they are written, on every processor: docs/adr/013-int8-numerics.md
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    providers = ["CPUExecutionProvider"] if cpu_only else _providers(ort)
    if isinstance(model, Path) and not model.is_file():
        raise ArtifactError(f"no such file: {model}. Make it with saliency-export")
    try:
        return ort.InferenceSession(model, options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors share no other base
        raise _refusal(model, error, ort) from error


def first_line(error: Exception) -> str:
    """The part of ONNX Runtime's message that says something, without its places in C++."""
    line = str(error).strip().partition("\n")[0]
    line = re.sub(r"^(\[ONNXRuntimeError\] : \d+ : \w+ : )", "", line)
    line = re.sub(r"^Load model from .*? failed:", "", line)
    line = re.sub(r"\S*onnxruntime_src\S* .*\)(?: \[\w+\])? (?=[A-Z])", "", line)
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."


def _onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(NOT_INSTALLED) from error
    module: ModuleType = onnxruntime
    return module


def _refusal(model: Path | bytes, error: Exception, ort: ModuleType) -> ArtifactError | BackendError:
    """Say what is wrong: a whole model that is too new for this ONNX Runtime is not a damaged one."""
    runtime, text = f"ONNX Runtime {ort.__version__}", str(error)
    if not isinstance(model, Path):
        return BackendError(f"{runtime} refuses the graph: {first_line(error)}")
    newer = "Update onnxruntime, or export the model again, with --opset 19"
    if found := re.search(r"model IR version: (\d+), max supported IR version: (\d+)", text):
        return ArtifactError(f"{model} has IR version {found[1]}, {runtime} reads up to {found[2]}. {newer}")
    if found := re.search(r"Opset (\d+) is under development.*domain (\S+) is till opset (\d+)", text):
        return ArtifactError(
            f"{model} has opset {found[1]} of {found[2]}, {runtime} reads up to {found[3]}. {newer}"
        )
    if found := re.search(r"No Op registered for (\S+)|Fatal error: (\S+?)\(", text):
        return ArtifactError(
            f"{model} holds the operator {found[1] or found[2]}, unknown to {runtime}. {newer}"
        )
    if re.search(r"external (?:data|tensor|initializer)|External data", text):
        return ArtifactError(
            f"{model} keeps weights in another file, which cannot be read ({first_line(error)}). "
            "Put that file beside it, or save the model as one file"
        )
    return ArtifactError(
        f"{model} is damaged or no ONNX model ({first_line(error)}). Make it again with saliency-export"
    )


def _providers(ort: ModuleType) -> list[str]:
    """Ask for CUDA only where there is a driver: without one ONNX Runtime prints a page of its own."""
    wants_cuda = "CUDAExecutionProvider" in ort.get_available_providers() and _has_nvidia_driver()
    if wants_cuda and hasattr(ort, "preload_dlls"):  # 1.21 and later: CUDA from pip's packages
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()
    return ["CUDAExecutionProvider", "CPUExecutionProvider"] if wants_cuda else ["CPUExecutionProvider"]


@cache
def _arithmetic_of_fp16(*, on_gpu: bool) -> Arithmetic:
    """Ask ONNX Runtime by an example: an Arm processor with half arithmetic rounds, most others do not."""
    session = open_session(ROUNDING_MODEL, threads=1, cpu_only=not on_gpu)
    return arithmetic_of_fp16(lambda values: np.asarray(session.run(None, {"values": values})[0]))


def _has_cuda_provider() -> bool:
    """Tell whether the installed package can use CUDA, without loading it."""
    spec = find_spec("onnxruntime")
    folder = Path(spec.origin).parent / "capi" if spec is not None and spec.origin else Path()
    return any(folder.glob("*onnxruntime_providers_cuda*"))


def _has_nvidia_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
