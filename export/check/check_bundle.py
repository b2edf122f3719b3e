"""Whether a bundle's models give PyTorch's maps, in every implementation of ONNX that is at hand.

PyTorch's maps of the golden frames lie in the bundle. For edge-case frames, which are no photographs, the
reference is the fp32 model in ONNX Runtime without optimisation, which has been compared with PyTorch before.
Of an int8 model the response to them is compared, before the output is scaled: see `edge_cases.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.bundle import Bundle
from ...runtime.contract import Contract, Precision
from ...runtime.errors import ParityError
from ...runtime.parity import GoldenFrames
from ..frames import FrameSet
from ..parity import Parity, compare
from ..tensorrt.build import Say
from .backends import Backend, backends, batched_maps
from .edge_cases import MAX_INT8_RESPONSE_ERROR, ResponseReference, edge_case_frames

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
        response_error: largest error of an int8 model's response to edge-case frames, as a share of the
            response to photographs; None for other precisions, or where there is none.
        problem: why there are none, or which tolerance is left; None where all is well.
        failed: whether the bundle fails by it.
        ran: whether the implementation took the model.
    """

    precision: Precision
    backend: str
    ran: bool = True
    parity: Parity | None = None
    response_error: float | None = None
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
            "response_error": self.response_error,
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
        real = FrameSet(names=golden.names, pixels=golden.pixels)
        references = _References(bundle, golden)
        rows = []
        for precision in bundle.models:
            for row in _rows(bundle, precision, real, references):
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
    if row.response_error is not None:
        figures += f"  edge cases {row.response_error:.3f}"
    return f"{label} {figures}{f'  FAILED: {row.problem}' if row.failed else ''}"


def suspect_line(precision: Precision, node: LayerError | None) -> str:
    """Say where a model first leaves the fp32 graph."""
    if node is None:
        return f"  {precision}: every node keeps close to the fp32 graph's; the implementation differs"
    return (
        f"  {precision}: the first node out of tolerance is {node.node} ({node.operator}), "
        f"SQNR {node.sqnr_db:.1f} dB"
    )


class _References:
    """What maps are compared with: PyTorch's of golden frames, the fp32 model's of edge-case frames."""

    def __init__(self, bundle: Bundle, golden: GoldenFrames) -> None:
        import onnx

        self.golden = golden.maps
        self.edge_cases = edge_case_frames((golden.pixels.shape[1], golden.pixels.shape[2]))
        self.batch: tuple[int, int] = tuple(bundle.manifest["batch"])
        fp32 = bundle.model("fp32")
        self.edge_case_maps = batched_maps(backends()[0].load(fp32), self.edge_cases.pixels, self._at_once(1))
        self.responses = None
        if "int8" in bundle.models:
            self.responses = ResponseReference.measure(onnx.load(fp32), golden.pixels, self._at_once(1))

    def _at_once(self, most: int) -> tuple[int, int]:
        count = max(self.batch[0], min(self.batch[1], most))
        return count, count


def _rows(bundle: Bundle, precision: Precision, real: FrameSet, references: _References) -> Iterator[Row]:
    path, most = bundle.model(precision), min(bundle.manifest["batch"][1], MOST_AT_ONCE)
    for backend in backends():
        reason = backend.why_not(precision)
        if reason is not None:
            yield Row(precision=precision, backend=backend.name, problem=reason, ran=False)
        elif precision == "int8":
            yield _int8_row(backend, path, real, references, most)
        else:
            edge = references.edge_cases
            frames = FrameSet(
                names=(*real.names, *edge.names), pixels=np.concatenate([real.pixels, edge.pixels])
            )
            expected = np.concatenate([references.golden, references.edge_case_maps])
            yield _row(precision, backend, path, frames, expected, most)


def _int8_row(backend: Backend, path: Path, real: FrameSet, references: _References, at_once: int) -> Row:
    """Compare maps of real frames, and responses to edge-case frames."""
    import onnx

    row = _row("int8", backend, path, real, references.golden, at_once)
    if row.parity is None or references.responses is None:
        return row
    batch = (at_once, at_once)
    errors = references.responses.errors_of(onnx.load(path), backend.load, batch)
    maps = batched_maps(backend.load(path), references.edge_cases.pixels, batch)
    name = max(errors, key=errors.__getitem__)
    row = replace(row, response_error=errors[name])
    if not (np.isfinite(maps).all() and maps.min() >= 0 and maps.max() <= 1):
        return replace(row, problem="maps of edge-case frames are not within 0 to 1", failed=True)
    if not errors[name] <= MAX_INT8_RESPONSE_ERROR:
        problem = (
            f"its response to {name} is wrong by {errors[name]:.2f} of the response to photographs "
            f"(at most {MAX_INT8_RESPONSE_ERROR})"
        )
        return replace(row, problem=problem, failed=True)
    return row


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
        maps = batched_maps(backend.load(path), frames.pixels[: len(names)], (at_once, at_once))
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
