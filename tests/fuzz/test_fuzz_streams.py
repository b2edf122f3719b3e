"""Streams of raw frames, damaged: frames and then an end, or one line; never another error, never a hang."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byte_pipes import reader_of
from fuzzing import BOUNDED, damaged_bytes, refuses
from saliency_edge.runtime.stream.sources.containers import container_frames

pytestmark = pytest.mark.timeout(120)  # what hangs, fails

SOURCE = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=16x12:rate=5:duration=0.6"]
GST = "gst-launch-1.0 -q videotestsrc num-buffers=3 ! video/x-raw,format=BGR,width=16,height=12 ! matroskamux"
KINDS = {
    "nut": [*SOURCE, "-c:v", "rawvideo", "-pix_fmt", "bgr24", "-f", "nut", "-"],
    "matroska": [*GST.split(), "streamable=true", "!", "fdsink"],
    "y4m": [*SOURCE, "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "-"],
}


@pytest.fixture(scope="module", params=KINDS)
def stream(request: pytest.FixtureRequest) -> bytes:
    """A whole stream of three frames."""
    words = KINDS[request.param]
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    return subprocess.run(words, capture_output=True, check=True).stdout


def read_all(data: bytes) -> int:
    """Count the pictures that come out of a pipe that this was written into."""
    with reader_of(data) as reader:
        return sum(1 for _ in container_frames(reader))


def test_whole_streams_give_their_frames(stream: bytes) -> None:
    assert read_all(stream) == 3


@BOUNDED
@given(data=st.data())
def test_damaged_streams(stream: bytes, data: st.DataObject) -> None:
    length = min(len(stream), 400)
    damaged = data.draw(damaged_bytes(stream[:length])) + stream[length:]

    refuses(lambda: read_all(damaged))


@BOUNDED
@given(
    start=st.sampled_from([b"", b"nut/multimedia container\0", b"\x1a\x45\xdf\xa3", b"YUV4MPEG2 "]),
    rest=st.binary(max_size=200),
)
def test_streams_of_anything(start: bytes, rest: bytes) -> None:
    refuses(lambda: read_all(start + rest))
