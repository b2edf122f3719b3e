"""The part of TensorRT's API that is called, held against package and stubs; and the two flavours."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from saliency_edge.export.engines import tensorrt_api
from saliency_edge.export.engines.tensorrt_api import available_flavours, choose, load
from saliency_edge.runtime.errors import BackendError

EXPORT = Path(tensorrt_api.__file__).parent
SOURCES = ("tensorrt_api.py", "network_report.py", "build_session.py")
# Asked for by the property `builds_ahead`: only TensorRT-RTX has them.
AHEAD_ONLY = {
    "ComputeCapability",
    "ComputeCapability.__members__",
    "IBuilderConfig.set_compute_capability",
    "IBuilderConfig.num_compute_capabilities",
}
Arity = tuple[int, int]
"""The fewest and the most arguments that a method takes, without self."""
Members = dict[str, dict[str, Arity | None]]
"""Members of classes: methods with their arity, attributes with None."""


class UsedNames(ast.NodeVisitor):
    """Collects dotted names behind `trt`, such as `BuilderFlag.TF32`, and those that hasattr asks for."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.asked_for: set[str] = set()
        self._aliases: dict[str, list[str]] = {}

    def visit_Assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        if isinstance(target, ast.Name) and self._parts(node.value):
            self._aliases[target.id] = self._parts(node.value)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.names.add(".".join(self._parts(node)))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id == "hasattr":
            name = node.args[1]
            assert isinstance(name, ast.Constant)
            self.asked_for.add(".".join([*self._parts(node.args[0]), str(name.value)]))
        self.generic_visit(node)

    def _parts(self, node: ast.expr) -> list[str]:
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            parts[:0] = ["trt", *self._aliases[node.id]] if node.id in self._aliases else [node.id]
        return parts[parts.index("trt") + 1 :] if "trt" in parts else []


@pytest.fixture(scope="module")
def used() -> UsedNames:
    """What our sources use on the module."""
    visitor = UsedNames()
    for name in SOURCES:
        visitor.visit(ast.parse((EXPORT / name).read_text(encoding="utf-8")))
    visitor.names.discard("")
    return visitor


@pytest.fixture(scope="module")
def called() -> Members:
    """What our protocols, and so our calls, expect of TensorRT's classes."""
    members = members_of((EXPORT / "tensorrt_types.py").read_text(encoding="utf-8"))
    del members["DataType"]["name"]  # every enumeration's
    return members


def members_of(source: str) -> Members:
    """Collect the members of classes in a source or stub file, inherited ones too."""
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    return {name: members_of_class(name, classes) for name in classes}


def members_of_class(name: str, classes: dict[str, ast.ClassDef]) -> dict[str, Arity | None]:
    own: dict[str, Arity | None] = {}
    for base in map(ast.unparse, classes[name].bases):
        own.update(members_of_class(base, classes) if base in classes else {})
    for item in classes[name].body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("__"):
            is_property = any(ast.unparse(mark) == "property" for mark in item.decorator_list)
            own[item.name] = None if is_property else widest(own.get(item.name), arity_of(item.args))
        elif isinstance(item, ast.AnnAssign):
            own[ast.unparse(item.target)] = None
    return own


def arity_of(arguments: ast.arguments) -> Arity:
    most = len(arguments.posonlyargs) + len(arguments.args) - 1
    return most - len(arguments.defaults), most


def widest(*arities: Arity | None) -> Arity:
    known = [arity for arity in arities if arity]
    return min(fewest for fewest, _ in known), max(most for _, most in known)


def documented_arity(method: object, name: str) -> Arity:
    """Read a method's arity from the signatures that pybind11 writes into its documentation."""
    signatures = re.findall(rf"^(?:\d+\. )?{name}\((self: .*)\) -> ", method.__doc__ or "", re.MULTILINE)
    arities = []
    for signature in signatures:
        arguments = re.findall(r"(?:^|, )(\w+): ([^,]*(?:\[[^\]]*\])?[^,]*)", signature)[1:]
        arities.append((sum(" = " not in kind for _, kind in arguments), len(arguments)))
    return widest(*arities)


def wrong_calls(called: Members, real: Members) -> list[str]:
    """List members that a class lacks, or that take another number of arguments."""
    wrong = []
    for kind, members in called.items():
        for name, arity in members.items():
            if name not in real.get(kind, {}):
                wrong.append(f"{kind}.{name} is missing")
            elif arity and (there := real[kind][name]) and not there[0] <= arity[1] <= there[1]:
                wrong.append(f"{kind}.{name} takes {there} arguments, called with {arity[1]}")
    return wrong


def real_members(trt: ModuleType, called: Members) -> Members:
    """Look up on an imported package what is called."""
    real: Members = {}
    for kind, members in called.items():
        there = getattr(trt, kind)
        real[kind] = {
            name: None if arity is None else documented_arity(getattr(there, name), name)
            for name, arity in members.items()
            if hasattr(there, name)
        }
    return real


def resolves(trt: ModuleType, name: str) -> bool:
    found: object = trt
    for part in name.split("."):
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


def test_tensorrt_rtx_has_all_that_is_used(used: UsedNames, called: Members) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX here: pip install 'saliency-edge[rtx]'")
    missing = sorted(name for name in used.names - used.asked_for if not resolves(trt, name))

    assert missing == []
    assert wrong_calls(called, real_members(trt, called)) == []


def stub_members() -> Members:
    """Read the stubs of the full package, which come without it."""
    spec = find_spec("tensorrt_bindings")
    folders: Sequence[str] = (spec.submodule_search_locations or []) if spec else []
    files = [Path(folder) / "tensorrt.pyi" for folder in folders]
    stub = next((file for file in files if file.is_file()), None)
    if stub is None:
        pytest.skip("no stubs of TensorRT here: pip install --no-deps tensorrt-stubs")
    return members_of("\n".join(map(readable, stub.read_text(encoding="utf-8").split("\n"))))


def readable(line: str) -> str:
    """Mend a line that is no Python: some stubs have defaults out of order, or a keyword for a name."""
    if not line.lstrip().startswith("def "):
        return line
    try:
        ast.parse(f"{line.strip()} ...")
    except SyntaxError:
        return re.sub(r" = [^,()]+", "", line).replace(" in:", " in_:")
    return line


def test_the_stubs_of_tensorrt_have_all_that_is_used(used: UsedNames, called: Members) -> None:
    real = stub_members()
    expected = sorted(used.names - AHEAD_ONLY - {"__version__"})
    missing = [name for name in expected if not in_stubs(name, real)]

    assert missing == []
    wrong = [line for line in wrong_calls(called, real) if line.removesuffix(" is missing") not in AHEAD_ONLY]
    assert wrong == []
    assert not in_stubs("IBuilderConfig.set_compute_capability", real), "AHEAD_ONLY has become untrue"


def in_stubs(name: str, real: Members) -> bool:
    kind, _, member = name.partition(".")
    return kind in real and (not member or member in real[kind])


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
