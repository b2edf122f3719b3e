"""Where frames come from: files, cameras, network streams and programs."""

from .opening import open_source
from .source import Source

__all__ = ["Source", "open_source"]
