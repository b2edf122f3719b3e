"""CC and KLDiv of two maps that should be one: defined where the metrics are not, and never below equal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .metrics import cc, kldiv


def correlation(found: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Correlate two maps of one size, (h, w); unlike for the metric, two constant maps agree: 1."""
    return 1.0 if np.ptp(found) == np.ptp(reference) == 0 else cc(found, reference)


def divergence(found: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Give the KLDiv of a map from the reference, in nats; rounding may take the metric below 0, not this."""
    return max(0.0, kldiv(found, reference))
