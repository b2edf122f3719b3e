"""Where frames come from: files, cameras, network streams and programs."""

from .opening import open_source
from .options import SourceOptions
from .source import Source

__all__ = ["Source", "SourceOptions", "open_source"]
