"""SALICON, CAT2000, MIT1003 and OSIE, each as a tiny dataset, and SALICON's own JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dataset_files import PHOTO_HW, cells, fixations_of, names_of, save_map, save_mat, save_photo
from saliency_edge.runtime.errors import BackendError, InputError, UsageError
from saliency_edge.train.datasets import read_dataset


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
    save_photo(tmp_path / f"{photo}COCO_train_5.jpg", (15, 20))
    _salicon_json(tmp_path, folder)

    dataset = read_dataset(tmp_path, strict=True)
    sample = dataset.samples[0]

    assert len(dataset) == 1
    assert sample.size_hw == (30, 40)
    np.testing.assert_array_equal(fixations_of(sample).xy, [[0, 0], [39, 29], [10, 1]])
    np.testing.assert_array_equal(fixations_of(sample).subject, [0, 0, 1])


def test_salicon_s_own_json(shared_data: Path) -> None:
    root = shared_data / "salicon_raw10"
    values = json.loads((root / "fixations_train2014examples.json").read_text(encoding="utf-8"))

    dataset = read_dataset(root, split="train", strict=True)

    assert len(dataset) == 10
    points = sum(len(annotation["fixations"]) for annotation in values["annotations"])
    assert sum(len(fixations_of(sample).xy) for sample in dataset) == points
    assert sum(fixations_of(sample).subject.max() + 1 for sample in dataset) == len(values["annotations"])
    assert {sample.size_hw for sample in dataset} == {(480, 640)}


def test_broken_salicon_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fixations_train.json").write_text('{"images": []}', encoding="utf-8")

    with pytest.raises(InputError, match="annotations"):
        read_dataset(tmp_path)


def test_salicon_mat_with_maps(tmp_path: Path) -> None:
    save_photo(tmp_path / "images/val/COCO_val_1.jpg", (240, 320))
    save_map(tmp_path / "maps/val/COCO_val_1.png", (480, 640))
    gaze = np.zeros((2, 1), [("location", object), ("fixations", object)])
    gaze["fixations"][:, 0] = [np.array([[1, 1], [640, 480]]), np.array([[7, 3]])]
    gaze["location"][:, 0] = [np.zeros((9, 2)), np.zeros((9, 2))]
    save_mat(tmp_path / "fixations/val/COCO_val_1.mat", {"image": "COCO_val_1", "gaze": gaze})

    sample = read_dataset(tmp_path, split="val", strict=True).samples[0]

    assert sample.name == "COCO_val_1"
    assert sample.map_file == tmp_path / "maps/val/COCO_val_1.png"
    np.testing.assert_array_equal(fixations_of(sample).xy, [[0, 0], [639, 479], [6, 2]])
    np.testing.assert_array_equal(fixations_of(sample).subject, [0, 0, 1])


def test_cat2000(tmp_path: Path) -> None:
    located = np.zeros(PHOTO_HW, np.uint8)
    located[3, 7] = located[29, 39] = 1
    for category in ("Action", "Art"):
        save_photo(tmp_path / f"Stimuli/{category}/001.jpg")
        save_map(tmp_path / f"Stimuli/{category}/Output/001_SaliencyMap.jpg")
        save_map(tmp_path / f"FIXATIONMAPS/{category}/001.jpg")
        save_mat(tmp_path / f"FIXATIONLOCS/{category}/001.mat", {"fixLocs": located})

    dataset = read_dataset(tmp_path, strict=True)

    assert names_of(dataset) == ["Action/001", "Art/001"]
    assert names_of(read_dataset(tmp_path, split="Art")) == ["001"]
    np.testing.assert_array_equal(fixations_of(dataset.samples[0]).xy, [[7, 3], [39, 29]])
    np.testing.assert_array_equal(fixations_of(dataset.samples[0]).subject, [0, 0])


def test_cat2000_without_locations(tmp_path: Path) -> None:
    save_photo(tmp_path / "Stimuli/Action/001.jpg")
    save_map(tmp_path / "FIXATIONMAPS/Action/001.jpg")

    assert [sample.fixations for sample in read_dataset(tmp_path, strict=True)] == [None]


def test_mit1003(tmp_path: Path) -> None:
    save_photo(tmp_path / "ALLSTIMULI/i05june05.jpeg")
    save_map(tmp_path / "ALLFIXATIONMAPS/i05june05_fixMap.jpg")
    points = np.zeros(PHOTO_HW, np.uint8)
    points[[4, 12, 21], [9, 30, 5]] = 255
    assert cv2.imwrite(str(tmp_path / "ALLFIXATIONMAPS/i05june05_fixPts.jpg"), points)

    dataset = read_dataset(tmp_path, strict=True)

    assert names_of(dataset) == ["i05june05"]
    np.testing.assert_array_equal(fixations_of(dataset.samples[0]).xy, [[9, 4], [30, 12], [5, 21]])
    with pytest.raises(UsageError, match="no splits"):
        read_dataset(tmp_path, split="val")


@pytest.mark.parametrize("file", ["eye/fixations.mat", "fixations.mat"])
def test_osie(tmp_path: Path, file: str) -> None:
    for name in ("1001", "1002"):
        save_photo(tmp_path / f"stimuli/{name}.jpg")
    looks = [
        {
            "fix_x": np.array([3.0, 8.5]),
            "fix_y": np.array([4.0, 9.5]),
            "fix_duration": np.array([200.0, 90.0]),
        },
        {"fix_x": np.array([5.0]), "fix_y": np.array([6.0]), "fix_duration": np.array([200.0])},
    ]
    photos = [{"img": f"{name}.jpg", "subjects": cells(looks)} for name in ("1001", "1002")]
    save_mat(tmp_path / file, {"fixations": cells(photos)})

    dataset = read_dataset(tmp_path, strict=True)

    assert names_of(dataset) == ["1001", "1002"]
    np.testing.assert_array_equal(fixations_of(dataset.samples[1]).xy, [[3, 4], [8.5, 9.5], [5, 6]])
    np.testing.assert_array_equal(fixations_of(dataset.samples[1]).subject, [0, 0, 1])


@pytest.mark.parametrize(
    ("values", "message"), [({"fixations": np.arange(3)}, "is not OSIE's"), ({"other": 1}, "has no variable")]
)
def test_foreign_mat_is_refused(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    save_photo(tmp_path / "stimuli/1001.jpg")
    save_mat(tmp_path / "fixations.mat", values)

    with pytest.raises(InputError, match=message):
        read_dataset(tmp_path)


def test_damaged_mat_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("scipy.io", reason="needs pip install 'saliency-edge[matlab]'")
    save_photo(tmp_path / "stimuli/1001.jpg")
    (tmp_path / "fixations.mat").write_bytes(b"no Matlab file at all" * 20)

    with pytest.raises(InputError, match=r"cannot read .*fixations\.mat"):
        read_dataset(tmp_path)


def test_mat_without_scipy_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_photo(tmp_path / "stimuli/1001.jpg")
    (tmp_path / "fixations.mat").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "scipy.io", None)

    with pytest.raises(BackendError, match=r"pip install 'saliency-edge\[matlab\]'"):
        read_dataset(tmp_path)
