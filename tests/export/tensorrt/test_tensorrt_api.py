"""The part of TensorRT's API that is called, held against package and stubs; and the two flavours."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from api_use import (
    Members,
    UsedNames,
    in_stubs,
    members_of,
    real_members,
    resolves,
    stub_members,
    used_names,
    wrong_calls,
)
from saliency_edge.export.tensorrt import library
from saliency_edge.export.tensorrt.build import EnginePlan, why_none
from saliency_edge.export.tensorrt.library import available_flavours, choose, load
from saliency_edge.runtime.errors import BackendError

EXPORT = Path(library.__file__).parent
SOURCES = ("library.py", "precision_proof.py")
# Asked for by the property `builds_ahead`: only TensorRT-RTX has them.
AHEAD_ONLY = {
    "ComputeCapability",
    "ComputeCapability.__members__",
    "IBuilderConfig.set_compute_capability",
    "IBuilderConfig.num_compute_capabilities",
}


@pytest.fixture(scope="module")
def used() -> UsedNames:
    """What our sources use on the module."""
    return used_names(EXPORT / name for name in SOURCES)


@pytest.fixture(scope="module")
def called() -> Members:
    """What our protocols, and so our calls, expect of TensorRT's classes."""
    return members_of((EXPORT / "types.py").read_text(encoding="utf-8"))


def test_tensorrt_rtx_has_all_that_is_used(used: UsedNames, called: Members) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX here: pip install 'saliency-edge[rtx]'")
    missing = sorted(name for name in used.names - used.asked_for if not resolves(trt, name))

    assert missing == []
    assert wrong_calls(called, real_members(trt, called)) == []


def test_the_stubs_of_tensorrt_have_all_that_is_used(used: UsedNames, called: Members) -> None:
    real = stub_members()
    expected = sorted(used.names - AHEAD_ONLY - {"__version__"})
    missing = [name for name in expected if not in_stubs(name, real)]

    assert missing == []
    wrong = [line for line in wrong_calls(called, real) if line.removesuffix(" is missing") not in AHEAD_ONLY]
    assert wrong == []
    assert not in_stubs("IBuilderConfig.set_compute_capability", real), "AHEAD_ONLY has become untrue"


def test_what_is_asked_for_exists_somewhere(used: UsedNames) -> None:
    """A misspelt hasattr would be false for ever, and nobody would see it."""
    trt = pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX here: pip install 'saliency-edge[rtx]'")
    missing = [name for name in used.asked_for if not resolves(trt, name)]
    nowhere = [name for name in missing if not in_stubs(name, stub_members())]

    assert nowhere == []


def test_the_check_itself_finds_names_and_mistakes(used: UsedNames, called: Members) -> None:
    assert {
        "BuilderFlag.TF32",
        "LayerType.DEQUANTIZE",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
    } <= used.names
    assert {"IBuilderConfig.set_compute_capability", "BuilderFlag.FP16", "Builder"} <= used.asked_for
    assert called["IOptimizationProfile"]["set_shape"] == (4, 4)
    assert called["IDeconvolutionLayer"].keys() >= {"kernel", "get_input"}
    real = members_of("class Builder:\n    def build(self, a, b=1): ...\n")
    assert wrong_calls({"Builder": {"build": (1, 1)}}, real) == []
    assert wrong_calls({"Builder": {"build": (3, 3), "bild": None}, "Bilder": {"x": None}}, real) == [
        "Builder.build takes (1, 2) arguments, called with 3",
        "Builder.bild is missing",
        "Bilder.x is missing",
    ]


load_anew = load.__wrapped__  # past the cache


@pytest.fixture
def lone_tensorrt(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An empty module in TensorRT's place."""
    module = ModuleType("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


class TestFlavours:
    """Which flavour is taken, and why another is not."""

    def test_tensorrt_without_its_builder_is_refused(self, lone_tensorrt: ModuleType) -> None:
        assert not hasattr(lone_tensorrt, "Builder")
        with pytest.raises(BackendError, match="tensorrt is here without its builder"):
            load_anew("tensorrt")

    def test_tensorrt_before_strong_typing_is_refused(self, lone_tensorrt: ModuleType) -> None:
        flags = type("BuilderFlag", (), {"FP16": 0})
        kinds = type("NetworkDefinitionCreationFlag", (), {"EXPLICIT_BATCH": 0})
        vars(lone_tensorrt).update(
            Builder=object, BuilderFlag=flags, NetworkDefinitionCreationFlag=kinds, __version__="8.5"
        )

        with pytest.raises(BackendError, match=r"tensorrt 8\.5 is too old .* JetPack 6\.1"):
            load_anew("tensorrt")

    def test_a_package_that_cannot_be_imported_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)

        with pytest.raises(BackendError, match=r"tensorrt_rtx cannot be imported .*'saliency-edge\[rtx\]'"):
            load_anew("rtx")

    def test_on_arm_the_remedy_is_jetpacks_tensorrt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """TensorRT-RTX does not exist there, so a Jetson's user hears nothing of it unless he asks."""
        monkeypatch.setattr("platform.machine", lambda: "aarch64")
        monkeypatch.setattr(library, "find_spec", lambda _name: None)
        for name in ("tensorrt", "tensorrt_rtx"):
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setattr(library, "load", load_anew)

        (status,) = available_flavours()

        assert status.problem is not None
        assert "/usr/bin/python3 -m venv --system-site-packages" in status.problem
        assert "pip" not in status.problem
        assert why_none(EnginePlan(flavour="auto", targets=())) == status.problem
        with pytest.raises(BackendError, match="It does not exist for aarch64"):
            choose("rtx")

    def test_rtx_needs_no_gpu(self) -> None:
        trt = pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX here")
        (status,) = (status for status in available_flavours() if status.flavour == "rtx")
        api = choose("rtx")

        assert (status.version, status.problem) == (trt.__version__, None)
        assert api is load("rtx")
        assert api.targets == tuple(
            name.lower() for name in trt.ComputeCapability.__members__ if name.startswith("SM")
        )

    def test_none_is_nothing(self) -> None:
        assert choose("none") is None
