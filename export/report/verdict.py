"""The report in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..int8.results import Int8Result
from ..temporal import TemporalParity


def verdict(
    manifest: Mapping[str, Any], int8: Int8Result | None, temporal: TemporalParity | None
) -> dict[str, Any]:
    """Say what came out.

    Args:
        manifest: the bundle's.
        int8: the search's result; None where no int8 was asked for.
        temporal: parity on a clip; None where it was not measured.

    Returns:
        `passed`, a `word` for it, the `sentence`, and a `remark` on movement or None.
    """
    passed = int8 is None or int8.passed
    sentence = _without_int8(manifest) if int8 is None else _of_int8(int8, manifest)
    shimmers = passed and temporal is not None and "int8" in temporal.movements and temporal.shimmers("int8")
    word = ("Passed, but it flickers" if shimmers else "Passed") if passed else "Not passed"
    return {"passed": passed, "word": word, "sentence": sentence, "remark": _of_movement(temporal)}


def _of_int8(int8: Int8Result, manifest: Mapping[str, Any]) -> str:
    if not int8.passed:
        reasons = "; ".join(int8.failures())
        return (
            f"int8 does not pass the gate: {reasons}. The bundle holds {_listed(manifest['models'])} instead."
        )
    found = int8.to_json()  # the figures that the page shows: rounded once more, others may end differently
    figures = found["figures"]
    return (
        f"int8 passes the gate: {found['int8_macs_share']:.2%} of the multiplications are in int8, and the "
        f"maps correlate with PyTorch's fp32 maps at {figures['cc_mean']:.5f} on average and "
        f"{figures['cc_worst']:.5f} at worst, on {len(int8.parity.frames)} frames that took no part in the "
        "calibration."
    )


def _without_int8(manifest: Mapping[str, Any]) -> str:
    label, row = list(manifest["parity"].items())[-1]
    return (
        f"{label.partition('_')[0]} agrees with PyTorch's fp32 maps on all {len(row['frames'])} frames: "
        f"correlation {row['worst']['cc']:.7f} at worst, {row['tolerance']['min_cc']:g} allowed."
    )


def _of_movement(temporal: TemporalParity | None) -> str | None:
    if temporal is None or "int8" not in temporal.movements:
        return None
    return f"{temporal.sentence('int8')}."


def _listed(models: Mapping[str, Any]) -> str:
    return " and ".join(models)
