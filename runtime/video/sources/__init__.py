"""Where frames come from: files, cameras, network streams and programs."""

from .opening import open_source
from .source import Source, SourceOptions

__all__ = ["Source", "SourceOptions", "open_source"]
