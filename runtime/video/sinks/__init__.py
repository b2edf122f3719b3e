"""Where results go: videos, maps, lines of JSON, a window, a pipe."""

from .maps import MapsFormat, MapSink
from .opening import SinkOptions, open_sinks
from .raw import RawFormat
from .sink import Sink, SinkClosedError
from .video import VIDEO_SUFFIXES, RecordingSink, VideoSink

__all__ = [
    "VIDEO_SUFFIXES",
    "MapSink",
    "MapsFormat",
    "RawFormat",
    "RecordingSink",
    "Sink",
    "SinkClosedError",
    "SinkOptions",
    "VideoSink",
    "open_sinks",
]
