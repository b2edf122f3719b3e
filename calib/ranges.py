"""Activation ranges: what int8 scales are chosen from, with the content that they belong to as their key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, get_args

from msgspec import Meta

from ..runtime.artifact import write_json
from ..runtime.errors import ArtifactError, ContractError
from ..runtime.records import Count, Side, check_schema, read_json, to_record
from .graph import model_hash, size_hw_of_model, weights_hash

if TYPE_CHECKING:
    import onnx

Observer = Literal["minmax", "percentile_99.9", "percentile_99.99", "percentile_99.999", "entropy", "mse"]
Step = Literal["eighth", "quarter", "half"]
OBSERVERS: tuple[Observer, ...] = get_args(Observer)

SCHEMA = 1
METHOD = "magnitudes in 512 bins an octave; entropy of 2048 bins without zeros; mse over 231 thresholds"
"""How thresholds are found, parameters and all: ranges that another method found are stale."""

_REMEDY = "Compute them again: saliency-calib ranges MODEL SOURCE... --output FILE"
_DIGITS = 6
_ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRange:
    """What values one tensor took.

    Attributes:
        minimum: smallest value.
        maximum: largest value.
        thresholds: where each observer would clip, symmetrically, in the tensor's units, above 0: a scale
            is a threshold / 127.
    """

    minimum: float
    maximum: float
    thresholds: Mapping[Observer, Annotated[float, Meta(gt=0)]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RangesKey:
    """What the numbers depend on.

    Attributes:
        model_sha256: of the fp32 graph, as `graph.model_hash` takes it.
        weights_sha256: of its weights alone, to tell which of the two differs.
        size_hw: of its frames, in pixels.
        frames_sha256: of each frame's pixels at that size, 16 hexadecimal digits, sorted.
        method: `METHOD` of the version that made them.
        versions: of onnxruntime and numpy. They are recorded, and not compared: others round differently
            by less than the digits that are kept.
    """

    model_sha256: str
    weights_sha256: str
    size_hw: tuple[Side, Side]
    frames_sha256: tuple[str, ...]
    method: str
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How far an observer's thresholds on part of the frames lie from those on all of them.

    Attributes:
        observer: which.
        step: how large that part is, roughly.
        frames: how many frames the part has.
        tensor: whose threshold lies farthest.
        relative: how far, as a share of the threshold on all frames.
    """

    observer: Observer
    step: Step
    frames: int
    tensor: str
    relative: float


class _File(TypedDict):
    """The file."""

    schema: int
    key: RangesKey
    frames: Count
    tensors: dict[str, TensorRange]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationRanges:
    """Ranges of a graph's tensors on some frames.

    Attributes:
        key: what they depend on.
        frames: how many frames were seen.
        tensors: ranges by the tensor's name: the activation inputs of every Conv, all inputs of every Concat.
        changes: how they converged with the number of frames; `audit.py` reads them.
        origin: what to call them in an error: the file that they were read from.
    """

    key: RangesKey
    frames: int
    tensors: Mapping[str, TensorRange]
    changes: tuple[Change, ...] = ()
    origin: str = field(default="the ranges", compare=False)

    def save(self, path: Path) -> None:
        """Write them as JSON, whole or not at all; figures keep 6 digits.

        Raises:
            OutputError: the file cannot be written.
        """
        write_json(
            path,
            {
                "schema": SCHEMA,
                "key": asdict(self.key),
                "frames": self.frames,
                "tensors": {name: _rounded(asdict(tensor)) for name, tensor in self.tensors.items()},
                "changes": [_rounded(asdict(change)) for change in self.changes],
            },
        )

    @classmethod
    def load(cls, path: Path) -> ActivationRanges:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the file is missing, damaged, or of another version.
        """
        content = check_schema(
            read_json(path, remedy=_REMEDY), SCHEMA, str(path), "a file of activation ranges", remedy=_REMEDY
        )
        file = to_record(content, _File, str(path), remedy=_REMEDY)
        for name, tensor in file["tensors"].items():
            if missing := set(OBSERVERS).difference(tensor.thresholds):
                raise ArtifactError(f"{path}: {name} has no threshold of {min(missing)}. {_REMEDY}")
        return cls(
            key=file["key"],
            frames=file["frames"],
            tensors=file["tensors"],
            changes=file["changes"],
            origin=str(path),
        )

    def check(self, model: onnx.ModelProto, frames_sha256: Sequence[str] | None = None) -> None:
        """Check them against the graph that is to be quantised.

        Args:
            model: the fp32 graph.
            frames_sha256: hashes of the frames that they should come from, sorted; `None`: of any.

        Raises:
            ContractError: they belong to another size, weights, graph, frames or method; it says which.
        """
        difference = self._difference(model, frames_sha256)
        if difference is not None:
            raise ContractError(f"{self.origin}: {difference}. {_REMEDY}")

    def _difference(self, model: onnx.ModelProto, frames_sha256: Sequence[str] | None) -> str | None:
        key, size_hw = self.key, size_hw_of_model(model)
        if key.size_hw != size_hw:
            made, wanted = ("x".join(map(str, size)) for size in (key.size_hw, size_hw))
            return f"made for frames of {made}, the model takes {wanted}"
        if key.weights_sha256 != (found := weights_hash(model)):
            return f"made for weights {key.weights_sha256[:8]}…, the model's are {found[:8]}…"
        if key.model_sha256 != (found := model_hash(model)):
            return (
                f"made for graph {key.model_sha256[:8]}…, the model's is {found[:8]}… with the same weights"
            )
        if key.method != METHOD:
            return f"made by the method {key.method!r}, this version's is {METHOD!r}"
        if frames_sha256 is not None and key.frames_sha256 != tuple(frames_sha256):
            common = len(set(key.frames_sha256) & set(frames_sha256))
            return (
                f"made from {self.frames} frames, of which {common} are among the {len(frames_sha256)} given"
            )
        return None


def shipped_ranges(network: str) -> Path | None:
    """Find the ranges that ship for a network's shipped weights; None where there are none."""
    path = ranges_path(network)
    return path if path.is_file() else None


def ranges_path(network: str) -> Path:
    """Name the file in which a network's ranges ship, whether it is there or not."""
    return _ASSETS / f"{network}.ranges.json"


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
