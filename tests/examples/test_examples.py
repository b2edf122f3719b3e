"""The examples are run as a user would, on a toy bundle and the shipped media."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from saliency_edge.runtime import Predictor
from toy_models import save_clip, save_toy_bundle

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, *words: object, python: str = sys.executable) -> str:
    done = subprocess.run(
        [python, str(EXAMPLES / name), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy_bundle(tmp_path_factory.mktemp("examples") / "toy", ("fp32", "fp16"))


def bright_patch(size_hw: tuple[int, int], left: int) -> np.ndarray:
    """A dark image with a bright patch, which the toy network finds salient."""
    image = np.full((*size_hw, 3), 20, np.uint8)
    image[:, left : left + 16] = 250
    return image


def test_predict_finds_the_bright_patch(bundle: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "image.png"), bright_patch((96, 128), 96))
    said = run("predict.py", bundle, tmp_path / "image.png", tmp_path / "overlay.png")

    x = int(said.partition("x=")[2].partition(",")[0])
    assert 88 <= x < 120
    assert cv2.imread(str(tmp_path / "overlay.png")).shape == (96, 128, 3)


def test_smart_crop_keeps_the_bright_patch(bundle: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "image.png"), bright_patch((96, 128), 96))
    run("smart_crop.py", bundle, tmp_path / "image.png", tmp_path / "crop.png", "--aspect", "1:2")
    crop = cv2.imread(str(tmp_path / "crop.png"))

    assert crop.shape == (96, 48, 3)
    assert (crop > 200).mean() > 0.3, "16 of the 48 columns are bright"


def test_smart_crop_of_a_clip(bundle: Path, tmp_path: Path) -> None:
    save_clip(tmp_path / "clip.mp4", 6, (96, 128))
    run("smart_crop.py", bundle, tmp_path / "clip.mp4", tmp_path / "crop.mp4", "--aspect", "1:1")
    capture = cv2.VideoCapture(str(tmp_path / "crop.mp4"))
    sizes = []
    while (frame := capture.read()[1]) is not None:
        sizes.append(frame.shape)

    assert sizes == [(96, 96, 3)] * 6


async def _posted(bundle: Path) -> tuple[int, np.ndarray, dict[str, float], int]:
    from aiohttp.test_utils import TestClient, TestServer

    spec = importlib.util.spec_from_file_location("http_server", EXAMPLES / "http_server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    image = cv2.imencode(".png", bright_patch((96, 128), 96))[1].tobytes()
    with Predictor(bundle) as predictor:
        async with TestClient(TestServer(module.make_app(predictor))) as client:
            png = await client.post("/saliency", data=image)
            peak = await client.post("/peak", data=image)
            junk = await client.post("/peak", data=b"junk")
            found = cv2.imdecode(np.frombuffer(await png.read(), np.uint8), cv2.IMREAD_UNCHANGED)
            return png.status, found, await peak.json(), junk.status


def test_http_server_answers_with_map_and_peak(bundle: Path) -> None:
    import asyncio

    pytest.importorskip("aiohttp", reason="needs pip install 'saliency-edge[web]'")
    status, found, peak, junk_status = asyncio.run(_posted(bundle))

    assert (status, junk_status) == (200, 415)
    assert (found.dtype, found.shape) == (np.uint16, (96, 128))
    assert 88 <= peak["x"] < 120
    assert peak["saliency"] == pytest.approx(found.max() / 65535, abs=1e-4)


def test_gstreamer_appsink_gives_the_balls_place(bundle: Path, tmp_path: Path) -> None:
    """gi comes with the system's Python alone: the environment's packages are lent to it."""
    system = shutil.which("python3", path="/usr/bin")
    script = "import gi, sys; print(*sys.version_info[:2])"
    asked = [system, "-c", script] if system else ["false"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode or done.stdout.split() != [str(part) for part in sys.version_info[:2]]:
        pytest.skip("the system's Python has no gi (python3-gi), or is of another version")
    (tmp_path / "saliency_edge").mkdir()
    (tmp_path / "saliency_edge/runtime").symlink_to(EXAMPLES.parent / "runtime")
    packages = [path for path in sys.path if path.endswith("site-packages")]
    done = subprocess.run(
        [str(system), str(EXAMPLES / "gstreamer_appsink.py"), str(bundle)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *packages])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "saliency=" in done.stdout
