"""What a run reads and writes, so that it overwrites nothing that it reads."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from ..errors import InputError
from ..maps.qp_sinks import ARRAY_SUFFIX
from ..outputs import Names, OutputPlan, existing_files
from .images import is_image
from .run_options import RunOptions
from .sinks.maps import MAP_SUFFIXES
from .sources.files import images_in, images_of_glob, names_of

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+]*:")


def check_outputs(options: RunOptions) -> None:
    """See, before anything is opened, that a run's outputs can be written and destroy nothing.

    A source that is not there is not complained about here.

    Raises:
        UsageError: an output is something that is read, or two are the same.
        OutputError: an output cannot be written.
    """
    plan = OutputPlan()
    plan.read_model("MODEL", options.model)
    images = [_images_of(source) for source in options.sources]
    for source, found in zip(options.sources, images, strict=True):
        for path in found or _files_of(source):
            plan.read_file("SOURCE", path)
    sinks = replace(options.sinks, streams=max(1, len(images)))
    for stream, found in enumerate(images):
        if sinks.output is not None:
            plan.write_file("--output", sinks.video_path(sinks.output, stream))
        if sinks.save_maps is not None:
            folder = sinks.maps_folder(sinks.save_maps, stream)
            plan.write_names("--save-maps", folder, _map_names(found, MAP_SUFFIXES[sinks.maps_format]))
    plan.write_file("--jsonl", sinks.jsonl)
    plan.write_file("--qp-map", options.qp_map)
    if options.qp_map is not None and options.qp_map.suffix == ARRAY_SUFFIX:
        plan.write_file("--qp-map", options.qp_map.with_suffix(".json"))
    plan.write_file("--json", options.json)
    plan.check()


def is_live_by_name(source: str) -> bool:
    """Tell whether a source is a camera, a stream or a program, which may be late or go away."""
    is_address = _SCHEME.match(source) is not None and not source.startswith(("raw:", "test:"))
    try:
        return is_address and not Path(source).exists()
    except OSError:  # a name that no file can have
        return is_address


def _map_names(images: Sequence[Path], suffix: str) -> Names:
    """Name the maps of a source: by its images, or by the numbers of its frames."""
    if images:
        return [f"{name}{suffix}" for name in names_of(images)]
    return re.compile(rf"\d{{6,}}{re.escape(suffix)}")


def _images_of(source: str) -> list[Path]:
    """List the images of a source that consists of such; of others, nothing."""
    path = Path(source)
    try:
        if path.is_dir():
            return images_in(path)
        if path.is_file():
            return [path] if is_image(path) else []
        return [] if _SCHEME.match(source) or source == "-" else images_of_glob(source)
    except (InputError, OSError, ValueError):  # whoever opens the source says so
        return []


def _files_of(source: str) -> list[Path]:
    """List the files that a source without images of its own reads: a clip, or what a program is given."""
    if source == "-" or source.startswith("raw:"):
        try:
            return [Path("/dev/fd/0")] if stat.S_ISREG(os.fstat(0).st_mode) else []
        except OSError:
            return []
    if not _SCHEME.match(source):
        try:
            Path(source).exists()
        except OSError:  # a name that is too long, say: whoever opens the source says so
            return []
        return [Path(source)]
    try:
        words = shlex.split(source.partition(":")[2])
    except ValueError:
        words = []
    return [Path(source), *existing_files([source, unquote(source), *words])]
