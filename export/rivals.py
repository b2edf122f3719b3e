"""Bundles of the other int8 graphs on the Pareto front, to be timed beside the one that was taken."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.artifact import temporary_folder, write_json
from ..runtime.bundle import MANIFEST_NAME
from ..runtime.errors import BuildError
from ..runtime.machine import find_gpu
from ..runtime.records import read_json
from .bundle import GOLDEN_NAME, file_entry, write_model
from .tensorrt.build import EnginePlan, Say, build_all

if TYPE_CHECKING:
    import onnx


@contextmanager
def rival_bundles(
    bundle: Path, models: Mapping[int, onnx.ModelProto], plan: EnginePlan, say: Say
) -> Iterator[dict[int, Path]]:
    """Give each graph a bundle of its own, gone when the block is left.

    Where there is a GPU, each gets the same engines as the bundle, so that the same backend runs all of them;
    one whose engine cannot be built is left out, which is said.

    Args:
        bundle: the folder that holds the graph that was taken.
        models: the others, by their place among the sets that were tried.
        plan: what the bundle's engines were built by.
        say: takes the lines that people read.
    """
    with temporary_folder("rivals") as parent:
        found = {}
        for place, model in models.items():
            folder = parent / str(place)
            _write(folder, bundle, model)
            try:
                _build(folder, plan)
                found[place] = folder
            except BuildError as error:
                say(f"set {place + 1} is not timed: {error}")
        yield found


def _build(folder: Path, plan: EnginePlan) -> None:
    if find_gpu() is not None:
        build_all(folder, ["int8"], plan, lambda _line: None)


def _write(folder: Path, bundle: Path, model: onnx.ModelProto) -> None:
    """Write what a device needs to run the graph."""
    folder.mkdir()
    path = write_model(folder, model, "int8")
    shutil.copy(bundle / GOLDEN_NAME, folder)
    manifest = read_json(bundle / MANIFEST_NAME)
    own = {"models": {"int8": file_entry(path)}, "parity": {}}  # what was measured is the taken graph's
    write_json(folder / MANIFEST_NAME, {**manifest, **own})
