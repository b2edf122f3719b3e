"""What a backend is: what it could run here, and what it gives, a loaded model that makes maps of frames.

Each backend is one object with two entry points: `probe` says what it could run here, and where it cannot,
why and what to do; `load` gives the loaded model. `select.py` has the one loop over all of them. A new
backend is a new file and an entry point of the group `saliency_edge.backends`.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..console import warn
from ..contract import Arithmetic, Contract, Precision
from ..errors import BackendError, ContractError, SaliencyError
from ..fit import crop_map, fit_frame, size_hw_of, window_of

Say: TypeAlias = Callable[[str], None]
"""Takes a line for people."""

GPU_TIER, CPU_TIER, EXACT_TIER, REFERENCE_TIER = range(4)
"""Candidates of one tier are compared by speed; a later tier comes in where nothing before it passes."""


def say_nothing(_line: str) -> None:
    """Take a line for people, and drop it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How a model is loaded.

    Attributes:
        backend: name of the one that must run it; `auto` leaves the choice to what is proved here.
        threads: CPU threads per inference; None leaves it to the backend.
        throughput: whether frames wait and nobody waits for a single map, as with files: several inferences
            at once then take longer each and less together.
        strict: whether to fail where another backend, device or precision would have to step in.
        rebuild: whether to build a bundle's engine again where it is missing or not for this machine.
        must_pass: whether maps that are not PyTorch's are an error; a bench measures them, and says so.
        keep_records: whether what is proved is written down for the next start.
        say: takes a line about what was refused, and about what is built.
        inform: takes a line about what was chosen, and why.
    """

    backend: str = "auto"
    threads: int | None = None
    throughput: bool = False
    strict: bool = False
    rebuild: bool = False
    must_pass: bool = True
    keep_records: bool = True
    say: Say = warn
    inform: Say = say_nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """What the user calls MODEL.

    Attributes:
        path: as the user names it.
        bundle: that it is, or lies in; None for a file elsewhere.
        file: the one file that is meant; None for all of a bundle.
        precisions: that are asked for; empty for a file whose precision nobody knows yet.
    """

    path: Path
    bundle: Bundle | None = None
    file: Path | None = None
    precisions: Sequence[Precision] = ()

    def onnx_files(self) -> Mapping[Precision | None, Path]:
        """List the ONNX files by precision; they may be damaged until `verified` has seen them."""
        if self.bundle is not None and (self.file is None or self.file.suffix == ".onnx"):
            return {precision: self.bundle.models[precision].path for precision in self.precisions}
        return {None: self.file} if self.file is not None and self.file.suffix == ".onnx" else {}

    def verified(self, candidate: Candidate) -> Path:
        """Check a candidate's file against the manifest, if it is a bundle's model, and return it.

        Raises:
            ArtifactError: it is missing or damaged.
        """
        if self.bundle is None or candidate.precision is None or candidate.file.suffix != ".onnx":
            return candidate.file
        return self.bundle.model(candidate.precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to run a model here.

    Attributes:
        backend: name of it.
        title: of the backend, for people.
        file: that it runs.
        precision: of that file; None where that is known only once it is loaded.
        arithmetic: that is asked of the backend where it is not the file's own, such as `bf16`.
        sha256: of the file's content, where that is known.
        environment: what a proof depends on besides the bundle: versions, device, driver, threads.
        tier: see `GPU_TIER`.
        problem: why it cannot run here, with what to do.
        expected: whether the user would expect it to run here, so that a problem is worth a line.
        rebuild: builds the file again, and gives the new candidate; None where it cannot be built here.
    """

    backend: str
    title: str
    file: Path
    precision: Precision | None
    arithmetic: Arithmetic | None = None
    sha256: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    tier: int = CPU_TIER
    problem: SaliencyError | None = None
    expected: bool = True
    rebuild: Callable[[Say], Candidate] | None = None

    @property
    def label(self) -> str:
        """Backend, precision and arithmetic, such as `OpenVINO fp16 in bf16`."""
        precision = self.precision or self.file.name
        return f"{self.title} {precision}" + (f" in {self.arithmetic}" if self.arithmetic else "")


def tier_of(precision: Precision | None, files: Mapping[Precision | None, Path], tier: int) -> int:
    """Put fp32 behind the others where there are others: it is what remains when none of them is right."""
    is_last_resort = precision == "fp32" and len(files) > 1 and tier == CPU_TIER
    return EXACT_TIER if is_last_resort else tier


class Backend(Protocol):
    """Something that runs models."""

    name: str
    """As `--backend` takes it."""
    suffixes: tuple[str, ...]
    """Of the files that it runs, beside those in bundles."""

    def probe(self, source: ModelSource, options: LoadOptions, /) -> Sequence[Candidate]:
        """List the ways in which it could run a model here, and those that fail, with the reason.

        It is quick, loads no model and raises nothing for what is missing. It lists nothing for a kind of
        file that it does not run.
        """
        ...

    def load(self, source: ModelSource, candidate: Candidate, options: LoadOptions, /) -> Model:
        """Load a model in one of the ways that `probe` has listed.

        Raises:
            SaliencyError: it cannot.
        """
        ...


class Model(Protocol):
    """A loaded model. One thread at a time may use it."""

    contract: Contract
    description: str
    """Backend, device and precision in a few words, such as `ONNX Runtime 1.31 CPU, fp16`."""
    arithmetic: Arithmetic
    """What it really rounds to between layers."""

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute saliency maps.

        Args:
            frames: (N, H, W, 3) BGR, 0 to 255, H x W and N as in the contract.

        Returns:
            (N, h, w) saliency maps, 0 to 1. The caller owns the array.

        Raises:
            ContractError: the frames' shape is not the contract's.
            BackendError: the backend fails.
        """
        ...

    def close(self) -> None:
        """Release the device; the engine cannot be used afterwards."""
        ...


class Pending(Protocol):
    """Maps that an engine computes while its caller goes on. Another thread may wait for them."""

    def result(self) -> NDArray[np.float32]:
        """Wait for the maps, (N, h, w); the caller owns them.

        Raises:
            BackendError: the backend failed.
        """
        ...


class Inference:
    """An inference under way. Its result may be taken in another thread, once, often or not at all."""

    def __init__(self, wait: Callable[[], NDArray[np.float32]]) -> None:
        """Take what waits for the maps and copies them off the device, or raises a BackendError."""
        self._wait = wait
        self._lock = Lock()
        self._maps: NDArray[np.float32] | None = None
        self._failure: BackendError | None = None

    @property
    def is_complete(self) -> bool:
        """Whether its maps have been taken off the device."""
        return self._maps is not None or self._failure is not None

    def complete(self) -> None:
        """Wait for the maps and take them off the device; a failure is kept for `result`."""
        with self._lock:
            if not self.is_complete:
                try:
                    self._maps = self._wait()
                except BackendError as error:
                    self._failure = error

    def result(self) -> NDArray[np.float32]:
        """Wait for the maps, (N, h, w); the caller owns them.

        Raises:
            BackendError: the inference failed.
        """
        self.complete()
        if self._maps is None:
            assert self._failure is not None
            raise self._failure
        return self._maps


@runtime_checkable
class OverlappingModel(Protocol):
    """A model that takes the next frames in while it computes maps of the last ones."""

    slots: int
    """How many inferences keep it busy."""

    def submit(self, frames: NDArray[np.uint8]) -> Pending:
        """Start to compute saliency maps; see `submit`."""
        ...


@runtime_checkable
class CachingModel(Protocol):
    """A model that can make its next start quicker."""

    def keep(self) -> None:
        """Write what took time to the user's cache; where that cannot be written, nothing is kept."""
        ...


def submit(engine: Model, frames: NDArray[np.uint8]) -> Pending:
    """Start to compute saliency maps, so that copies and inference of neighbouring frames overlap.

    It never waits for whoever takes the results: what is under way for longest is completed if need be.

    Args:
        engine: one without overlap computes the maps at once.
        frames: as for `Model.infer`; not needed after the call.

    Raises:
        ContractError: the frames' shape is not the contract's.
        BackendError: the backend fails.
    """
    if isinstance(engine, OverlappingModel):
        return engine.submit(frames)
    return _Computed(engine.infer(frames))


class _Computed:
    """Maps that are there already."""

    def __init__(self, maps: NDArray[np.float32]) -> None:
        self._maps = maps

    def result(self) -> NDArray[np.float32]:
        return self._maps


def check_frames(frames: NDArray[np.uint8], contract: Contract) -> None:
    """Hold a batch of frames against the contract.

    Raises:
        ContractError: the shape or the dtype differ.
    """
    smallest, largest = contract.batch
    expected = (*contract.size_hw, 3)
    if frames.dtype != np.uint8 or frames.shape[1:] != expected or not smallest <= len(frames) <= largest:
        height, width = contract.size_hw
        raise ContractError(
            f"{contract.network} takes uint8 frames ({smallest} to {largest}, {height}, {width}, 3), "
            f"found {frames.dtype} {frames.shape}"
        )


T = TypeVar("T")


def infer_each(
    engine: Model, batches: Iterable[tuple[T, NDArray[np.uint8]]], *, ahead: bool
) -> Generator[tuple[T, NDArray[np.float32], float], None, None]:
    """Compute the maps of some batches, in order.

    Args:
        engine: no one else may use it meanwhile.
        batches: each with whatever goes with it, and frames as for `Model.infer`.
        ahead: whether an engine that can starts a batch before it gives the maps of the one before. Copies
            and inference overlap then, but a map waits for the next batch to come: not for live sources.

    Yields:
        What went with the batch, its maps, and the seconds from its start until they were there.

    Raises:
        SaliencyError: what `batches` or the engine raised, after the maps of what was started before.
    """
    kept_count = engine.slots - 1 if ahead and isinstance(engine, OverlappingModel) else 0
    under_way: deque[tuple[T, Pending, float]] = deque()
    failure: Exception | None = None
    try:
        for item, frames in batches:
            start_s = time.perf_counter()
            under_way.append((item, submit(engine, frames), start_s))
            if len(under_way) > kept_count:
                yield _completed(*under_way.popleft())
    except Exception as error:
        failure = error
    while under_way:
        yield _completed(*under_way.popleft())
    if failure is not None:
        raise failure


def _completed(item: T, pending: Pending, start_s: float) -> tuple[T, NDArray[np.float32], float]:
    maps = pending.result()
    return item, maps, time.perf_counter() - start_s


def saliency_of(
    engine: Model, image_bgr: NDArray[np.uint8], shown_hw: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """Compute the map of one image.

    Args:
        engine: any.
        image_bgr: (H, W, 3) BGR, 0 to 255.
        shown_hw: the aspect that people saw it at, where its pixels are not square.

    Returns:
        (h, w) in the network's cells; its edges are the image's edges.
    """
    contract = engine.contract
    shown_hw = shown_hw or size_hw_of(image_bgr)
    fitted = fit_frame(image_bgr, contract.size_hw, contract.fit, shown_hw)
    return crop_map(infer_one(engine, fitted), window_of(shown_hw, contract.size_hw, contract.fit))


def infer_one(engine: Model, fitted: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute the map of one frame at the network's size.

    Args:
        engine: any; one whose smallest batch is above 1 gets the frame so many times.
        fitted: (H, W, 3) BGR, 0 to 255.

    Returns:
        (h, w), 0 to 1.
    """
    maps = engine.infer(np.repeat(fitted[np.newaxis], engine.contract.batch[0], axis=0))
    first: NDArray[np.float32] = maps[0]
    return first


ROUNDING_MODEL = Path(__file__).parent / "assets" / "rounding.onnx"
"""Two fp16 convolutions: the first makes sums that fp16 or bf16 cannot hold, the second takes them apart."""
_ROUNDING_INPUT = np.array([2048, 1, 256, 1], np.float32).reshape(1, 4, 1, 1)


def arithmetic_of_fp16(run: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Arithmetic:
    """Find out what a backend rounds to between the layers of an fp16 model, by letting it do so.

    2048 + 1 is 2048 in fp16, which has 11 bits, and 256 + 1 is 256 in bf16, which has 8.

    Args:
        run: what computes `ROUNDING_MODEL` as the backend would compute an fp16 model.
    """
    kept_2049, kept_257 = run(_ROUNDING_INPUT).ravel() > 0.5
    if kept_2049:
        return "fp32"
    return "fp16" if kept_257 else "bf16"


def installed_version(module: str) -> str | None:
    """Look up the version of an installed package without importing it; None where it is not installed.

    The package itself is read where the metadata knows it by another name: ONNX Runtime comes as onnxruntime,
    onnxruntime-gpu and others.
    """
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    with suppress(PackageNotFoundError):
        return version(module)
    found = re.search(
        r"^__version__ = .([\w.+-]+)", Path(spec.origin).read_text(encoding="utf-8"), re.MULTILINE
    )
    return found[1] if found else "of unknown version"
