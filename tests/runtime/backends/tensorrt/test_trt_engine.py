"""The runtime of TensorRT engines, on a double that computes real maps and enforces CUDA's rules."""

from __future__ import annotations

import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cuda_double import MIB, CudaDouble
from engine_files import save_toy_engine
from saliency_edge.runtime.backends.backend import Pending, submit
from saliency_edge.runtime.backends.tensorrt.engine import TensorRtModel
from saliency_edge.runtime.contract import Contract
from saliency_edge.runtime.errors import BackendError, ContractError
from tensorrt_double import MARK, Install, TensorRtDouble
from toy_models import SIZE_HW, noise, toy_contract, toy_map

pytestmark = pytest.mark.usefixtures("double")
FRAME_BYTES = SIZE_HW[0] * SIZE_HW[1] * 3


def load(folder: Path, contract: Contract | None = None) -> TensorRtModel:
    path = folder / "toy.engine"
    return TensorRtModel.load(path, save_toy_engine(path, contract))


def frames_of(*seeds: int) -> NDArray[np.uint8]:
    return np.stack([noise(SIZE_HW, seed) for seed in seeds])


def assert_maps(maps: NDArray[np.float32], frames: NDArray[np.uint8]) -> None:
    np.testing.assert_allclose(maps, np.stack([toy_map(frame) for frame in frames]), atol=1e-6)


@pytest.mark.parametrize("integrated", [False, True], ids=["discrete", "integrated"])
@pytest.mark.parametrize("capturable", [False, True], ids=["plain", "graph"])
@pytest.mark.parametrize("batch", [(1, 1), (3, 3), (1, 4)], ids=["one", "three", "dynamic"])
def test_maps_are_the_networks_own(
    tmp_path: Path, install: Install, integrated: bool, capturable: bool, batch: tuple[int, int]
) -> None:
    double = install(CudaDouble(integrated=integrated), capturable=capturable)
    with closing(load(tmp_path, toy_contract(batch=batch))) as engine:
        for seed in range(4):
            count = batch[0] if batch[0] == batch[1] else seed + 1
            frames = frames_of(*range(seed, seed + count))
            assert_maps(engine.infer(frames), frames)

    uses_graph = capturable and batch[0] == batch[1]
    assert ("cuGraphLaunch" in double.cuda.calls) is uses_graph
    assert ("cuMemcpyHtoDAsync" in double.cuda.calls) is not integrated


def test_one_lane_serves_who_waits_for_each_map(tmp_path: Path, double: TensorRtDouble) -> None:
    with closing(load(tmp_path)) as engine:
        for seed in range(5):
            engine.infer(frames_of(seed))
        assert double.cuda.calls.count("cuStreamCreate") == 1
    assert double.cuda.most_at_once == 1


def test_submitted_frames_overlap_and_keep_their_order(tmp_path: Path, double: TensorRtDouble) -> None:
    batches = [frames_of(seed) for seed in range(7)]
    with closing(load(tmp_path)) as engine:
        pending = [submit(engine, batch) for batch in batches]
        assert double.cuda.calls.count("cuStreamCreate") == 2
        for batch, item in reversed(list(zip(batches, pending, strict=True))):
            assert_maps(item.result(), batch)
    assert double.cuda.most_at_once == 2


def test_maps_stay_the_callers_own(tmp_path: Path) -> None:
    with closing(load(tmp_path)) as engine:
        first = engine.submit(frames_of(0))
        maps = first.result()
        engine.infer(frames_of(1))
        engine.infer(frames_of(2))
    assert_maps(maps, frames_of(0))
    assert_maps(first.result(), frames_of(0))


def test_what_is_under_way_is_completed_before_the_end(tmp_path: Path) -> None:
    with closing(load(tmp_path)) as engine:
        pending = [engine.submit(frames_of(seed)) for seed in range(2)]
    assert_maps(pending[1].result(), frames_of(1))


def test_results_are_taken_in_another_thread(tmp_path: Path) -> None:
    """As the pipeline does: one thread submits, another one takes the maps; the loader closes."""
    found: list[NDArray[np.float32]] = []

    def collect(pending: list[Pending]) -> None:
        found.extend(item.result() for item in pending)

    with closing(load(tmp_path)) as engine:
        pending = [submit(engine, frames_of(seed)) for seed in range(6)]
        thread = threading.Thread(target=collect, args=(pending,))
        thread.start()
        thread.join()
    assert_maps(np.concatenate(found), frames_of(*range(6)))


def test_frames_of_another_shape_are_refused(tmp_path: Path) -> None:
    with closing(load(tmp_path)) as engine:
        with pytest.raises(ContractError, match=r"found uint8 \(1, 8, 8, 3\)"):
            engine.infer(np.zeros((1, 8, 8, 3), np.uint8))
        with pytest.raises(ContractError, match="1 to 1"):
            engine.infer(frames_of(0, 1))


def test_without_memory_for_a_second_lane_the_first_serves_all(tmp_path: Path, install: Install) -> None:
    double = install(CudaDouble(memory_bytes=MIB + 2 * FRAME_BYTES), context_bytes=MIB)
    with closing(load(tmp_path)) as engine:
        pending = [engine.submit(frames_of(seed)) for seed in range(4)]
        for seed, item in enumerate(pending):
            assert_maps(item.result(), frames_of(seed))
    assert double.cuda.most_at_once == 1


@pytest.mark.parametrize("memory_bytes", [0, MIB - 1, MIB, MIB + FRAME_BYTES])
def test_out_of_memory_is_said_in_one_line(tmp_path: Path, install: Install, memory_bytes: int) -> None:
    install(CudaDouble(memory_bytes=memory_bytes), context_bytes=MIB)
    with pytest.raises(BackendError, match=r"memory.*Close other programs") as raised:
        load(tmp_path)
    assert "\n" not in str(raised.value)


def test_an_engine_that_tensorrt_does_not_take(tmp_path: Path) -> None:
    path = tmp_path / "toy.engine"
    receipt = save_toy_engine(path)
    path.write_bytes(b"junk")
    with pytest.raises(
        BackendError,
        match=r"TensorRT 10\.3\.0 does not load toy\.engine: .*magic tag\. Build the engine again",
    ):
        TensorRtModel.load(path, receipt)


def test_an_engine_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "toy.engine"
    receipt = save_toy_engine(path, toy_contract((48, 64)))
    save_toy_engine(path)
    with pytest.raises(
        ContractError, match=r"\(1, 24, 32, 3\).*receipt says.*\(1, 48, 64, 3\).*Build it again"
    ):
        TensorRtModel.load(path, receipt)


def test_a_failure_on_the_device_reaches_whoever_waits(tmp_path: Path, install: Install) -> None:
    """CUDA finds out while the work is done, not when it is asked for; and the device stays unusable."""
    double = install()
    engine = load(tmp_path)
    pending = engine.submit(frames_of(0))
    double.cuda.streams[0x5001].queue[0].blocks[1].freed = True
    with pytest.raises(BackendError, match="CUDA refuses: CUDA_ERROR_ILLEGAL_ADDRESS"):
        pending.result()
    with pytest.raises(BackendError, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        engine.infer(frames_of(1))
    double.cuda.sticky = double.cuda.sticky.__class__(0)
    engine.close()


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [("cuda.bindings.driver", "pip install cuda-python"), ("tensorrt", "pip install 'saliency-edge")],
)
def test_a_package_that_is_missing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    remedy: str,
) -> None:
    for name in (missing, *(("tensorrt_lean", "tensorrt_lean_bindings") if missing == "tensorrt" else ())):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError, match=remedy):
        load(tmp_path)


def test_version_compatible_engines_may_bring_code(tmp_path: Path, double: TensorRtDouble) -> None:
    path = tmp_path / "toy.engine"
    receipt = save_toy_engine(path)
    TensorRtModel.load(path, receipt).close()
    assert not double.host_code_allowed
    options = replace(receipt.options, version_compatible=True)
    TensorRtModel.load(path, replace(receipt, options=options)).close()
    assert double.host_code_allowed


def test_a_hundred_loads_leave_nothing(tmp_path: Path, double: TensorRtDouble) -> None:
    for seed in range(100):
        with closing(load(tmp_path)) as engine:
            engine.infer(frames_of(seed % 3))
            assert double.cuda.memory_bytes - double.cuda.free_bytes < 2 * MIB


class TestTheDouble:
    """It notices what it is there for."""

    def test_a_read_before_the_end(self, tmp_path: Path) -> None:
        with closing(load(tmp_path)) as engine:
            pending = engine.submit(frames_of(0))
            assert np.isnan(engine._slots[-1]._maps.array).all()
            pending.result()

    def test_frames_that_change_too_early(self, tmp_path: Path, double: TensorRtDouble) -> None:
        with closing(load(tmp_path)) as engine:
            engine.submit(frames_of(0))
            engine._slots[-1]._frames.array[:] = 7
        assert double.cuda.violations == ["frames changed while a copy of them was under way"]
        double.cuda.violations.clear()

    def test_things_that_are_not_given_back(self, tmp_path: Path, double: TensorRtDouble) -> None:
        engine = load(tmp_path)
        engine._device.close()
        assert double.cuda.violations == ["the context was let go with 4 blocks, 1 streams, 1 graphs"]
        double.cuda.violations.clear()
        double.cuda.contexts_retained += 1
        engine.close()

    def test_an_engine_begins_with_its_mark(self, tmp_path: Path) -> None:
        save_toy_engine(tmp_path / "toy.engine")
        assert (tmp_path / "toy.engine").read_bytes().startswith(MARK)
