"""Reading what our sources call of an API, and what packages and stubs have of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

API = Path(__file__).parents[1] / ".cache" / "api"

Arity = tuple[int, int]
"""The fewest and the most arguments that a method takes, without self."""
Members = dict[str, dict[str, Arity | None]]
"""Members of classes: methods with their arity, attributes with None."""


class UsedNames(ast.NodeVisitor):
    """Collects dotted names behind a module's, such as `BuilderFlag.TF32` behind `trt`.

    Those that hasattr asks for are collected apart, and how many arguments each call has.
    """

    def __init__(self, root: str = "trt") -> None:
        self.root = root
        self.calls: dict[str, set[int]] = {}
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
        elif isinstance(node.func, ast.Attribute) and self._parts(node.func):
            self.calls.setdefault(".".join(self._parts(node.func)), set()).add(len(node.args))
        self.generic_visit(node)

    def _parts(self, node: ast.expr) -> list[str]:
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            parts[:0] = [self.root, *self._aliases[node.id]] if node.id in self._aliases else [node.id]
        return parts[parts.index(self.root) + 1 :] if self.root in parts else []


def members_of(source: str) -> Members:
    """Collect the members of classes in a source or stub file, inherited ones too."""
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    return {name: members_of_class(name, classes) for name in classes}


def protocols_in(source: str) -> Members:
    """Collect the members of a source file's protocols alone."""
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    protocols = [name for name, node in classes.items() if "Protocol" in map(ast.unparse, node.bases)]
    return {name: members_of_class(name, classes) for name in protocols}


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


def documented_arity(documentation: str, name: str) -> Arity:
    """Read a method's arity from the signatures that pybind11 writes into its documentation."""
    signatures = re.findall(rf"^(?:\d+\. )?{name}\((self: .*)\) -> ", documentation, re.MULTILINE)
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
            name: None if arity is None else documented_arity(getattr(there, name).__doc__ or "", name)
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


def package_folder(name: str) -> Path:
    """Give the folder of a package that is kept apart, as it goes with no other; `tests/api` lists them.

    They are put there by `make api`.
    """
    folder = API / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in {API}: make api")
    return folder


def stub_members() -> Members:
    """Read the stubs of the full package, which come without it."""
    stub = package_folder("tensorrt-stubs-10.13") / "tensorrt_bindings" / "tensorrt.pyi"
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


def in_stubs(name: str, real: Members) -> bool:
    kind, _, member = name.partition(".")
    return kind in real and (not member or member in real[kind])


def used_names(sources: Iterable[Path], root: str = "trt") -> UsedNames:
    """Collect what some sources use behind a module's name."""
    visitor = UsedNames(root)
    for source in sources:
        visitor.visit(ast.parse(source.read_text(encoding="utf-8")))
    visitor.names.discard("")
    return visitor
