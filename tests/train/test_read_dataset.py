"""Pairing, notes and the plain layout, on tiny datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dataset_files import PHOTO_HW, fixations_of, names_of, save_map, save_photo
from saliency_edge.runtime.errors import InputError, UsageError
from saliency_edge.train.datasets import read_dataset, read_map, read_names, read_photo


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in ("a/1.jpg", "a/2.png", "b/1.jpg"):
        save_photo(root / "images" / name)
    table = "image,subject,x,y,start_ms,duration_ms\n" + "".join(
        f"{row},0,200\n"
        for row in (
            "a/1.jpg,eve,3.5,4",
            "a/1.jpg,adam,39.9,29.9",
            "a/1.jpg,eve,1,2",
            "a/2.png,1,0,0",
            "b/1.jpg,7,5,6",
        )
    )
    (root / "fixations.csv").write_text(table, encoding="utf-8")
    return root


@pytest.fixture
def with_maps(tmp_path: Path) -> Path:
    root = tmp_path / "pairs"
    for name in ("train/x", "train/y", "val/z"):
        save_photo(root / "images" / f"{name}.jpg")
        save_map(root / "maps" / f"{name}.png", (60, 80))
    return root


def test_plain_table(plain: Path) -> None:
    dataset = read_dataset(plain, strict=True)
    first = fixations_of(dataset.samples[0])

    assert names_of(dataset) == ["a/1", "a/2", "b/1"]
    np.testing.assert_array_equal(first.xy, [[3.5, 4], [39.9, 29.9], [1, 2]])
    np.testing.assert_array_equal(first.subject, [1, 0, 1])  # adam, eve
    assert {sample.size_hw for sample in dataset} == {PHOTO_HW}
    assert dataset.name == "photos"


def test_plain_table_without_an_images_folder(plain: Path) -> None:
    (plain / "images" / "a").rename(plain / "a")
    (plain / "images" / "b").rename(plain / "b")
    (plain / "images").rmdir()

    assert names_of(read_dataset(plain, strict=True)) == ["a/1", "a/2", "b/1"]


def test_plain_maps_and_a_split(with_maps: Path) -> None:
    train = read_dataset(with_maps, split="train", strict=True)

    assert names_of(train) == ["x", "y"]
    assert names_of(read_dataset(with_maps)) == ["train/x", "train/y", "val/z"]
    assert train.name == "pairs/train"
    assert {sample.size_hw for sample in train} == {(60, 80)}
    assert [sample.map_file for sample in train] == [with_maps / f"maps/train/{name}.png" for name in "xy"]
    assert train.samples[0].fixations is None


def test_fixations_outside_are_left_out(plain: Path) -> None:
    with (plain / "fixations.csv").open("a", encoding="utf-8") as table:
        table.write("b/1.jpg,7,-0.1,6,0,1\nb/1.jpg,7,40,6,0,1\nb/1.jpg,7,6,30,0,1\nb/1.jpg,7,39.9,0,0,1\n")

    np.testing.assert_array_equal(
        fixations_of(read_dataset(plain, strict=True).samples[2]).xy, [[5, 6], [39.9, 0]]
    )


def _unpaired_photo(root: Path) -> None:
    save_photo(root / "images" / "val" / "alone.jpg")


def _unpaired_map(root: Path) -> None:
    save_map(root / "maps" / "val" / "alone.png")


def _not_an_image(root: Path) -> None:
    (root / "images" / "val" / "z.jpg").write_bytes(b"no image")


def _cut_off(root: Path) -> None:
    photo = root / "images" / "val" / "z.jpg"
    photo.write_bytes(photo.read_bytes()[:-40])


def _empty_file(root: Path) -> None:
    (root / "maps" / "val" / "z.png").write_bytes(b"")


def _empty_map(root: Path) -> None:
    save_map(root / "maps" / "val" / "z.png", (60, 80), peak=0)


@pytest.mark.parametrize(
    ("harm", "note", "left"),
    [
        (_unpaired_photo, "val/alone: no map and no fixations", 3),
        (_unpaired_map, "val/alone: no photograph for its ground truth", 3),
        (_not_an_image, "z.jpg is damaged or no image", 2),
        (_cut_off, "z.jpg is damaged or no image", 2),
        (_empty_file, "z.png is damaged or no image", 2),
        (_empty_map, "val/z: the map is empty", 2),
    ],
)
def test_what_does_not_fit_is_noted_left_out_and_refused(
    with_maps: Path, harm: Callable[[Path], None], note: str, left: int
) -> None:
    harm(with_maps)

    dataset = read_dataset(with_maps)

    assert len(dataset) == left
    assert len(dataset.notes) == 1
    assert note in dataset.notes[0]
    with pytest.raises(InputError, match="1 of"):
        read_dataset(with_maps, strict=True)


def test_another_aspect_is_noted_and_used(with_maps: Path) -> None:
    save_photo(with_maps / "images" / "val" / "z.jpg", (40, 40))

    dataset = read_dataset(with_maps)

    assert len(dataset) == 3
    assert [note.split(":")[0] for note in dataset.notes] == ["val/z"]
    assert "40x40" in dataset.notes[0]
    assert "80x60" in dataset.notes[0]
    assert dataset.samples[2].size_hw == (60, 80)
    with pytest.raises(InputError, match="another aspect"):
        read_dataset(with_maps, strict=True)
    assert read_dataset(with_maps, strict=True, stretch=True).notes == ()


def test_nothing_within_the_stimulus_is_noted(plain: Path) -> None:
    (plain / "fixations.csv").write_text(
        "image,subject,x,y\na/1.jpg,1,99,99\na/2.png,1,1,1\n", encoding="utf-8"
    )

    assert read_dataset(plain).notes == (
        "a/1: no fixations within the stimulus",
        "b/1: no map and no fixations",
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,subject,x\na/1.jpg,1,2\n", "expected image,subject,x,y"),
        ("image,subject,x,y\na/1.jpg,1,2,3\na/1.jpg,1,2,far\n", "line 3"),
        ("image,subject,x,y\na/1.jpg,1,2\n", "line 2"),
        ("", "expected image,subject,x,y"),
    ],
)
def test_bad_table_is_refused(plain: Path, table: str, message: str) -> None:
    (plain / "fixations.csv").write_text(table, encoding="utf-8")

    with pytest.raises(InputError, match=message):
        read_dataset(plain)


def test_two_images_of_one_name_are_refused(plain: Path) -> None:
    save_photo(plain / "images" / "a" / "1.png")

    with pytest.raises(InputError, match="one name"):
        read_dataset(plain)


def test_names_choose(plain: Path, tmp_path: Path) -> None:
    listed = tmp_path / "names.txt"
    listed.write_text("b/1.jpg\n\na/1\n", encoding="utf-8")

    assert names_of(read_dataset(plain, names=read_names(listed))) == ["a/1", "b/1"]
    with pytest.raises(InputError, match="1 names are not in the dataset, the first: c/3"):
        read_dataset(plain, names=["a/1", "c/3"])


def test_empty_list_of_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n \n", encoding="utf-8")

    for path in (tmp_path / "names.txt", tmp_path / "missing.txt"):
        with pytest.raises(InputError, match="one name a line"):
            read_names(path)


def test_wrong_folder_layout_or_split_is_refused(with_maps: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(InputError, match="is not a folder"):
        read_dataset(tmp_path / "missing")
    with pytest.raises(InputError, match="none of the known layouts"):
        read_dataset(tmp_path / "empty")
    with pytest.raises(UsageError, match="unknown layout 'plane'"):
        read_dataset(with_maps, layout="plane")
    with pytest.raises(InputError, match="Check the path and the split"):
        read_dataset(with_maps, split="test")


def test_first_keeps_the_order(with_maps: Path) -> None:
    dataset = read_dataset(with_maps)

    assert names_of(dataset.first(2)) == ["train/x", "train/y"]
    assert len(dataset.first(None)) == 3


def test_shared_datasets_are_whole(shared_data: Path) -> None:
    counts = {
        split: len(read_dataset(shared_data / "salicon", split=split, strict=True, stretch=True))
        for split in ("train", "val")
    }
    scenes = read_dataset(shared_data / "scene500", strict=True)

    assert counts == {"train": 589, "val": 161}
    assert len(scenes) == 500


def test_pixels_are_bgr_and_grey_of_0_to_1(tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[..., 0] = 255
    assert cv2.imwrite(str(tmp_path / "blue.png"), picture)
    assert cv2.imwrite(str(tmp_path / "grey.png"), np.full((4, 4), 51, np.uint8))

    np.testing.assert_array_equal(read_photo(tmp_path / "blue.png"), picture)
    np.testing.assert_array_equal(read_map(tmp_path / "grey.png"), np.full((4, 4), 0.2, np.float32))
