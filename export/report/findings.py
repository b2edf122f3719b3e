"""What an export found out, as the report's figures: `report.json`, of which the page shows every one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...calib.audit import FramesAudit, audit_json
from ...calib.ranges import ActivationRanges
from ...runtime.contract import Contract, Precision
from ..frames import FrameSet
from ..int8.results import Int8Result, plain
from ..layer_error import LayerError
from ..parity import agreement
from ..speed import Speed
from ..temporal import TemporalParity
from .layers import layer_rows
from .verdict import verdict

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownMaps:
    """The frames that the report shows, the worst first.

    Attributes:
        frames: K of them.
        references: (K, h, w) PyTorch's maps, 0 to 1.
        maps: (K, h, w) of each other graph, by its precision.
    """

    frames: FrameSet
    references: NDArray[np.float32]
    maps: Mapping[Precision, NDArray[np.float32]]

    def difference_scale(self) -> float:
        """Give the largest absolute difference of a cell from PyTorch's, over all maps."""
        differences = [np.abs(maps - self.references).max() for maps in self.maps.values()]
        return float(f"{max(differences, default=0.0):.3g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that a report tells.

    Attributes:
        contract: of the fp32 graph.
        manifest: the content of the bundle's manifest.json.
        shown: frames and maps.
        errors: of the nodes of each graph, by its precision.
        int8: what the search for an int8 graph found; None where none was asked for.
        ranges: that int8 was calibrated with; None as above.
        audit: of the calibration frames; None where they are not at hand, as with the shipped ranges.
        temporal: parity on a clip; None where it was not measured.
        speed: of int8 beside fp16 on this machine; None without int8.
    """

    contract: Contract
    manifest: Mapping[str, Any]
    shown: ShownMaps
    errors: Mapping[Precision, Sequence[LayerError]] = field(default_factory=dict)
    int8: Int8Result | None = None
    ranges: ActivationRanges | None = None
    audit: FramesAudit | None = None
    temporal: TemporalParity | None = None
    speed: Speed | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the figures as plain JSON values; the same findings give the same values."""
        contract = self.contract
        return {
            "schema": SCHEMA,
            "network": contract.network,
            "size_hw": list(contract.size_hw),
            "map_size_hw": list(contract.map_size_hw),
            "fit": contract.fit,
            "precisions": list(self.manifest["models"]),
            "verdict": verdict(self.manifest, self.int8, self.temporal),
            "gate": self._gate(),
            "parity": self.manifest["parity"],
            "frames": self._frames(),
            "difference_scale": self.shown.difference_scale(),
            "layers": layer_rows(self.manifest, self.errors, self.int8, self.ranges),
            "nodes": {
                precision: [error.to_json() for error in errors] for precision, errors in self.errors.items()
            },
            "pareto": self._pareto(),
            "temporal": self.temporal.to_json() if self.temporal else None,
            "speed": {**self.speed.to_json(), "sentence": f"{self.speed.sentence()}."}
            if self.speed
            else None,
            "calibration": self._calibration(),
            "lineage": self._lineage(),
        }

    def _gate(self) -> dict[str, Any] | None:
        if self.int8 is None:
            return None
        names = ("passed", "limits", "figures", "int8_macs_share", "taken", "repairs", "passes")
        found = self.int8.to_json()
        return {**{name: found[name] for name in names}, "frames": len(self.int8.parity.frames)}

    def _pareto(self) -> list[dict[str, Any]]:
        """Give the sets that were tried, and the time of a frame of those that were timed."""
        if self.int8 is None:
            return []
        times_ms = self.speed.sets_ms(self.int8.taken) if self.speed else {}
        points = enumerate(self.int8.pareto)
        return [{**plain(point), "frame_ms": times_ms.get(place)} for place, point in points]

    def _frames(self) -> list[dict[str, Any]]:
        shown = self.shown
        return [
            {
                "name": name,
                "agreement": {
                    precision: _agreement_json(maps[place], shown.references[place])
                    for precision, maps in shown.maps.items()
                },
            }
            for place, name in enumerate(shown.frames.names)
        ]

    def _calibration(self) -> dict[str, Any] | None:
        if self.int8 is None:
            return None
        return {"ranges": dict(self.int8.ranges), "audit": audit_json(self.audit, self.ranges)}

    def _lineage(self) -> dict[str, Any]:
        names = ("models", "golden", "lineage", "tools")
        return {name: self.manifest[name] for name in names}


def _agreement_json(found: NDArray[np.float32], reference: NDArray[np.float32]) -> dict[str, float]:
    """Give the figures that a picture's caption has."""
    figures = agreement(found, reference)
    return {
        "cc": float(f"{figures.cc:.8g}"),
        "kldiv": float(f"{figures.kldiv:.3g}"),
        "max_abs": float(f"{figures.max_abs:.3g}"),
        "peak_shift_cells": float(f"{figures.peak_shift_cells:.3g}"),
    }
