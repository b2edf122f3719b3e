"""The finished int8 graph in every runtime that is installed: the same file, computed by others.

The search measures a twin in ONNX Runtime whose arithmetic is a device's. What a runtime makes of the file is
another matter: it fuses and rounds in its own way, and may be wrong (docs/adr/070-int8-without-concat.md). So
the gate judges the file itself in each of them, on its own frames and on edge-case frames. Where one fails,
the layer without which it errs least is left in fp16, a few times; then int8 is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.artifact import temporary_folder
from ...runtime.errors import ParityError
from ...runtime.progress import progress
from ..check.backends import Backend, backends, batched_maps
from ..check.edge_cases import ResponseReference
from ..frames import FrameSet
from ..parity import compare
from .results import GateFigures, ParetoPoint, gate_figures, plain

if TYPE_CHECKING:
    import onnx

    from .gate import Gate
    from .trials import Trials

MOST_REPAIRS = 3
"""Layers that are left in fp16 for a runtime's sake, at most."""
_WORST_FRAMES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeVerdict:
    """What the gate says of the finished graph in one runtime.

    Attributes:
        runtime: its name, with what is special about this run.
        figures: of its maps on the gate's frames; None where it refuses the graph.
        response_error: largest error on edge-case frames, see `ResponseReference.errors`; None as above.
        failures: what lies outside the gate's limits; empty where it passes or does not run the graph.
        refusal: why it does not run the graph; empty where it does.
    """

    runtime: str
    figures: GateFigures | None = None
    response_error: float | None = None
    failures: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def passed(self) -> bool:
        """Whether the graph runs there and passes the gate."""
        return self.figures is not None and not self.failures

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, for the manifest."""
        return {
            "passed": self.passed,
            "figures": plain(self.figures) if self.figures else None,
            "edge_case_error": None if self.response_error is None else float(f"{self.response_error:.4g}"),
            "failures": list(self.failures),
            "refusal": self.refusal,
        }


class RuntimeGate:
    """Judges finished int8 graphs in all runtimes that are installed."""

    def __init__(self, gate: Gate, fp32: onnx.ModelProto) -> None:
        """Measure the fp32 graph's response to edge-case frames.

        Args:
            gate: the limits, frames and PyTorch's maps.
            fp32: the fp32 graph.
        """
        self._gate = gate
        self._batch = gate.contract.batch
        self._responses = ResponseReference.measure(fp32, gate.frames.pixels, self._batch)
        self._backends = [each for each in backends() if each.judges_int8 and each.why_not("int8") is None]

    def judge(self, model: onnx.ModelProto) -> tuple[RuntimeVerdict, ...]:
        """Judge a graph as it would be shipped, in each runtime."""
        verdicts = []
        with progress("int8: runtimes judged", len(self._backends)) as advance:
            for backend in self._backends:
                verdicts.append(self._verdict(backend, model))
                advance()
        return tuple(verdicts)

    def error(self, runtime: str, model: onnx.ModelProto, frames: Sequence[str]) -> tuple[float, float]:
        """How far a graph is outside the limits in one runtime: what a repair lowers.

        Args:
            runtime: name of the runtime.
            model: the graph.
            frames: names of the gate's frames that are looked at.

        Returns:
            The largest of KLDiv and edge-case error, each as a share of its limit, and the mean KLDiv.
        """
        backend = next(each for each in self._backends if each.name == runtime)
        verdict = self._verdict(backend, model, frames)
        if verdict.figures is None or verdict.response_error is None:
            return np.inf, np.inf
        worst = verdict.figures.kldiv_worst / max(self._gate.limits.kldiv_worst, 1e-12)
        edge_cases = verdict.response_error / max(self._gate.limits.edge_cases, 1e-12)
        return max(worst, edge_cases), verdict.figures.kldiv_mean

    def _verdict(
        self, backend: Backend, model: onnx.ModelProto, names: Sequence[str] | None = None
    ) -> RuntimeVerdict:
        gate = self._gate
        places = [place for place, name in enumerate(gate.frames.names) if names is None or name in names]
        frames = FrameSet(
            names=tuple(gate.frames.names[place] for place in places), pixels=gate.frames.pixels[places]
        )
        try:
            with temporary_folder("int8") as folder:
                path = folder / "int8.onnx"
                path.write_bytes(model.SerializeToString())
                maps = batched_maps(backend.load(path), frames.pixels, self._batch)
            errors = self._responses.errors_of(model, backend.load, self._batch)
        except Exception as error:  # each runtime has its own kinds
            reason = str(error).strip().partition("\n")[0]
            refused = (f"refuses the graph: {reason}",) if backend.required else ()
            return RuntimeVerdict(runtime=backend.name, refusal=reason, failures=refused)
        try:
            parity = compare("int8", frames.names, maps, gate.references[places])
        except ParityError as error:
            return RuntimeVerdict(runtime=backend.name, failures=(str(error),), refusal="NaN")
        figures = gate_figures(parity.frames)
        failures = figures.failures(gate.limits) if names is None else []
        name = max(errors, key=errors.__getitem__)
        if not errors[name] <= gate.limits.edge_cases:
            failures.append(f"response to {name} wrong by {errors[name]:.2g} > {gate.limits.edge_cases:g}")
        return RuntimeVerdict(
            runtime=backend.name, figures=figures, response_error=errors[name], failures=tuple(failures)
        )


def pass_in_runtimes(
    trials: Trials, chosen: ParetoPoint, gate: RuntimeGate
) -> tuple[ParetoPoint, tuple[RuntimeVerdict, ...], Mapping[str, str]]:
    """Leave further layers in fp16 until the finished graph passes in every runtime.

    Args:
        trials: what the gate says of sets of layers.
        chosen: the set that passes it in the reference arithmetic.
        gate: of the runtimes.

    Returns:
        The set, what each runtime says of it, and the layers left in fp16 with the runtime's name. Where it
        still fails somewhere, the verdicts say so.

    Raises:
        ParityError: a map of the reference holds NaN.
    """
    kept = list(chosen.kept_nodes)
    verdicts = gate.judge(trials.model(frozenset(kept)))
    repairs: dict[str, str] = {}
    while (failed := next((each for each in verdicts if each.failures), None)) is not None:
        in_int8 = [layer.node for layer in trials.start.recipe.layers if layer.node not in kept]
        if len(repairs) == MOST_REPAIRS or len(in_int8) < 2 or not trials.left or failed.figures is None:
            break
        frames = failed.figures.worst_frames[:_WORST_FRAMES]
        with progress(f"int8: layers left in fp16 in {failed.runtime}", len(in_int8)) as advance:
            errors = {}
            for node in in_int8:
                model = trials.model(frozenset([*kept, node]))
                errors[node] = gate.error(failed.runtime, model, frames)
                advance()
        node = min(errors, key=errors.__getitem__)
        point = trials.attempt([*kept, node], f"{node} left in fp16 for {failed.runtime}")
        if not point.passed:
            break
        kept.append(node)
        repairs[node] = failed.runtime
        chosen, verdicts = point, gate.judge(trials.model(frozenset(kept)))
    return chosen, verdicts, repairs
