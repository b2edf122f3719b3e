"""The test pattern: known frames, in real time or as fast as they are read."""

from __future__ import annotations

import time
from threading import Timer

import numpy as np
import pytest

from saliency_edge.runtime.errors import InputError, UsageError
from saliency_edge.runtime.frame import Frame
from saliency_edge.runtime.stream.sources.open_source import open_source
from saliency_edge.runtime.stream.sources.source import SourceOptions

pytestmark = pytest.mark.timeout(30)  # what hangs, fails


def frames_of(words: str, every: int = 1, max_frames: int | None = None) -> list[Frame]:
    source = open_source(f"test:{words}", SourceOptions(every=every, max_frames=max_frames))
    return list(source.frames())


def test_frames_move_and_are_the_same_each_time() -> None:
    first = frames_of("width=64,height=48,fps=10,frames=20,pace=fast")
    again = frames_of("width=64,height=48,fps=10,frames=20,pace=fast")

    assert [frame.timestamp_s for frame in first] == pytest.approx([number / 10 for number in range(20)])
    assert all(frame.size_hw == (48, 64) for frame in first)
    assert all(np.array_equal(a.image_bgr, b.image_bgr) for a, b in zip(first, again, strict=True))
    assert len({frame.image_bgr.tobytes() for frame in first}) == 20


def test_spot_is_where_it_should_be() -> None:
    """At a quarter of its four seconds it is at the bottom: 30% of the height below the middle."""
    image_bgr = frames_of("width=200,height=100,fps=1,frames=2,pace=fast")[1].image_bgr
    rows, columns = np.nonzero((image_bgr == (80, 200, 255)).all(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (70, 89, 90, 109)


def test_real_time_is_kept() -> None:
    start_s = time.monotonic()
    frames = frames_of("width=64,height=48,fps=100,frames=31")

    assert time.monotonic() - start_s >= 0.3
    given_s = np.diff([frame.captured_s for frame in frames])
    np.testing.assert_allclose(given_s, 0.01, atol=1e-6)


@pytest.mark.parametrize(("every", "max_frames"), [(1, 5), (3, None), (3, 2), (50, None)])
def test_every_and_max_frames(every: int, max_frames: int | None) -> None:
    frames = frames_of("frames=12,pace=fast,width=16,height=16", every, max_frames)
    assert [frame.index for frame in frames] == list(range(12))[::every][:max_frames]


def test_stop_ends_it_between_frames() -> None:
    source = open_source("test:fps=0.1,width=16,height=16")
    Timer(0.2, source.stop).start()
    start_s = time.monotonic()
    assert len(list(source.frames())) == 1
    assert time.monotonic() - start_s < 5


def test_patterns_that_cannot_be() -> None:
    with pytest.raises(InputError, match="is 4x4 pixels"):
        open_source("test:width=4,height=4")
    with pytest.raises(UsageError, match="frames is '0', expected a number from 1 to 1e"):
        open_source("test:frames=0")
