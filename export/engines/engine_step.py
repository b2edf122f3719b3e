"""Building a bundle's engines, and saying so. Runs on the device too: neither torch nor onnx is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.backends.tensorrt.receipt import BuildOptions
from ...runtime.contract import Precision
from ...runtime.errors import BackendError, UsageError

if TYPE_CHECKING:
    from .build_engine import EngineReport
    from .tensorrt_api import Flavour

Say = Callable[[str], None]
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlan:
    """What engines are to be built.

    Attributes:
        flavour: what to build with; `auto` builds nothing where nothing can be used.
        targets: compute capabilities such as `sm86`; none leaves them to the builder.
        options: how they are built.
    """

    flavour: Flavour
    targets: tuple[str, ...]
    options: BuildOptions = field(default_factory=BuildOptions)


def check_plan(precisions: Sequence[Precision], plan: EnginePlan) -> None:
    """See that a plan can be, before any other work is done.

    Raises:
        UsageError: a target is unknown, or an option is not this flavour's.
        BackendError: the flavour cannot be used here.
    """
    from ...runtime.machine import find_gpu
    from .build_targets import choose_targets
    from .tensorrt_api import choose

    api = choose(plan.flavour)
    if api is not None:
        api.check_options(plan.options)
        for precision in precisions:
            choose_targets(api, find_gpu(), plan.targets, precision)


def build_all(
    bundle: Path, precisions: Sequence[Precision], plan: EnginePlan, say: Say
) -> list[EngineReport]:
    """Build a bundle's engines of some precisions, where that can be done here.

    Args:
        bundle: the bundle's folder.
        precisions: of its models.
        plan: what to build.
        say: takes the lines that people read.

    Raises:
        SaliencyError: as `build_engines`.
    """
    from .build_engine import build_engines

    reports = [
        report
        for precision in precisions
        for report in build_engines(bundle, precision, plan.flavour, plan.targets, options=plan.options)
    ]
    for report in reports:
        say(_engine_line(report))
    return reports


def build_bundle(bundle: Path, precisions: Sequence[Precision], plan: EnginePlan, say: Say) -> dict[str, Any]:
    """Build a bundle's engines alone; to build none is a failure then.

    Returns:
        What was built, as plain JSON values.

    Raises:
        SaliencyError: as `build_engines`; also where no engine can be built here.
    """
    if bundle.suffix == ".safetensors":
        raise UsageError(f"{bundle} is a checkpoint. Export it: saliency-export --weights {bundle}")
    reports = build_all(bundle, precisions, plan, say)
    if not reports:
        raise BackendError(f"no engine built: {why_none(plan)}")
    return {"bundle": str(bundle), "engines": [report.to_json() for report in reports]}


def why_none(plan: EnginePlan) -> str:
    """Say why a plan builds no engine here."""
    from .tensorrt_api import available_flavours

    if plan.flavour == "none":
        return "--engine none was given"
    return "; ".join(status.problem for status in available_flavours() if status.problem)


def _engine_line(report: EngineReport) -> str:
    receipt = report.receipt
    proof = ", ".join(f"{count} in {dtype}" for dtype, count in receipt.convolutions.items())
    return (
        f"engine {report.path.name}: {receipt.bytes / _MIB:.1f} MiB, built in {receipt.build_s:.1f} s, "
        f"its convolutions: {proof}"
    )
