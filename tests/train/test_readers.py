"""Readers, on tiny datasets in each layout and on SALICON's own JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from saliency_edge.runtime.errors import BackendError, InputError, UsageError
from saliency_edge.train.readers import read_dataset, read_map, read_names, read_photo
from saliency_edge.train.samples import Dataset, Fixations, Sample

PHOTO_HW = (30, 40)


def _photo(path: Path, size_hw: tuple[int, int] = PHOTO_HW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(len(path.name)).integers(0, 256, (*size_hw, 3), np.uint8)
    assert cv2.imwrite(str(path), picture)


def _map(path: Path, size_hw: tuple[int, int] = PHOTO_HW, peak: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(size_hw, np.uint8)
    values[size_hw[0] // 2, size_hw[1] // 2] = peak
    assert cv2.imwrite(str(path), values)


def _save_mat(path: Path, values: dict[str, Any]) -> None:
    scipy_io = pytest.importorskip("scipy.io", reason="needs pip install 'saliency-edge[matlab]'")
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy_io.savemat(path, values)


def _cells(items: list[Any]) -> NDArray[np.object_]:
    """Matlab's cell column."""
    cells = np.empty((len(items), 1), object)
    cells[:, 0] = items
    return cells


def _names(dataset: Dataset) -> list[str]:
    return [sample.name for sample in dataset]


def _fixations(sample: Sample) -> Fixations:
    assert sample.fixations is not None
    return sample.fixations


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in ("a/1.jpg", "a/2.png", "b/1.jpg"):
        _photo(root / "images" / name)
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
        _photo(root / "images" / f"{name}.jpg")
        _map(root / "maps" / f"{name}.png", (60, 80))
    return root


def test_plain_table(plain: Path) -> None:
    dataset = read_dataset(plain, strict=True)
    first = _fixations(dataset.samples[0])

    assert _names(dataset) == ["a/1", "a/2", "b/1"]
    np.testing.assert_array_equal(first.xy, [[3.5, 4], [39.9, 29.9], [1, 2]])
    np.testing.assert_array_equal(first.subject, [1, 0, 1])  # adam, eve
    assert {sample.size_hw for sample in dataset} == {PHOTO_HW}
    assert dataset.name == "photos"


def test_plain_table_without_an_images_folder(plain: Path) -> None:
    (plain / "images" / "a").rename(plain / "a")
    (plain / "images" / "b").rename(plain / "b")
    (plain / "images").rmdir()

    assert _names(read_dataset(plain, strict=True)) == ["a/1", "a/2", "b/1"]


def test_plain_maps_and_a_split(with_maps: Path) -> None:
    train = read_dataset(with_maps, split="train", strict=True)

    assert _names(train) == ["x", "y"]
    assert _names(read_dataset(with_maps)) == ["train/x", "train/y", "val/z"]
    assert train.name == "pairs/train"
    assert {sample.size_hw for sample in train} == {(60, 80)}
    assert [sample.map_file for sample in train] == [with_maps / f"maps/train/{name}.png" for name in "xy"]
    assert train.samples[0].fixations is None


def test_fixations_outside_are_left_out(plain: Path) -> None:
    with (plain / "fixations.csv").open("a", encoding="utf-8") as table:
        table.write("b/1.jpg,7,-0.1,6,0,1\nb/1.jpg,7,40,6,0,1\nb/1.jpg,7,6,30,0,1\nb/1.jpg,7,39.9,0,0,1\n")

    np.testing.assert_array_equal(
        _fixations(read_dataset(plain, strict=True).samples[2]).xy, [[5, 6], [39.9, 0]]
    )


def _unpaired_photo(root: Path) -> None:
    _photo(root / "images" / "val" / "alone.jpg")


def _unpaired_map(root: Path) -> None:
    _map(root / "maps" / "val" / "alone.png")


def _not_an_image(root: Path) -> None:
    (root / "images" / "val" / "z.jpg").write_bytes(b"no image")


def _empty_file(root: Path) -> None:
    (root / "maps" / "val" / "z.png").write_bytes(b"")


def _empty_map(root: Path) -> None:
    _map(root / "maps" / "val" / "z.png", (60, 80), peak=0)


@pytest.mark.parametrize(
    ("harm", "note", "left"),
    [
        (_unpaired_photo, "val/alone: no map and no fixations", 3),
        (_unpaired_map, "val/alone: no photograph for its ground truth", 3),
        (_not_an_image, "z.jpg as an image", 2),
        (_empty_file, "z.png as an image", 2),
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
    _photo(with_maps / "images" / "val" / "z.jpg", (40, 40))

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
    _photo(plain / "images" / "a" / "1.png")

    with pytest.raises(InputError, match="one name"):
        read_dataset(plain)


def test_names_choose(plain: Path, tmp_path: Path) -> None:
    listed = tmp_path / "names.txt"
    listed.write_text("b/1.jpg\n\na/1\n", encoding="utf-8")

    assert _names(read_dataset(plain, names=read_names(listed))) == ["a/1", "b/1"]
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

    assert _names(dataset.first(2)) == ["train/x", "train/y"]
    assert len(dataset.first(None)) == 3


def _salicon_json(root: Path, folder: str) -> None:
    values = {
        "images": [{"id": 5, "file_name": "COCO_train_5.jpg", "height": 30, "width": 40}],
        "annotations": [
            {"image_id": 5, "worker_id": 9, "fixations": [[1, 1], [30, 40]]},
            {"image_id": 5, "worker_id": 2, "fixations": [[2, 11]]},
        ],
    }
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / "fixations_train2014.json").write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize(("folder", "photo"), [("annotations", "images/train/"), (".", "")])
def test_salicon_json_counts_rows_and_columns_from_1(tmp_path: Path, folder: str, photo: str) -> None:
    _photo(tmp_path / f"{photo}COCO_train_5.jpg", (15, 20))
    _salicon_json(tmp_path, folder)

    dataset = read_dataset(tmp_path, strict=True)
    sample = dataset.samples[0]

    assert len(dataset) == 1
    assert sample.size_hw == (30, 40)
    np.testing.assert_array_equal(_fixations(sample).xy, [[0, 0], [39, 29], [10, 1]])
    np.testing.assert_array_equal(_fixations(sample).subject, [0, 0, 1])


def test_salicon_s_own_json(shared_data: Path) -> None:
    root = shared_data / "salicon_raw10"
    values = json.loads((root / "fixations_train2014examples.json").read_text(encoding="utf-8"))

    dataset = read_dataset(root, split="train", strict=True)

    assert len(dataset) == 10
    points = sum(len(annotation["fixations"]) for annotation in values["annotations"])
    assert sum(len(_fixations(sample).xy) for sample in dataset) == points
    assert sum(_fixations(sample).subject.max() + 1 for sample in dataset) == len(values["annotations"])
    assert {sample.size_hw for sample in dataset} == {(480, 640)}


def test_broken_salicon_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fixations_train.json").write_text('{"images": []}', encoding="utf-8")

    with pytest.raises(InputError, match="annotations"):
        read_dataset(tmp_path)


def test_salicon_mat_with_maps(tmp_path: Path) -> None:
    _photo(tmp_path / "images/val/COCO_val_1.jpg", (240, 320))
    _map(tmp_path / "maps/val/COCO_val_1.png", (480, 640))
    gaze = np.zeros((2, 1), [("location", object), ("fixations", object)])
    gaze["fixations"][:, 0] = [np.array([[1, 1], [640, 480]]), np.array([[7, 3]])]
    gaze["location"][:, 0] = [np.zeros((9, 2)), np.zeros((9, 2))]
    _save_mat(tmp_path / "fixations/val/COCO_val_1.mat", {"image": "COCO_val_1", "gaze": gaze})

    sample = read_dataset(tmp_path, split="val", strict=True).samples[0]

    assert sample.name == "COCO_val_1"
    assert sample.map_file == tmp_path / "maps/val/COCO_val_1.png"
    np.testing.assert_array_equal(_fixations(sample).xy, [[0, 0], [639, 479], [6, 2]])
    np.testing.assert_array_equal(_fixations(sample).subject, [0, 0, 1])


def test_cat2000(tmp_path: Path) -> None:
    located = np.zeros(PHOTO_HW, np.uint8)
    located[3, 7] = located[29, 39] = 1
    for category in ("Action", "Art"):
        _photo(tmp_path / f"Stimuli/{category}/001.jpg")
        _map(tmp_path / f"Stimuli/{category}/Output/001_SaliencyMap.jpg")
        _map(tmp_path / f"FIXATIONMAPS/{category}/001.jpg")
        _save_mat(tmp_path / f"FIXATIONLOCS/{category}/001.mat", {"fixLocs": located})

    dataset = read_dataset(tmp_path, strict=True)

    assert _names(dataset) == ["Action/001", "Art/001"]
    assert _names(read_dataset(tmp_path, split="Art")) == ["001"]
    np.testing.assert_array_equal(_fixations(dataset.samples[0]).xy, [[7, 3], [39, 29]])
    np.testing.assert_array_equal(_fixations(dataset.samples[0]).subject, [0, 0])


def test_cat2000_without_locations(tmp_path: Path) -> None:
    _photo(tmp_path / "Stimuli/Action/001.jpg")
    _map(tmp_path / "FIXATIONMAPS/Action/001.jpg")

    assert [sample.fixations for sample in read_dataset(tmp_path, strict=True)] == [None]


def test_mit1003(tmp_path: Path) -> None:
    _photo(tmp_path / "ALLSTIMULI/i05june05.jpeg")
    _map(tmp_path / "ALLFIXATIONMAPS/i05june05_fixMap.jpg")
    points = np.zeros(PHOTO_HW, np.uint8)
    points[[4, 12, 21], [9, 30, 5]] = 255
    assert cv2.imwrite(str(tmp_path / "ALLFIXATIONMAPS/i05june05_fixPts.jpg"), points)

    dataset = read_dataset(tmp_path, strict=True)

    assert _names(dataset) == ["i05june05"]
    np.testing.assert_array_equal(_fixations(dataset.samples[0]).xy, [[9, 4], [30, 12], [5, 21]])
    with pytest.raises(UsageError, match="no splits"):
        read_dataset(tmp_path, split="val")


@pytest.mark.parametrize("file", ["eye/fixations.mat", "fixations.mat"])
def test_osie(tmp_path: Path, file: str) -> None:
    for name in ("1001", "1002"):
        _photo(tmp_path / f"stimuli/{name}.jpg")
    looks = [
        {
            "fix_x": np.array([3.0, 8.5]),
            "fix_y": np.array([4.0, 9.5]),
            "fix_duration": np.array([200.0, 90.0]),
        },
        {"fix_x": np.array([5.0]), "fix_y": np.array([6.0]), "fix_duration": np.array([200.0])},
    ]
    cells = [{"img": f"{name}.jpg", "subjects": _cells(looks)} for name in ("1001", "1002")]
    _save_mat(tmp_path / file, {"fixations": _cells(cells)})

    dataset = read_dataset(tmp_path, strict=True)

    assert _names(dataset) == ["1001", "1002"]
    np.testing.assert_array_equal(_fixations(dataset.samples[1]).xy, [[3, 4], [8.5, 9.5], [5, 6]])
    np.testing.assert_array_equal(_fixations(dataset.samples[1]).subject, [0, 0, 1])


@pytest.mark.parametrize(
    ("values", "message"), [({"fixations": np.arange(3)}, "is not OSIE's"), ({"other": 1}, "has no variable")]
)
def test_foreign_mat_is_refused(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    _photo(tmp_path / "stimuli/1001.jpg")
    _save_mat(tmp_path / "fixations.mat", values)

    with pytest.raises(InputError, match=message):
        read_dataset(tmp_path)


def test_damaged_mat_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("scipy.io", reason="needs pip install 'saliency-edge[matlab]'")
    _photo(tmp_path / "stimuli/1001.jpg")
    (tmp_path / "fixations.mat").write_bytes(b"no Matlab file at all" * 20)

    with pytest.raises(InputError, match=r"cannot read .*fixations\.mat"):
        read_dataset(tmp_path)


def test_mat_without_scipy_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _photo(tmp_path / "stimuli/1001.jpg")
    (tmp_path / "fixations.mat").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "scipy.io", None)

    with pytest.raises(BackendError, match=r"pip install 'saliency-edge\[matlab\]'"):
        read_dataset(tmp_path)


def test_shared_datasets_are_whole(shared_data: Path) -> None:
    counts = {
        split: len(read_dataset(shared_data / "salicon", split=split, strict=True, stretch=True))
        for split in ("train", "val")
    }
    scenes = read_dataset(shared_data / "scene500", strict=True)

    assert counts == {"train": 589, "val": 161}
    assert len(scenes) == 500


def test_pixels_are_bgr_and_grey_of_0_to_1(tmp_path: Path) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[..., 0] = 255
    assert cv2.imwrite(str(tmp_path / "blue.png"), picture)
    assert cv2.imwrite(str(tmp_path / "grey.png"), np.full((4, 4), 51, np.uint8))

    np.testing.assert_array_equal(read_photo(tmp_path / "blue.png"), picture)
    np.testing.assert_array_equal(read_map(tmp_path / "grey.png"), np.full((4, 4), 0.2, np.float32))
