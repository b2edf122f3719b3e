"""Records of proof: what the golden check has found about a candidate on this machine, kept on disk.

They lie in the bundle, or in the user's cache where the bundle is a .zip or read-only. A record holds for
what it is keyed by, and no longer: the model's and the golden frames' content, what was promised about them,
the backend and its version, the processor or the GPU with its driver, the threads, and our own rule.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from msgspec import Meta

from ..artifact import write_json
from ..errors import ArtifactError, OutputError
from ..machine import cache_folder
from ..parity import TOLERANCES, GoldenReport
from ..records import check_schema, read_json, to_record
from .backend import Candidate, ModelSource

RECORDS_NAME = "proofs.json"
_SCHEMA = 1
_MOST = 256  # kept in a file; the oldest go
_DIGITS = 6

Verdict = Literal["passed", "refused", "slower"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What is known about a candidate on this machine.

    Attributes:
        key: digest of all that it depends on.
        label: of the candidate, for people who read the file.
        verdict: `passed`; `refused`, its maps are not PyTorch's; `slower`, it was not looked at any further.
        latency_ms: median of one inference, from a frame in host memory to its map there.
        max_abs: largest absolute difference of a cell over the golden frames; None where it is `slower`.
        cc: smallest correlation; None as above.
        kldiv: largest Kullback-Leibler divergence from PyTorch's map, in nats; None as above.
        problem: what is wrong, where it is refused.
    """

    key: str
    label: str
    verdict: Verdict
    latency_ms: Annotated[float, Meta(gt=0)]
    max_abs: float | None = None
    cc: float | None = None
    kldiv: float | None = None
    problem: str | None = None

    @classmethod
    def of(cls, key: str, label: str, report: GoldenReport) -> Proof:
        """Sum up a golden check."""
        return cls(
            key=key,
            label=label,
            verdict="passed" if report.passed else "refused",
            latency_ms=round(report.latency_ms, 3),
            max_abs=_rounded(report.max_abs),
            cc=_rounded(report.cc),
            kldiv=_rounded(report.kldiv),
            problem=report.problem,
        )


class _File(TypedDict):
    """The file."""

    schema: int
    proofs: list[Proof]


def key_of(candidate: Candidate, source: ModelSource) -> str | None:
    """Digest all that a proof of a candidate depends on; None where there is nothing to prove it with."""
    bundle = source.bundle
    if bundle is None or candidate.precision is None:
        return None
    model = bundle.models.get(candidate.precision)
    parts = {
        "schema": _SCHEMA,
        "rule": repr(TOLERANCES),
        "model": candidate.sha256 or (model.sha256 if model is not None else None),
        "golden": bundle.golden.sha256,
        "promises": promises_of(source, candidate),
        "backend": candidate.backend,
        "file": candidate.file.name,
        "arithmetic": candidate.arithmetic,
        "environment": dict(candidate.environment),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def promises_of(source: ModelSource, candidate: Candidate) -> Mapping[str, Mapping[str, float]]:
    """Read what the export has measured of an int8 model, by frame; empty where the manifest lacks it."""
    if source.bundle is None or candidate.precision != "int8":
        return {}
    try:
        frames = source.bundle.manifest["parity"]["int8"]["frames"]
        return {
            str(name): {figure: float(values[figure]) for figure in ("max_abs", "cc", "kldiv")}
            for name, values in frames.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


class Records:
    """The proofs of one bundle. A file that is damaged is taken for an empty one, and written again."""

    def __init__(self, source: ModelSource) -> None:
        """Read what is there, beside the bundle and in the user's cache."""
        self._paths = _places(source)
        self._proofs: dict[str, Proof] = {}
        for path in self._paths:
            self._proofs.update(_read(path))

    def find(self, key: str | None) -> Proof | None:
        """Look a proof up."""
        return self._proofs.get(key) if key is not None else None

    def add(self, *proofs: Proof) -> None:
        """Keep proofs; where neither place can be written, they are made again next time."""
        self._proofs.update({proof.key: proof for proof in proofs})
        for path in self._paths:
            others = {key: proof for key, proof in _read(path).items() if key not in self._proofs}
            kept = list({**others, **self._proofs}.values())[-_MOST:]
            try:
                write_json(path, {"schema": _SCHEMA, "proofs": [asdict(proof) for proof in kept]})
            except OutputError:
                continue
            return


def _places(source: ModelSource) -> list[Path]:
    """Name the files that may hold records, the preferred one first."""
    bundle = source.bundle
    if bundle is None:
        return []
    name = hashlib.sha256(bundle.golden.sha256.encode()).hexdigest()[:16]
    cached = cache_folder() / "proofs" / f"{bundle.network}-{name}.json"
    return [cached] if bundle.unpacked is not None else [bundle.folder / RECORDS_NAME, cached]


def _read(path: Path) -> dict[str, Proof]:
    """Read a file of proofs strictly: half of one proves nothing."""
    try:
        values = check_schema(read_json(path), _SCHEMA, str(path), "a file of proofs")
        proofs = to_record(values, _File, str(path))["proofs"]
    except ArtifactError:
        return {}
    return {proof.key: proof for proof in proofs}


def _rounded(value: float) -> float | None:
    return round(value, _DIGITS) if abs(value) != float("inf") else None
