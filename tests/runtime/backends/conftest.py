"""Doubles of TensorRT and CUDA in the packages' places."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from cuda_double import CudaDouble
from saliency_edge.runtime.backends.tensorrt.libraries import find_runtime
from tensorrt_double import Install, TensorRtDouble


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test find what another one has proved: doubles of one content may do different things."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install doubles; when the test ends, all must have been given back, and no rule broken."""
    installed: list[TensorRtDouble] = []

    def put(cuda: CudaDouble | None = None, name: str = "tensorrt", **options: object) -> TensorRtDouble:
        double = TensorRtDouble(cuda=cuda or CudaDouble(), **options)  # type: ignore[arg-type]
        monkeypatch.setitem(sys.modules, "cuda.bindings.driver", double.cuda.module())
        monkeypatch.setitem(sys.modules, name, double.module(name))
        find_runtime.cache_clear()
        installed.append(double)
        return double

    yield put
    find_runtime.cache_clear()
    for double in installed:
        assert double.cuda.violations == []
        assert double.cuda.live() == []
        assert double.cuda.contexts_retained == 0
        assert [context for context in double.contexts if context() is not None] == []


@pytest.fixture
def double(install: Install) -> TensorRtDouble:
    """A discrete GPU with TensorRT 10.3."""
    return install()
