"""The Python API, on real files and backends; the toy network's maps are computed by hand."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from saliency_edge.runtime import Predictor, SaliencyError
from saliency_edge.runtime.errors import ArtifactError, InputError, UsageError
from toy_models import SIZE_HW, save_clip, save_images, save_toy, save_toy_bundle, toy_contract, toy_map

FRAME = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), np.uint8)


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    return Predictor(save_toy(tmp_path / "toy.onnx"))


def test_cells_are_the_networks_map(predictor: Predictor) -> None:
    np.testing.assert_allclose(predictor(FRAME, output="cells"), toy_map(FRAME), atol=1e-6)


def test_saliency_has_the_images_size_and_density_the_sum_1(predictor: Predictor) -> None:
    large = cv2.resize(FRAME, (200, 150))
    saliency, density = predictor(large), predictor(large, output="density")

    assert saliency.shape == density.shape == (150, 200)
    assert saliency.dtype == density.dtype == np.float32
    assert 0 <= saliency.min() <= saliency.max() <= 1
    assert density.sum() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(density * saliency.sum(), saliency, rtol=1e-4)


def test_density_of_a_black_map_is_uniform(predictor: Predictor) -> None:
    density = predictor(np.zeros((10, 20, 3), np.uint8), output="density")
    np.testing.assert_allclose(density, 1 / 200, rtol=1e-6)


def test_rgb_input_gives_the_map_of_its_bgr(tmp_path: Path) -> None:
    # A model whose map is the blue channel alone tells the orders apart.
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(save_toy(tmp_path / "toy.onnx"))
    mean = next(node for node in model.graph.node if node.op_type == "ReduceMean")
    model.graph.initializer.append(numpy_helper.from_array(np.int64(0), "blue"))
    mean.CopyFrom(helper.make_node("Gather", ["pixels", "blue"], ["grey"], axis=3))
    onnx.save(model, tmp_path / "blue.onnx")
    predictor = Predictor(tmp_path / "blue.onnx")
    blue = np.zeros((*SIZE_HW, 3), np.uint8)
    blue[..., 0] = 255

    assert predictor(blue).min() == pytest.approx(1, abs=1e-6)
    assert predictor(blue[..., ::-1], channel_order="rgb").min() == pytest.approx(1, abs=1e-6)
    assert predictor(blue, channel_order="rgb").max() == 0


def test_a_path_is_read_as_an_image(predictor: Predictor, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "frame.png"), FRAME)
    np.testing.assert_array_equal(predictor(tmp_path / "frame.png"), predictor(FRAME))
    np.testing.assert_array_equal(predictor(str(tmp_path / "frame.png")), predictor(FRAME))


@pytest.mark.parametrize("batch", [(1, 1), (1, 4), (2, 4)])
def test_batches_give_the_maps_of_single_calls(tmp_path: Path, batch: tuple[int, int]) -> None:
    predictor = Predictor(save_toy(tmp_path / "toy.onnx", toy_contract(batch=batch)))
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (20 + 3 * n, 31, 3), np.uint8) for n in range(5)]
    maps = predictor.batch(images)

    assert [found.shape for found in maps] == [image.shape[:2] for image in images]
    for image, found in zip(images, maps, strict=True):
        np.testing.assert_allclose(found, predictor(image), atol=1e-6)
    assert predictor.batch([]) == []


def test_a_bundle_is_proved_and_described(tmp_path: Path) -> None:
    bundle = save_toy_bundle(tmp_path / "toy", ("fp32", "fp16"))
    with Predictor(bundle, precision="fp32", backend="onnxruntime") as predictor:
        assert predictor.contract.precision == "fp32"
        assert "ONNX Runtime" in predictor.description


def test_streams_give_every_frame_of_a_file(predictor: Predictor, tmp_path: Path) -> None:
    save_clip(tmp_path / "clip.mp4", 6, (48, 64))
    results = list(predictor.stream(tmp_path / "clip.mp4", regions=2))

    assert [result.frame.index for result in results] == list(range(6))
    for result in results:
        assert result.saliency.shape == result.frame.size_hw == (48, 64)
        np.testing.assert_allclose(result.cells, predictor(result.frame.image_bgr, output="cells"), atol=1e-6)
        assert result.density.sum() == pytest.approx(1, rel=1e-5)
        assert result.age_s > 0
        assert result.overlay().shape == (48, 64, 3)
        assert len(result.regions) <= 2


def test_a_live_stream_drops_to_the_newest_frame(predictor: Predictor) -> None:
    results = predictor.stream("test:width=64,height=48,fps=200,frames=200")
    first = next(iter(results))
    assert first.age_s < 5
    results.close()  # type: ignore[attr-defined]  # a generator's
    assert predictor(FRAME).shape == SIZE_HW, "leaving the stream frees the model"


def test_folders_limits_and_smoothing(predictor: Predictor, tmp_path: Path) -> None:
    save_images(tmp_path, 4)
    assert len(list(predictor.stream(tmp_path, max_frames=3, smooth_s=0.2))) == 3
    assert [result.frame.index for result in predictor.stream(tmp_path, every=2)] == [0, 2]


def test_while_a_stream_runs_other_calls_are_refused(predictor: Predictor, tmp_path: Path) -> None:
    save_images(tmp_path, 4)
    for _ in predictor.stream(tmp_path):
        with pytest.raises(UsageError, match="a second Predictor"):
            predictor(FRAME)
        with pytest.raises(UsageError, match="a second Predictor"):
            next(iter(predictor.stream(tmp_path)))
    assert predictor(FRAME).shape == SIZE_HW


def test_threads_take_turns(predictor: Predictor) -> None:
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (*SIZE_HW, 3), np.uint8) for _ in range(40)]
    with ThreadPoolExecutor(8) as pool:
        maps = list(pool.map(lambda image: predictor(image, output="cells"), images))
    for image, found in zip(images, maps, strict=True):
        np.testing.assert_allclose(found, toy_map(image), atol=1e-6)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 \(4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), r"float32 \(4, 4, 3\)"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_image_is_refused(predictor: Predictor, image: object, found: str) -> None:
    with pytest.raises(UsageError, match=found):
        predictor(image)  # type: ignore[arg-type]


def test_other_faults_are_of_the_one_tree(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such model"):
        Predictor(tmp_path / "none")
    with pytest.raises(InputError, match="no such image"):
        predictor(tmp_path / "none.png")
    with pytest.raises(UsageError, match="expected 'saliency', 'density' or 'cells'"):
        predictor(FRAME, output="probability")  # type: ignore[arg-type]
    with pytest.raises(SaliencyError):
        next(iter(predictor.stream(tmp_path / "none.mp4")))
    predictor.close()
    predictor.close()
    with pytest.raises(UsageError, match="closed"):
        predictor(FRAME)


def test_importing_the_package_is_light() -> None:
    script = (
        "import sys; import saliency_edge.runtime; "
        "print(*sorted({'numpy', 'cv2', 'torch', 'onnx', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_importing_the_predictor_loads_no_backend() -> None:
    script = (
        "import sys; from saliency_edge.runtime import Predictor; "
        "print(*sorted({'torch', 'onnx', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
