"""Selecting and auditing frames: planted duplicates, extremes and clips are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from saliency_edge.calib.audit import FramesAudit, audit_frames, motion_of
from saliency_edge.calib.frames import FrameRef, find_frames, read_frames, shipped_clip, shipped_frames
from saliency_edge.calib.selection import (
    KINDS,
    Selection,
    features_of,
    inspect_frames,
    near_duplicates,
    select,
    write_folder,
    write_manifest,
)
from saliency_edge.runtime.errors import ArtifactError, InputError

Frames = list[np.ndarray]
SIZE_HW = (60, 80)


def pattern(seed: int, low: int = 40, high: int = 200) -> np.ndarray:
    """Make a smooth grey picture of its own, between two levels."""
    noise = np.random.default_rng(seed).uniform(0, 1, (6, 8)).astype(np.float32)
    smooth = cv2.resize(noise, SIZE_HW[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)
    return np.repeat((low + (high - low) * smooth).astype(np.uint8)[..., None], 3, axis=2)


def write_video(path: Path, frames: Frames) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, SIZE_HW[::-1])
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def choose(source: Path | str, count: int, seed: int = 0) -> Selection:
    return select(inspect_frames(find_frames([str(source)])), count, seed)


def names(selection: Selection) -> list[str]:
    return [ref.path.name for ref in selection.refs]


@pytest.fixture
def mixed(write_images: Callable[[str, Frames], Path]) -> Path:
    """A hundred ordinary pictures, two dark, two bright, two colourful and two flat ones."""
    colourful = [pattern(seed) for seed in (300, 301)]
    for picture in colourful:
        picture[..., 1] = 0
        picture[..., 2] = 255
    return write_images(
        "mixed",
        [
            *(pattern(seed) for seed in range(100)),
            *(pattern(seed, 0, 60) for seed in (200, 201)),
            *(pattern(seed, 180, 255) for seed in (202, 203)),
            *colourful,
            *(np.full((*SIZE_HW, 3), level, np.uint8) for level in (100, 130)),
        ],
    )


def test_features_are_those_of_the_pixels() -> None:
    left_dark = np.zeros((120, 160, 3), np.uint8)
    left_dark[:, 80:] = (200, 100, 0)
    found = features_of(left_dark)
    grey = round(0.114 * 200 + 0.587 * 100)

    assert found.luminance == pytest.approx(grey / 2, abs=0.6)
    assert found.contrast == pytest.approx(grey / 2, abs=0.6)
    assert found.saturation == pytest.approx(100)
    assert found.texture == pytest.approx(grey / 160, abs=0.05)  # one edge, two columns of half its height
    assert set(found.kinds) == {"dark", "flat", "colourful"}


def test_near_duplicates_are_found_and_other_pictures_are_not() -> None:
    original = shipped_frames()[0][1]
    _, encoded = cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 30])
    recoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    smaller = cv2.resize(original, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    others = [frame for _, frame in shipped_frames()[1:8]]
    frames = [original, *others, recoded, smaller, original[:, ::-1]]

    assert near_duplicates([features_of(np.ascontiguousarray(frame)) for frame in frames]) == {8: 0, 9: 0}


def test_planted_duplicates_are_dropped(write_images: Callable[[str, Frames], Path]) -> None:
    pictures = [pattern(seed) for seed in range(20)]
    folder = write_images("planted", [*pictures, *(np.clip(p.astype(int) + 3, 0, 255) for p in pictures[:7])])
    selection = choose(folder, 100)

    assert (selection.seen, selection.duplicates) == (27, 7)
    assert names(selection) == [f"{number:03d}.png" for number in range(20)]


def test_every_kind_is_represented(mixed: Path) -> None:
    selection = choose(mixed, 20)

    assert len(selection.chosen) == 20
    assert {f"{number:03d}.png" for number in range(100, 106)} <= set(names(selection))
    kinds = [kind for item in selection.chosen for kind in item.inspected.features.kinds]
    assert {kind: min(kinds.count(kind), 2) for kind in KINDS} == dict.fromkeys(KINDS, 2), kinds


def test_the_choice_follows_the_seed_alone(mixed: Path) -> None:
    assert names(choose(mixed, 20)) == names(choose(mixed, 20))
    assert names(choose(mixed, 20)) != names(choose(mixed, 20, seed=1))


def test_a_clips_frames_are_spread_over_its_length(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.avi", [pattern(seed) for seed in range(64)])
    indices = [ref.index or 0 for ref in choose(clip, 8).refs]

    assert len(indices) == 8
    assert [index // 8 for index in indices] == list(range(8)), indices


def test_frames_of_clips_are_the_ones_of_that_index(tmp_path: Path) -> None:
    pictures = [np.full((*SIZE_HW, 3), 4 * number, np.uint8) for number in range(60)]
    clip = write_video(tmp_path / "clip.avi", pictures)
    refs = [FrameRef(path=clip, index=index) for index in (3, 17, 59)]

    levels = {ref.index: float(frame.mean()) for ref, frame in read_frames(refs)}
    assert levels == pytest.approx({3: 12, 17: 68, 59: 236}, abs=3)


@pytest.mark.parametrize("kind", ["list", "folder"])
def test_what_select_writes_is_a_source(mixed: Path, tmp_path: Path, kind: str) -> None:
    clip = write_video(tmp_path / "clip.avi", [pattern(seed) for seed in range(400, 410)])
    selection = select(inspect_frames(find_frames([str(mixed), str(clip)])), 30, 0)
    source = tmp_path / ("chosen.json" if kind == "list" else "chosen/manifest.json")
    if kind == "list":
        write_manifest(selection, source)
    else:
        write_folder(selection, source.parent)

    expected = [frame for _, frame in read_frames(selection.refs)]
    found = [frame for _, frame in read_frames(find_frames([str(source)]))]
    assert len(found) == 30
    assert all(np.array_equal(first, second) for first, second in zip(found, expected, strict=True))


def test_sources_are_folders_globs_and_files(mixed: Path) -> None:
    whole = find_frames([str(mixed)])

    assert len(whole) == 108
    assert len(find_frames([f"{mixed}/00*.png"])) == 10
    assert find_frames([str(mixed / "004.png"), str(mixed / "004.png")]) == [whole[4]]
    assert len(find_frames([str(mixed.parent)])) == 108


def test_what_holds_no_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("{}")
    (tmp_path / "note.txt").write_text("")
    with pytest.raises(InputError, match="no images and no clips"):
        find_frames([str(tmp_path / "note.txt")])
    with pytest.raises(InputError, match="no images and no clips"):
        find_frames([str(tmp_path / "missing")])
    with pytest.raises(ArtifactError, match="not a list of frames of this version"):
        find_frames([str(tmp_path / "list.json")])


def test_the_audit_counts_what_is_there_and_says_what_lacks(mixed: Path) -> None:
    audit: FramesAudit = audit_frames(inspect_frames(find_frames([str(mixed)])[:102]))
    luminance = [features_of(frame).luminance for _, frame in read_frames(find_frames([str(mixed)])[:102])]

    assert (audit.frames, audit.duplicates, audit.kinds["dark"]) == (102, 0, 2)
    assert audit.spreads["luminance"].p50 == pytest.approx(np.median(luminance), abs=0.06)
    assert audit.advice()[:2] == ["add dark frames: 2 of 102 are", "add bright frames: 0 of 102 are"]


def test_motion_is_the_mean_change_between_frames(tmp_path: Path) -> None:
    moving = [np.full((*SIZE_HW, 3), 100 + 10 * (number % 2), np.uint8) for number in range(12)]
    still = [pattern(0)] * 12

    assert motion_of(write_video(tmp_path / "moving.avi", moving)) == pytest.approx(10, abs=1)
    assert motion_of(write_video(tmp_path / "still.avi", still)) < 0.5
    audit = audit_frames(inspect_frames(find_frames([str(tmp_path / "still.avi")])))
    assert any("hardly moves" in line for line in audit.advice())
    assert 1 < motion_of(shipped_clip()) < 20
