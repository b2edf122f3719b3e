"""Which GPUs engines are built for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...runtime.contract import Precision
from ...runtime.errors import UsageError
from ...runtime.machine import Gpu
from .tensorrt_api import TensorRt

DEFAULT_TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120")
"""What is built for where there is no GPU: Turing, both kinds of Ampere, Ada and Blackwell."""

# TensorRT-RTX has no int8 for Turing: its support matrix says so, and its builder takes Half instead (seen).
_WITHOUT_INT8 = ("sm75",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A GPU to build for.

    Attributes:
        name: as it stands in the engine's file name, such as `sm86` or `nvidia-h100-80gb-hbm3`.
        compute_capability: such as `8.6`.
        gpu: the GPU at hand; None for one that is built for ahead of time.
    """

    name: str
    compute_capability: str
    gpu: Gpu | None = None

    @property
    def ahead(self) -> str | None:
        """Its name where it is built for ahead of time, such as `sm86`; None for the GPU at hand."""
        return None if self.gpu else self.name


def choose_targets(
    api: TensorRt, gpu: Gpu | None, names: Sequence[str], precision: Precision
) -> list[Target]:
    """Check the targets that the user names, or choose.

    Args:
        api: what will be built with.
        gpu: the one at hand, if any.
        names: compute capabilities such as `sm86`; without any, the GPU at hand, or else `DEFAULT_TARGETS`.
        precision: what will be built.

    Raises:
        UsageError: a name is unknown, or the flavour builds for the GPU at hand only.
    """
    if names and not api.targets:
        raise UsageError(f"{api.title} builds for the GPU at hand only: leave --target out")
    if not names and gpu:
        return [_at_hand(gpu)]
    chosen = [name.lower() for name in names] or _defaults(api, precision)
    unknown = [name for name in chosen if name not in api.targets]
    if unknown:
        raise UsageError(
            f"unknown target {unknown[0]!r}. {api.title} {api.version} has {', '.join(api.targets)}"
        )
    return [_ahead(name) for name in dict.fromkeys(chosen)]


def _defaults(api: TensorRt, precision: Precision) -> list[str]:
    left_out = _WITHOUT_INT8 if precision == "int8" else ()
    return [name for name in DEFAULT_TARGETS if name in api.targets and name not in left_out]


def _at_hand(gpu: Gpu) -> Target:
    name = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    return Target(name=name, compute_capability=gpu.compute_capability, gpu=gpu)


def _ahead(name: str) -> Target:
    digits = name.removeprefix("sm")
    return Target(name=name, compute_capability=f"{digits[:-1]}.{digits[-1]}")
