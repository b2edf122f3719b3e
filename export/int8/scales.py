"""From thresholds and weights to the scales and integers of symmetric int8."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

LEVELS = 127
"""Symmetric: -128 is not used, as TensorRT has it."""

# Scales are stored as half where the graph's body is. Below this half loses digits, and some GPUs all of it.
_SMALLEST_SCALE = float(np.finfo(np.float16).smallest_normal)


def scale_of(threshold: float) -> float:
    """Give the scale at which a threshold is the last level, rounded up to what half holds."""
    return float(_scales(np.array([threshold]))[0])


def quantized_weights(weights: Floats) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a kernel to int8, each output channel at its own scale.

    Args:
        weights: (O, I, kh, kw).

    Returns:
        The integers, (O, I, kh, kw), and the scales, (O,), which half holds exactly.
    """
    scales = _scales(np.abs(weights).max(axis=(1, 2, 3)))
    rounded = np.rint(weights / scales[:, None, None, None])
    return np.clip(rounded, -LEVELS, LEVELS).astype(np.int8), scales


def dequantized_weights(weights: Floats) -> NDArray[np.float32]:
    """Pass a kernel, (O, I, kh, kw), through int8 and back."""
    integers, scales = quantized_weights(weights)
    restored: NDArray[np.float32] = integers.astype(np.float32) * scales[:, None, None, None]
    return restored


def fake_quantized(values: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Pass an activation through int8 and back, as a Quantize and a Dequantize node do."""
    rounded = np.clip(np.rint(values / np.float32(scale)), -LEVELS - 1, LEVELS)
    restored: NDArray[np.float32] = rounded.astype(np.float32) * np.float32(scale)
    return restored


def _scales(thresholds: Floats) -> NDArray[np.float32]:
    exact = np.maximum(thresholds.astype(np.float64) / LEVELS, _SMALLEST_SCALE)
    half = exact.astype(np.float16)
    up = np.where(half < exact, np.nextafter(half, np.float16(np.inf)), half)
    scales: NDArray[np.float32] = up.astype(np.float32)
    return scales
