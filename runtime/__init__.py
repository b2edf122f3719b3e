"""What runs on the device: numpy and OpenCV, never torch. Also the core that the other folders share.

`Predictor` is the Python API; importing this package loads nothing heavy before it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .privacy import disable_dependency_telemetry

if TYPE_CHECKING:
    from .errors import SaliencyError
    from .predictor import Predictor, StreamResult

__all__ = ["Predictor", "SaliencyError", "StreamResult"]

disable_dependency_telemetry()


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import errors, predictor

    return getattr(errors if name == "SaliencyError" else predictor, name)
