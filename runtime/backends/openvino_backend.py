"""OpenVINO: an ONNX file on the CPU, in int8, fp32 or the half precision that the processor has."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..artifact import atomic_file, sha256_of
from ..contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, Arithmetic, Contract, Precision
from ..errors import ArtifactError, BackendError, ContractError, OutputError
from ..machine import cache_folder, cpu_features, processor, usable_cores
from .backend import (
    CPU_TIER,
    ROUNDING_MODEL,
    Candidate,
    Inference,
    LoadOptions,
    ModelSource,
    arithmetic_of_fp16,
    check_frames,
    installed_version,
    tier_of,
)

if TYPE_CHECKING:
    import openvino

NOT_INSTALLED = "openvino is not installed. Add it: pip install 'saliency-edge[openvino]'"
# Instruction sets with which OpenVINO computes in half the bits; elsewhere it would only emulate them.
_FEATURES: Mapping[Arithmetic, frozenset[str]] = {
    "bf16": frozenset({"avx512_bf16", "amx_bf16"}),
    "fp16": frozenset({"asimdhp", "avx512_fp16", "amx_fp16"}),
}
_HINTS: Mapping[Arithmetic | None, str] = {None: "f32", "bf16": "bf16", "fp16": "f16"}
_HASH_CHARACTERS = 64
_FOLDER = "openvino"
_MOST_KEPT = 16


class OpenVinoBackend:
    """OpenVINO's CPU plug-in."""

    name = "openvino"
    suffixes: tuple[str, ...] = (".onnx",)

    def probe(self, source: ModelSource, options: LoadOptions) -> Sequence[Candidate]:
        """List a bundle's precisions, and bf16 or fp16 arithmetic where the processor has it."""
        files, version = source.onnx_files(), installed_version("openvino")
        return [
            Candidate(
                backend=self.name,
                title="OpenVINO",
                file=file,
                precision=precision,
                arithmetic=arithmetic,
                environment={
                    "version": str(version),
                    "device": processor(),
                    "threads": str(options.threads or usable_cores()),
                },
                tier=tier_of(precision, files, CPU_TIER),
                problem=None if version else BackendError(NOT_INSTALLED),
                expected=version is not None,
            )
            for precision, file in files.items()
            for arithmetic in _arithmetics(precision)
        ]

    def load(self, source: ModelSource, candidate: Candidate, options: LoadOptions) -> OpenVinoModel:
        """Load an ONNX file; see `Backend.load`."""
        return OpenVinoModel.load(
            source.verified(candidate),
            arithmetic=candidate.arithmetic,
            threads=options.threads,
            throughput=options.throughput,
        )


def _arithmetics(precision: Precision | None) -> Iterator[Arithmetic | None]:
    """List what may be asked for beside the file's own precision; fp32 is asked for to be exact."""
    yield None
    if precision in ("fp16", "int8"):
        for arithmetic, features in _FEATURES.items():
            if features & cpu_features():
                yield arithmetic


class OpenVinoModel:
    """An ONNX file in OpenVINO, with an inference request more than it computes at once."""

    def __init__(
        self,
        compiled: openvino.CompiledModel,
        contract: Contract,
        arithmetic: Arithmetic,
        version: str,
        kind: str,
        place: Path | None = None,
    ) -> None:
        """Take a compiled model that fulfils `contract`, and where it can be kept; `load` makes both."""
        self.contract = contract
        self.arithmetic = arithmetic
        self.description = f"OpenVINO {version} CPU, {kind}"
        self._compiled, self._place = compiled, place
        # One more than are computed at once: it is there when one of them ends.
        self.slots = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) + 1
        self._slots = deque(_Slot(compiled, self) for _ in range(self.slots))  # the longest unused first

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        arithmetic: Arithmetic | None = None,
        threads: int | None = None,
        throughput: bool = False,
    ) -> OpenVinoModel:
        """Load an ONNX file with its contract.

        Args:
            path: of the `.onnx`.
            arithmetic: `bf16` or `fp16` to be computed in that; None computes what is not int8 in fp32.
            threads: CPU threads; None leaves it to OpenVINO: one for each core.
            throughput: several inferences at once, on few threads each, in the place of one on all of them.

        Raises:
            ArtifactError: the file is missing, empty, cut off or no ONNX.
            ContractError: it carries no contract, or its graph does not keep it.
            BackendError: openvino is not installed, or computes in something else than was asked for.
        """
        ov = _openvino()
        if not path.is_file():
            raise ArtifactError(f"no such file: {path}. Make it with saliency-export")
        core = openvino_core()
        config = {
            "PERFORMANCE_HINT": "THROUGHPUT" if throughput else "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[arithmetic],
        }
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            with _silent_stderr():
                graph = core.read_model(path)
        except RuntimeError as error:
            raise ArtifactError(
                f"{path} is damaged or no ONNX model ({_last_line(error)}). "
                "Make it again with saliency-export"
            ) from error
        contract = Contract.from_metadata(_metadata(graph), str(path))
        _check_graph(graph, contract, path)
        version = str(ov.__version__).partition("-")[0]
        try:
            place = _cached(f"{sha256_of(path)} {version} {processor()}", config)
            kept = _load_kept(core, place, config)
            compiled = kept or core.compile_model(graph, "CPU", config)
            real = _real_arithmetic(core, contract.precision, config)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO {version} refuses {path}: {_last_line(error)}") from error
        if arithmetic is not None and contract.precision == "fp16" and real != arithmetic:
            raise BackendError(f"OpenVINO {version} computes fp16 in {real} here, not in {arithmetic}")
        kind = f"{contract.precision}{f' in {arithmetic}' if arithmetic else ''}"
        return cls(compiled, contract, real, version, kind, None if kept else place)

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute saliency maps, (N, H, W, 3) to (N, h, w); see `Model.infer`."""
        return self.submit(frames).result()

    def submit(self, frames: NDArray[np.uint8]) -> Inference:
        """Start to compute saliency maps, behind the ones that are under way; see `backend.submit`."""
        check_frames(frames, self.contract)
        self._slots.rotate(-1)
        return self._slots[-1].submit(frames)

    def keep(self) -> None:
        """Write the compiled model to the user's cache; see `CachingModel`."""
        if self._place is None:
            return
        content = self._compiled.export_model().getvalue()
        with suppress(OutputError):
            with atomic_file(self._place) as temporary:
                temporary.write_bytes(hashlib.sha256(content).hexdigest().encode() + content)
            self._place = None
            _remove_oldest(cache_folder() / _FOLDER)

    def close(self) -> None:
        """Complete what is under way, and release the memory."""
        for slot in self._slots:
            slot.complete()
        self._slots.clear()
        del self._compiled


class _Slot:
    """An inference request and what it is doing."""

    def __init__(self, compiled: openvino.CompiledModel, model: OpenVinoModel) -> None:
        self._request = compiled.create_infer_request()
        self._description = model.description
        self._last: Inference | None = None

    def submit(self, frames: NDArray[np.uint8]) -> Inference:
        self.complete()
        try:
            self._request.start_async({INPUT_NAME: frames}, share_inputs=False)
        except RuntimeError as error:
            raise self._failure(error) from error
        self._last = Inference(self._wait)
        return self._last

    def complete(self) -> None:
        if self._last is not None:
            self._last.complete()

    def _wait(self) -> NDArray[np.float32]:
        try:
            self._request.wait()
        except RuntimeError as error:
            raise self._failure(error) from error
        return np.array(self._request.get_output_tensor(0).data, np.float32)

    def _failure(self, error: RuntimeError) -> BackendError:
        return BackendError(f"{self._description} failed: {_last_line(error)}")


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise BackendError(NOT_INSTALLED) from error
    return openvino


@cache
def openvino_core() -> Any:
    """The one `openvino.Core` of this process, which is never destroyed.

    Its CPU plug-in gives the thread that loads it another stack for signal handlers, and puts the one before
    back when it goes. With two that go in another order than they came, that is memory which is free by then:
    the next signal, such as Ctrl-C, ends the process with SIGSEGV (seen with 2026.4).

    Raises:
        BackendError: openvino is not installed.
    """
    return _openvino().Core()


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep what protobuf prints about a damaged file off the terminal; the error that is raised says it."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _metadata(graph: Any) -> dict[str, str]:
    """Read the contract out of the file's `metadata_props`, which OpenVINO keeps as run-time information."""
    place = ["framework", METADATA_KEY]
    return {METADATA_KEY: str(graph.get_rt_info(place).value)} if graph.has_rt_info(place) else {}


def _check_graph(graph: Any, contract: Contract, path: Path) -> None:
    """Compare the graph's own inputs and outputs with the contract that it carries."""
    smallest, largest = contract.batch
    batch = smallest if smallest == largest else -1
    expected = {
        INPUT_NAME: ("u8", (batch, *contract.size_hw, 3)),
        OUTPUT_NAME: ("f32", (batch, *contract.map_size_hw)),
    }
    found = {
        port.get_any_name(): (
            port.get_element_type().to_string(),
            tuple(side.get_length() if side.is_static else -1 for side in port.get_partial_shape()),
        )
        for port in (*graph.inputs, *graph.outputs)
    }
    if found != expected:
        raise ContractError(f"{path} has {found}, its contract says {expected}. Make it with saliency-export")


def _real_arithmetic(core: Any, precision: Precision, config: Mapping[str, str]) -> Arithmetic:
    """What the configuration does to an fp16 model, seen by an example; int8 and fp32 are what they are."""
    if precision != "fp16":
        return precision
    compiled = core.compile_model(core.read_model(ROUNDING_MODEL), "CPU", dict(config))
    return arithmetic_of_fp16(lambda values: np.array(compiled([values])[0]))


def _cached(key: str, config: Mapping[str, str]) -> Path:
    """Name the file that a compiled model is kept in."""
    digest = hashlib.sha256(f"{key} {sorted(config.items())}".encode()).hexdigest()
    return cache_folder() / _FOLDER / f"{digest[:32]}.blob"


def _load_kept(core: Any, path: Path, config: Mapping[str, str]) -> openvino.CompiledModel | None:
    """Load a compiled model that an earlier run has kept; None where there is none that is whole.

    OpenVINO's own cache (`CACHE_DIR`) loads a file with wrong bits without a word, and its maps are wrong:
    `docs/adr/063-our-own-cache-of-compiled-models.md`. Here a hash stands before the content.
    """
    content = _read_checked(path)
    if content is None:
        return None
    try:
        return core.import_model(io.BytesIO(content), "CPU", dict(config))
    except RuntimeError:  # of a build whose format differs though its version does not
        return None


def _remove_oldest(folder: Path) -> None:
    """Keep the newest compiled models alone."""
    with suppress(OSError):
        blobs = sorted(folder.glob("*.blob"), key=lambda path: path.stat().st_mtime)
        for path in blobs[:-_MOST_KEPT]:
            path.unlink()


def _read_checked(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, content = content[:_HASH_CHARACTERS], content[_HASH_CHARACTERS:]
    return content if hashlib.sha256(content).hexdigest().encode() == digest else None


def _last_line(error: Exception) -> str:
    """What is said last in OpenVINO's messages; before it stand its own source lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it does not say why"
