"""Imports run one way, load nothing heavy on the ground floor, and name only what is declared."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MAY_IMPORT = {
    "runtime": {"runtime"},
    "train": {"train", "runtime"},
    "calib": {"calib", "runtime"},
    "export": {"export", "calib", "train", "runtime"},
}
EXTRAS = {
    "runtime": ("onnxruntime", "openvino", "tensorrt", "rtx", "web"),
    "train": ("train", "matlab"),
    "calib": ("calib",),
    "export": ("export", "tensorrt", "rtx", "peers"),
}
NEVER_IN_RUNTIME = {"torch", "torchvision", "onnx", "onnxscript", "onnx_ir"}
LATE_IN_RUNTIME = {"onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "tensorrt_lean", "cuda"}
DISTRIBUTIONS = {
    "cv2": "opencv-python",
    "cuda": "cuda-python",
    "onnxruntime": "onnxruntime-gpu",
    "onnx_ir": "onnx-ir",
    "prometheus_client": "prometheus-client",
    "tensorrt_rtx": "tensorrt-rtx-cu12",
    "tensorrt_lean": "tensorrt",
}


@dataclass(frozen=True)
class Import:
    """One imported module: by whom, its absolute name, whether relative, and whether at once or later."""

    path: str
    line: int
    name: str
    relative: bool
    late: bool

    @property
    def top(self) -> str:
        return self.name.split(".")[0]

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.name}"


def imports_of(repository: Path, folder: str) -> list[Import]:
    """List all imports in a folder's files, those inside functions too."""
    return [
        item for path in sorted((repository / folder).rglob("*.py")) for item in _imports_in(path, repository)
    ]


def _imports_in(path: Path, repository: Path) -> Iterator[Import]:
    relative_path = path.relative_to(repository)
    package = ["saliency_edge", *relative_path.parent.parts]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {id(inner) for node in ast.walk(tree) if _runs_later(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            relative = isinstance(node, ast.ImportFrom) and node.level > 0
            for name in _absolute_names(node, package):
                yield Import(str(relative_path), node.lineno, name, relative, id(node) in late)


def _runs_later(node: ast.AST) -> bool:
    """Tell whether what the node holds is not executed when its file is imported."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _absolute_names(node: ast.Import | ast.ImportFrom, package: list[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = package[: len(package) - node.level + 1] if node.level else []
    if node.module:
        return [".".join([*base, node.module])]
    return [".".join([*base, alias.name]) for alias in node.names]


def declared_distributions(pyproject: dict[str, Any], extras: tuple[str, ...]) -> set[str]:
    """Give the distributions that the base install and some extras name, extras of extras included."""
    project = pyproject["project"]
    requirements = list(project["dependencies"])
    todo = list(extras)
    while todo:
        for requirement in project["optional-dependencies"][todo.pop()]:
            inner = re.match(r"saliency-edge\[([\w,-]+)\]", requirement)
            todo += inner[1].split(",") if inner else []
            requirements.append(requirement)
    return {re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in requirements}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_run_one_way(folder: str, repository: Path) -> None:
    own = [item for item in imports_of(repository, folder) if item.top == "saliency_edge"]

    assert [str(item) for item in own if item.name.split(".")[1] not in MAY_IMPORT[folder]] == []


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_inside_the_packages_are_relative(folder: str, repository: Path) -> None:
    own = [item for item in imports_of(repository, folder) if item.top == "saliency_edge"]

    assert [str(item) for item in own if not item.relative] == []


def test_runtime_never_names_torch_or_onnx(repository: Path) -> None:
    wrong = [str(item) for item in imports_of(repository, "runtime") if item.top in NEVER_IN_RUNTIME]

    assert wrong == []


def test_runtime_imports_its_backends_late(repository: Path) -> None:
    backends = [item for item in imports_of(repository, "runtime") if item.top in LATE_IN_RUNTIME]

    assert [str(item) for item in backends if not item.late] == []


def test_importing_all_of_runtime_loads_no_torch_and_no_backend() -> None:
    script = (
        "import importlib, pkgutil, sys\n"
        "import saliency_edge.runtime as root\n"
        "names = [m.name for m in pkgutil.walk_packages(root.__path__, 'saliency_edge.runtime.')]\n"
        "[importlib.import_module(name) for name in names]\n"
        "print(len(names), *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    count, *loaded = done.stdout.split()

    assert int(count) > 5
    assert set(loaded) & (NEVER_IN_RUNTIME | LATE_IN_RUNTIME) == set()


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_every_import_is_declared(folder: str, repository: Path, pyproject: dict[str, Any]) -> None:
    declared = declared_distributions(pyproject, EXTRAS[folder])
    third_party = [
        item
        for item in imports_of(repository, folder)
        if item.top not in sys.stdlib_module_names and item.top != "saliency_edge"
    ]

    assert [str(item) for item in third_party if DISTRIBUTIONS.get(item.top, item.top) not in declared] == []
