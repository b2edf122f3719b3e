"""Every file and text that training and evaluation parse: read, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dataset_files import cells, save_mat
from fuzzing import BOUNDED, VALUES, damaged_bytes, damaged_json, refuses
from saliency_edge.runtime.errors import InputError
from saliency_edge.train.checkpoint import load_checkpoint, read_safetensors, shipped_weights
from saliency_edge.train.datasets import read_names
from saliency_edge.train.datasets.layouts import find_cat2000, find_osie, find_salicon, read_table
from saliency_edge.train.losses import parse_loss
from saliency_edge.train.networks import NetworkConfig, config_of
from saliency_edge.train.networks.mlnet import MLNet, load_vgg16

SALICON = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": 480, "width": 640}],
    "annotations": [{"image_id": 1, "fixations": [[3, 4], [5, 6]]}],
}
TABLE = "image,subject,x,y\na.jpg,one,3,4\nb.jpg,two,5.5,6\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def tensors() -> bytes:
    """A small file of safetensors with the header of a shipped network."""
    from safetensors.torch import save

    _, metadata = read_safetensors(shipped_weights("deep_half"))
    return save({"a": torch.zeros(3), "b": torch.ones(2, 2, dtype=torch.float16)}, metadata)


@BOUNDED
@given(data=st.data())
def test_checkpoints(folder: Path, tensors: bytes, data: st.DataObject) -> None:
    path = folder / "x.safetensors"
    head = data.draw(damaged_bytes(tensors[:200]))  # the header's length, names, types, shapes and offsets
    path.write_bytes(head + tensors[200:])

    assert refuses(lambda: load_checkpoint(path))  # whole, it does not fit the network


@BOUNDED
@given(data=st.data())
def test_headers_of_checkpoints(data: st.DataObject) -> None:
    text = data.draw(damaged_json(json.loads(json.dumps(config_of("deep_half").to_json()))))
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(values, dict):
        refuses(lambda: NetworkConfig.from_json(values, "x"))


@BOUNDED
@given(text=damaged_json(SALICON))
def test_annotations_of_salicon(folder: Path, text: str) -> None:
    root = folder / "salicon"
    root.mkdir(exist_ok=True)
    (root / "fixations_train2014.json").write_text(text, encoding="utf-8")

    refuses(lambda: find_salicon(root, None))


@BOUNDED
@given(content=st.binary(max_size=100) | damaged_bytes(TABLE.encode()))
def test_tables_of_fixations(folder: Path, content: bytes) -> None:
    path = folder / "fixations.csv"
    path.write_bytes(content)

    refuses(lambda: read_table(path))


@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)) * 20,
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        TABLE.encode("utf-16"),
        b"image,subject,x,y\n,one,1,2\n",
        b"image,subject,x,y\na.jpg\n",
        b"image,subject,x,y\na.jpg,one,left,2\n",
        b"image,subject,x,y\n" + b"a" * 200_000 + b",one,1,2\n",
        b"",
    ],
)
def test_tables_that_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "fixations.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"fixations\.csv"):
        read_table(tmp_path / "fixations.csv")


@BOUNDED
@given(content=st.binary(max_size=100))
def test_lists_of_names(folder: Path, content: bytes) -> None:
    (folder / "names.txt").write_bytes(content)

    refuses(lambda: read_names(folder / "names.txt"))


class Cell:
    """A structure of Matlab as scipy writes it."""


@pytest.fixture(scope="module")
def matlab(folder: Path) -> dict[str, bytes]:
    """A file of each layout."""
    pytest.importorskip("scipy")
    subject = {"fix_x": np.array([1.0, 2.0]), "fix_y": np.array([3.0, 4.0])}
    save_mat(folder / "osie.mat", {"fixations": cells([{"img": "a.jpg", "subjects": cells([subject])}])})
    save_mat(folder / "gaze.mat", {"gaze": cells([{"fixations": np.array([[1.0, 2.0]])}])})
    save_mat(folder / "cat.mat", {"fixLocs": np.eye(8, dtype=np.uint8)})
    return {name: (folder / f"{name}.mat").read_bytes() for name in ("osie", "gaze", "cat")}


@pytest.mark.parametrize("layout", ["osie", "gaze", "cat"])
@BOUNDED
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_matlab_files(folder: Path, matlab: dict[str, bytes], layout: str, data: st.DataObject) -> None:
    root = folder / layout
    names = {"osie": "fixations.mat", "gaze": "fixations/train/a.mat", "cat": "FIXATIONLOCS/Action/001.mat"}
    path = root / names[layout]
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = matlab[layout]
    # Cut off, or its head damaged. Damage within is left out: SciPy itself can crash there (SIGSEGV).
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    path.write_bytes(
        data.draw(st.just(cut) | damaged_bytes(whole[:128]).map(lambda head: head + whole[128:]))
    )
    find = {"osie": find_osie, "gaze": find_salicon, "cat": find_cat2000}[layout]

    refuses(lambda: find(root, None))


@pytest.mark.parametrize(
    ("layout", "values"),
    [
        ("cat", {"fixLocs": "text"}),
        ("cat", {"fixLocs": np.zeros((2, 2, 2))}),
        ("osie", {"fixations": np.zeros((3, 3))}),
        ("osie", {"fixations": cells([{"img": "a.jpg", "subjects": "none"}])}),
        ("gaze", {"gaze": cells([{"fixations": cells(["x"])}])}),
        ("gaze", {"gaze": np.zeros(3)}),
    ],
)
def test_matlab_files_of_other_kinds(layout: str, values: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    names = {"osie": "fixations.mat", "gaze": "fixations/train/a.mat", "cat": "FIXATIONLOCS/Action/001.mat"}
    path = tmp_path / names[layout]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_mat(path, values)
    find = {"osie": find_osie, "gaze": find_salicon, "cat": find_cat2000}[layout]

    assert refuses(lambda: find(tmp_path, None))


@BOUNDED
@given(data=st.data())
def test_backbones(folder: Path, data: st.DataObject) -> None:
    path = folder / "vgg16.npz"
    np.savez(path, **{"conv1_1.weight": np.zeros((64, 3, 3, 3), np.float16), "conv1_1.bias": np.zeros(64)})
    path.write_bytes(data.draw(damaged_bytes(path.read_bytes())))

    assert refuses(lambda: load_vgg16(NETWORK, path))


NETWORK = MLNet()


@BOUNDED
@given(
    text=st.text(max_size=20)
    | st.lists(st.sampled_from(["kld", "cc", "+", "*", "0", "9", ".", "-", "nan"])).map("".join)
)
def test_losses(text: str) -> None:
    refuses(lambda: parse_loss(text))


@BOUNDED
@given(value=VALUES)
def test_configurations_of_any_value(value: Any) -> None:
    if isinstance(value, dict):
        assert refuses(lambda: NetworkConfig.from_json(value, "x"))
