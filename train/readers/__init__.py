"""Readers of fixation datasets, in the layouts that they come in: `read_dataset`."""

from .dataset import LAYOUTS, read_dataset, read_names
from .pixels import read_map, read_photo

__all__ = ["LAYOUTS", "read_dataset", "read_map", "read_names", "read_photo"]
