"""Lines of JSON and raw frames: exact, cut off nowhere, and ended by readers that go."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from saliency_edge.runtime.errors import OutputError, UsageError
from saliency_edge.runtime.frame import Region
from saliency_edge.runtime.stream.sinks.jsonl import JsonLinesSink
from saliency_edge.runtime.stream.sinks.raw_pipe import PipeFormat, RawSink
from saliency_edge.runtime.stream.sinks.sink import SinkClosedError
from sink_results import needs_ffmpeg, result_of
from toy_models import noise

pytestmark = pytest.mark.timeout(30)


def test_line_has_the_results_numbers(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    captured_s = time.monotonic()
    region = Region(identity=3, box_xyxy_px=(32, 24, 64, 48), peak=1.0, area=0.25)
    result = result_of(
        noise((48, 64), 0), "000007", index=7, captured_s=captured_s, stream=1, dropped=2, age_s=0.0421
    )

    with closing(JsonLinesSink(path)) as sink:
        sink.write(replace(result, regions=(region,)))
        sink.write(result)

    first, second = map(json.loads, path.read_text().splitlines())
    assert abs(first.pop("captured_unix_s") - time.time()) < 5
    assert first == {
        "frame": 7,
        "name": "000007",
        "stream": 1,
        "timestamp_s": None,
        "age_s": 0.0421,
        "dropped": 2,
        "peak": 1.0,
        "peak_xy_px": [48.0, 36.0],  # centre of the right lower cell of 2 x 2
        "mean": 0.4375,
        "entropy_bits": 1.378783,  # of 1/7, 2/7 and 4/7
        "centroid_xy_px": [pytest.approx(16 + 32 * 1.25 / 1.75), pytest.approx(12 + 24 * 1.5 / 1.75)],
        "regions": [{"identity": 3, "box_xyxy_px": [32, 24, 64, 48], "peak": 1.0, "area": 0.25}],
    }
    assert second["regions"] == []


def test_lines_are_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    sink = JsonLinesSink(path)
    sink.write(result_of(noise((48, 64), 0)))

    assert path.read_text().endswith("}\n")
    sink.close()


@contextmanager
def files_no_longer_than(count_bytes: int) -> Iterator[None]:
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count_bytes, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    sink = JsonLinesSink(path)
    with files_no_longer_than(1000), pytest.raises(OutputError, match=r"cannot write .*run\.jsonl: File too"):
        write_many(sink, 10)
    sink.close()

    lines = path.read_text().splitlines(keepends=True)
    assert 2 <= len(lines) < 10
    assert all(line.endswith("}\n") for line in lines)


def write_many(sink: JsonLinesSink | RawSink, count: int) -> None:
    for index in range(count):
        sink.write(result_of(noise((48, 64), index), index=index))


def raw_frames(raw_format: PipeFormat, count: int, size_hw: tuple[int, int] = (48, 64)) -> bytes:
    """Write noise through a pipe and give what came out."""
    received, sent = os.pipe()
    sink = RawSink(sent, raw_format, fps=30000 / 1001)

    def write() -> None:
        for index in range(count):
            sink.write(result_of(noise(size_hw, index)))
        os.close(sent)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(received, "rb") as file:
        data = file.read()
    writer.join()
    return data


def test_bgr24_is_nothing_but_pixels() -> None:
    assert raw_frames("bgr24", 5) == b"".join(noise((48, 64), index).tobytes() for index in range(5))


def test_y4m_is_as_its_header_says() -> None:
    data = raw_frames("y4m", 3, (49, 65))

    header, _, rest = data.partition(b"\n")
    assert header == b"YUV4MPEG2 W64 H48 F30000:1001 Ip A1:1 C420jpeg XCOLORRANGE=LIMITED"
    assert len(rest) == 3 * (len(b"FRAME\n") + 48 * 64 * 3 // 2)
    assert rest.startswith(b"FRAME\n")


@needs_ffmpeg
def test_ffmpeg_reads_y4m_with_the_same_colours() -> None:
    pictures = [np.full((48, 64, 3), colour, np.uint8) for colour in ((200, 40, 90), (20, 230, 60))]
    received, sent = os.pipe()
    sink = RawSink(sent, "y4m", fps=25)
    for picture in pictures:
        sink.write(result_of(picture))
    os.close(sent)
    command = "ffmpeg -v error -i - -f rawvideo -pix_fmt bgr24 -"
    done = subprocess.run(command.split(), stdin=received, capture_output=True, check=True)
    os.close(received)

    found = np.frombuffer(done.stdout, np.uint8).reshape(2, 48, 64, 3)
    assert np.abs(found.astype(int) - np.stack(pictures)).max() <= 4


@pytest.mark.parametrize("raw_format", ["bgr24", "y4m"])
def test_reader_of_raw_frames_that_goes_ends_the_run(raw_format: PipeFormat) -> None:
    received, sent = os.pipe()
    os.close(received)

    with pytest.raises(SinkClosedError, match="the reader of the raw frames has gone"):
        RawSink(sent, raw_format, fps=25).write(result_of(noise((48, 64), 0)))
    os.close(sent)


def test_raw_frames_are_not_for_terminals() -> None:
    main, terminal = os.openpty()
    with pytest.raises(UsageError, match="would fill the terminal"):
        RawSink(terminal, "bgr24", fps=25)
    os.close(main)
    os.close(terminal)


def test_raw_frames_of_another_size_are_brought_to_the_first_ones() -> None:
    received, sent = os.pipe()
    sink = RawSink(sent, "bgr24", fps=25)
    sink.write(result_of(noise((24, 32), 0)))
    sink.write(result_of(np.full((48, 64, 3), 77, np.uint8)))
    os.close(sent)

    with os.fdopen(received, "rb") as file:
        assert file.read()[24 * 32 * 3 :] == bytes([77]) * (24 * 32 * 3)
