"""Fixation datasets: what a sample is, the layouts that datasets come in, and reading them."""

from __future__ import annotations

from .pairing import read_map, read_photo
from .read_dataset import LAYOUTS, read_dataset, read_names

__all__ = ["LAYOUTS", "read_dataset", "read_map", "read_names", "read_photo"]
