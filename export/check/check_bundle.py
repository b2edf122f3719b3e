"""Whether a bundle's models give PyTorch's maps, in every implementation of ONNX that is at hand.

PyTorch's maps of the golden frames lie in the bundle. For frames that are no photographs the reference is the
fp32 model in ONNX Runtime without optimisation, which has been held against PyTorch before. An int8 model,
whose scales are those of photographs, is its own reference there: it must be the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.bundle import Bundle
from ...runtime.contract import Contract, Precision
from ...runtime.errors import ParityError
from ...runtime.parity import GoldenFrames
from ..frames import FrameSet, in_batches
from ..parity import Parity, compare
from ..tensorrt.build import Say
from .backends import Backend, Runner, backends
from .odd_frames import odd_frames

if TYPE_CHECKING:
    from ..layer_error import LayerError

MOST_AT_ONCE = 4
LAYER_SQNR_DB: Mapping[Precision, float] = {"fp16": 40.0, "int8": 10.0}
"""What a sound node keeps of the fp32 graph's values; half rounds to about 70 dB, int8 to 20 and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A model in one implementation.

    Attributes:
        precision: of the model.
        backend: name of the implementation.
        parity: how its maps agree; None where there are none.
        problem: why there are none, or which tolerance is left; None where all is well.
        failed: whether the bundle fails by it.
        ran: whether the implementation took the model.
    """

    precision: Precision
    backend: str
    ran: bool = True
    parity: Parity | None = None
    problem: str | None = None
    failed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        worst = asdict(self.parity.worst()) if self.parity else None
        return {
            "precision": self.precision,
            "backend": self.backend,
            "frames": len(self.parity.frames) if self.parity else 0,
            "worst": worst,
            "problem": self.problem,
            "failed": self.failed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check found.

    Attributes:
        bundle: its path.
        rows: of each model in each implementation.
        suspects: for each precision that fails, the first node whose output leaves the tolerance.
    """

    bundle: Path
    rows: Sequence[Row]
    suspects: dict[Precision, LayerError | None]

    @property
    def failures(self) -> list[Row]:
        """Give the rows that the bundle fails by."""
        return [row for row in self.rows if row.failed]

    def check(self) -> None:
        """Give the verdict.

        Raises:
            ParityError: a model fails; the first failure is told.
        """
        if self.failures:
            first = self.failures[0]
            raise ParityError(
                f"{self.bundle}: {len(self.failures)} of {len(self.rows)} checks failed; {first.precision} "
                f"in {first.backend}: {first.problem}. Export it again"
            )

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        suspects = {precision: node.to_json() if node else None for precision, node in self.suspects.items()}
        rows = [row.to_json() for row in self.rows]
        return {"bundle": str(self.bundle), "checks": rows, "first_node_out": suspects}


def check_bundle(path: Path, say: Say) -> CheckReport:
    """Check a bundle.

    Args:
        path: of the bundle.
        say: takes the lines that people read.

    Raises:
        ArtifactError: the bundle is damaged.
    """
    with Bundle.open(path) as bundle:
        golden = GoldenFrames.read(bundle.golden_file())
        height, width = golden.pixels.shape[1:3]
        odd = odd_frames((height, width))
        frames = FrameSet(
            names=(*golden.names, *odd.names), pixels=np.concatenate([golden.pixels, odd.pixels])
        )
        rows = []
        for precision in bundle.models:
            references = np.concatenate([golden.maps, _reference_maps(bundle, precision, odd.pixels)])
            for row in _rows(bundle, precision, frames, references):
                rows.append(row)
                say(row_line(row))
        suspects = {precision: _suspect(bundle, precision, golden) for precision in _out_of_tolerance(rows)}
    for precision, node in suspects.items():
        say(suspect_line(precision, node))
    return CheckReport(bundle=path, rows=rows, suspects=suspects)


def row_line(row: Row) -> str:
    """Give a row as a line of the table."""
    label = f"  {row.precision:5} {row.backend:36}"
    if row.parity is None:
        return f"{label} {'FAILED' if row.failed else 'not run'}: {row.problem}"
    worst, count = row.parity.worst(), len(row.parity.frames)
    figures = f"{count:3} frames  max abs {worst.max_abs:8.1e}  CC {worst.cc:.7f}"
    return f"{label} {figures}{f'  FAILED: {row.problem}' if row.failed else ''}"


def suspect_line(precision: Precision, node: LayerError | None) -> str:
    """Say where a model first leaves the fp32 graph."""
    if node is None:
        return f"  {precision}: every node keeps close to the fp32 graph's; the implementation differs"
    return (
        f"  {precision}: the first node out of tolerance is {node.node} ({node.operator}), "
        f"SQNR {node.sqnr_db:.1f} dB"
    )


def _reference_maps(bundle: Bundle, precision: Precision, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute the maps of frames that PyTorch has not seen."""
    measure: Precision = "int8" if precision == "int8" else "fp32"
    return _maps(backends()[0].load(bundle.model(measure)), pixels, bundle.manifest["batch"][0])


def _rows(
    bundle: Bundle, precision: Precision, frames: FrameSet, references: NDArray[np.float32]
) -> Iterator[Row]:
    path, most = bundle.model(precision), bundle.manifest["batch"][1]
    for backend in backends():
        reason = backend.why_not(precision)
        if reason is not None:
            yield Row(precision=precision, backend=backend.name, problem=reason, ran=False)
            continue
        yield _row(precision, backend, path, frames, references, min(most, MOST_AT_ONCE))


def _row(
    precision: Precision,
    backend: Backend,
    path: Path,
    frames: FrameSet,
    references: NDArray[np.float32],
    at_once: int,
) -> Row:
    """Run a model in one implementation; what that raises is a finding, not an error of the check."""
    names = frames.names[: backend.most_frames]
    try:
        maps = _maps(backend.load(path), frames.pixels[: len(names)], at_once)
    except Exception as error:  # each implementation has its own kinds
        reason = f"it refuses the model: {str(error).strip().partition(chr(10))[0]}"
        return Row(
            precision=precision, backend=backend.name, problem=reason, failed=backend.required, ran=False
        )
    try:
        parity = compare(precision, names, maps, references[: len(names)])
        parity.check()
    except ParityError as error:
        return Row(precision=precision, backend=backend.name, problem=str(error), failed=True)
    return Row(precision=precision, backend=backend.name, parity=parity)


def _maps(run: Runner, pixels: NDArray[np.uint8], at_once: int) -> NDArray[np.float32]:
    batches = in_batches(pixels, (at_once, at_once))
    return np.concatenate([run(frames) for frames in batches])[: len(pixels)]


def _out_of_tolerance(rows: Sequence[Row]) -> list[Precision]:
    """Give the precisions whose maps came and are wrong; fp32, which nodes are measured by, is none."""
    found = {row.precision for row in rows if row.failed and row.ran and row.precision != "fp32"}
    return sorted(found)


def _suspect(bundle: Bundle, precision: Precision, golden: GoldenFrames) -> LayerError | None:
    """Name the node of a model that first leaves the fp32 graph."""
    import onnx

    from ..layer_error import first_node_out_of, layer_errors

    fp32, other = (onnx.load(bundle.model(which)) for which in ("fp32", precision))
    contract = Contract.from_metadata({item.key: item.value for item in fp32.metadata_props}, "fp32.onnx")
    errors = layer_errors(fp32, other, contract, golden.pixels)
    return first_node_out_of(errors, LAYER_SQNR_DB[precision])
