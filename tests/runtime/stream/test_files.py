"""Frames of videos and images: all of them, in order, with their names; and sources that are none."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from saliency_edge.runtime.errors import InputError, UsageError
from saliency_edge.runtime.frame import Frame
from saliency_edge.runtime.stream.sources.open_source import open_source
from saliency_edge.runtime.stream.sources.source import SourceOptions
from toy_models import noise, read_clip, save_clip, save_images


def frames_of(source: str | Path, every: int = 1, max_frames: int | None = None) -> list[Frame]:
    with closing(open_source(str(source), SourceOptions(every=every, max_frames=max_frames))) as opened:
        return list(opened.frames())


def names_of(source: str | Path) -> list[str]:
    return [frame.name for frame in frames_of(source)]


def test_video_gives_all_frames_in_order(tmp_path: Path) -> None:
    clip = save_clip(tmp_path / "clip.mp4", 12)
    expected = read_clip(clip)
    before_s = time.monotonic()

    frames = frames_of(clip)

    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.name for frame in frames] == [f"{number:06d}" for number in range(12)]
    assert [frame.timestamp_s for frame in frames] == pytest.approx([number / 10 for number in range(12)])
    assert before_s <= frames[0].captured_s <= frames[-1].captured_s <= time.monotonic()
    assert all(np.array_equal(frame.image_bgr, image) for frame, image in zip(frames, expected, strict=True))


def test_video_describes_itself(tmp_path: Path) -> None:
    clip = save_clip(tmp_path / "clip.mp4", 12)

    with closing(open_source(str(clip), SourceOptions(every=5, max_frames=9))) as source:
        assert source.description == f"{clip}, 64x48, 10 fps, 12 frames"
        assert source.fps == 10
        assert source.frame_count == 3


@pytest.mark.parametrize(("every", "max_frames"), [(1, 5), (3, None), (3, 2), (50, None), (1, 12), (1, 100)])
def test_every_and_max_frames(tmp_path: Path, every: int, max_frames: int | None) -> None:
    clip = save_clip(tmp_path / "clip.mp4", 12)
    save_images(tmp_path / "images", 12)
    expected = list(range(12))[::every][:max_frames]

    for source in (clip, tmp_path / "images"):
        frames = frames_of(source, every, max_frames)
        assert [frame.index for frame in frames] == expected
        with closing(open_source(str(source), SourceOptions(every=every, max_frames=max_frames))) as opened:
            assert opened.frame_count == len(expected)


def test_folder_of_images_in_natural_order(tmp_path: Path) -> None:
    images = save_images(tmp_path, 11)
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")

    frames = frames_of(tmp_path)

    assert [frame.name for frame in frames] == [f"image{number}" for number in range(11)]
    assert all(np.array_equal(frame.image_bgr, image) for frame, image in zip(frames, images, strict=True))
    assert frames[0].timestamp_s is None


def test_images_of_several_sizes_and_kinds(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), noise((20, 30), 0)[..., 0])
    cv2.imwrite(str(tmp_path / "b.png"), noise((30, 20), 1).astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "c.JPG"), noise((40, 40), 2))

    frames = frames_of(tmp_path)

    assert [frame.size_hw for frame in frames] == [(20, 30), (30, 20), (40, 40)]
    assert all(frame.image_bgr.dtype == np.uint8 for frame in frames)
    assert np.array_equal(frames[1].image_bgr, noise((30, 20), 1))


def test_one_image_and_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_images(tmp_path / "deep" / "er", 3)
    monkeypatch.chdir(tmp_path)

    assert names_of(tmp_path / "deep" / "er" / "image1.png") == ["image1"]
    assert names_of("deep/*/image[12].png") == ["image1", "image2"]
    assert names_of(tmp_path / "**" / "*.png") == ["image0", "image1", "image2"]


def test_images_of_one_stem_get_distinct_names(tmp_path: Path) -> None:
    for name in ("a/shot.png", "b/shot.png", "b/other.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), noise((20, 30), 0))

    assert names_of(tmp_path / "*" / "*.png") == ["a_shot.png", "other", "b_shot.png"]


def cut_off_image(suffix: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        data = cv2.imencode(suffix, noise((200, 300), 0))[1].tobytes()
        path.write_bytes(data[: len(data) // 2])

    return write


def cut_off_clip(path: Path) -> None:
    data = save_clip(path, 30).read_bytes()
    path.write_bytes(data[: len(data) // 2])


def save_dot(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((1, 1, 3), np.uint8))


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("none.mp4", Path.exists, r"no such file or folder: .*none\.mp4"),
        ("*.png", Path.exists, r"no image matches .*\*\.png"),
        ("empty", Path.mkdir, "no images in .*empty"),
        ("text.mp4", lambda path: path.write_text("hello\n" * 50), r"text\.mp4 is no video"),
        ("zero.mp4", Path.touch, r"zero\.mp4 is no video"),
        ("cut.mp4", cut_off_clip, r"cut\.mp4 is no video"),
        ("text.png", lambda path: path.write_text("hello"), r"text\.png is damaged or no image"),
        ("zero.jpg", Path.touch, r"zero\.jpg is damaged or no image"),
        ("cut.jpg", cut_off_image(".jpg"), r"cut\.jpg is damaged or no image"),
        ("cut.png", cut_off_image(".png"), r"cut\.png is damaged or no image"),
        ("dot.png", save_dot, r"dot\.png is 1x1 pixels; a frame needs 8x8 or more"),
    ],
)
def test_sources_that_are_none(tmp_path: Path, name: str, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path / name)

    with pytest.raises(InputError, match=message) as raised:
        frames_of(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_bad_image_comes_after_the_good_ones(tmp_path: Path) -> None:
    save_images(tmp_path, 3)
    (tmp_path / "image1.png").write_bytes(b"")

    with closing(open_source(str(tmp_path))) as source:
        frames = source.frames()
        assert next(frames).name == "image0"
        with pytest.raises(InputError, match=r"image1\.png"):
            next(frames)


def test_video_that_breaks_off(tmp_path: Path, repository: Path) -> None:
    """The clip's index stays whole, so it can be opened; its pictures end in the middle."""
    clip = tmp_path / "clip.mp4"
    data = (repository / "calib" / "assets" / "big_buck_bunny.mp4").read_bytes()
    clip.write_bytes(damaged(data))
    indices: list[int] = []

    with (
        closing(open_source(str(clip))) as source,
        pytest.raises(InputError, match=r"breaks off after \d+ frames, at .* cut off or damaged"),
    ):
        indices.extend(frame.index for frame in source.frames())

    assert indices == list(range(len(indices)))
    assert 10 < len(indices) < 120


def damaged(data: bytes) -> bytes:
    """Overwrite a stretch in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes(20_000) + data[middle + 20_000 :]


def encode(path: Path, *words: str) -> Path:
    """Make a clip with the real encoder."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    command = ("ffmpeg", "-loglevel", "error", "-y", *words, str(path))
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def moving(rate: str = "10", duration: str = "2") -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"testsrc=size=64x48:rate={rate}:duration={duration}")


SOUND = ("-f", "lavfi", "-i", "sine=duration=10")
LONG_LAST = ("-vf", "setpts='if(gte(N,19),PTS+8/TB,PTS)'", "-vsync", "vfr")


@pytest.mark.parametrize(
    ("name", "words", "frame_count"),
    [
        ("slow.mp4", moving("0.2", "20"), 4),
        ("slow.mkv", moving("0.01", "300"), 3),
        ("slow.avi", (*moving("0.2", "20"), "-c:v", "mjpeg"), 4),
        ("sound.mkv", (*moving(), *SOUND), 20),
        ("sound.mp4", (*moving(), *SOUND), 20),
        ("sound.mov", (*moving(), *SOUND), 20),
        ("sound.avi", (*moving(), *SOUND), 20),
        ("sound.flv", (*moving(), *SOUND, "-ar", "44100"), 20),
        ("sound.ts", (*moving(), *SOUND), 20),
        ("late.mkv", (*moving(), "-output_ts_offset", "5"), 20),
        ("late.mp4", (*moving(), "-output_ts_offset", "5"), 20),
        ("late.ts", (*moving(), "-output_ts_offset", "5"), 20),
        ("long_last.mkv", (*moving(), *LONG_LAST), 20),
        ("long_last.mp4", (*moving(), *LONG_LAST), 20),
        ("fragments.mp4", (*moving(), "-movflags", "frag_keyframe+empty_moov"), 20),
        ("unknown_length.mkv", (*moving(), "-f", "matroska", "-live", "1"), 20),
    ],
)
def test_whole_videos_are_whole(tmp_path: Path, name: str, words: tuple[str, ...], frame_count: int) -> None:
    clip = encode(tmp_path / name, *words)
    assert len(frames_of(clip)) == frame_count


def test_trimmed_video_is_whole(tmp_path: Path) -> None:
    """An edit list shows a part of the frames in the file, as phones trim clips."""
    long = encode(tmp_path / "long.mp4", *moving(duration="10"), "-g", "100")
    clip = encode(tmp_path / "clip.mp4", "-ss", "6", "-i", str(long), "-c", "copy")
    assert 30 < len(frames_of(clip)) < 45


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mov", "cut.mkv", "cut.webm", "cut.avi"])
def test_videos_that_are_cut_off(tmp_path: Path, name: str) -> None:
    """Their index or head is at the start, so they can be opened."""
    clip = encode(tmp_path / name, *moving(duration="20"), "-g", "5", "-movflags", "+faststart")
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2])

    with pytest.raises(InputError, match=r"breaks off after \d+ frames, at .* cut off or damaged"):
        frames_of(clip)


def test_addresses_of_files(tmp_path: Path) -> None:
    clip = save_clip(tmp_path / "a clip.mp4", 3)

    for address in (f"file://{clip}", f"FILE://{str(clip).replace(' ', '%20')}"):
        with closing(open_source(address)) as source:
            assert len(list(source.frames())) == 3
            assert not source.is_live


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    """A FIFO would be waited for without end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"pipe is no regular file\. Give - as SOURCE"):
        frames_of(tmp_path / "pipe")
