"""What `saliency-run` is asked for, and the check that its outputs overwrite nothing that it reads."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from ..backends.backend import LoadOptions
from ..contract import Precision
from ..errors import InputError, UsageError
from ..images import is_image
from ..outputs import STDOUT, Names, OutputPlan, existing_files
from ..web.web_options import WebOptions
from .regions import RegionOptions
from .render import RenderOptions
from .scheduler import Policy
from .sinks.maps import MAP_SUFFIXES
from .sinks.open_sinks import SinkOptions, maps_folder, video_path
from .sinks.qp_map import ARRAY_SUFFIX, QpMapOptions
from .sources.files import images_in, images_of_glob, names_of
from .sources.source import SourceOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """A run.

    Attributes:
        model: a bundle, an `.onnx`, an `.engine` or a `.safetensors`.
        sources: one or more, by their names; see `open_source`.
        precision: which model of a bundle; `None`: fp16 where there is one.
        load: how the model is loaded, and what may step into its place.
        source: limits and time-outs of all sources.
        policy: which frames are computed; `None`: the newest of a live source, all of a file.
        sinks: where results go.
        render: how maps are shown.
        smooth_s: time constant of the maps' average over time; `None`: no average.
        regions: what counts as a region of interest; `None`: none are looked for.
        qp_map: file for an encoder's QP offsets.
        qp: how strong those are.
        web: where browsers are served.
        compare: a second model of the bundle, for the web view.
        json: file that the caller writes the summary into; `-` is standard output.
        check: whether the golden frames are run in the place of sources.
    """

    model: Path
    sources: Sequence[str]
    precision: Precision | None = None
    load: LoadOptions = field(default_factory=LoadOptions)
    source: SourceOptions = field(default_factory=SourceOptions)
    policy: Policy | None = None
    sinks: SinkOptions = field(default_factory=SinkOptions)
    render: RenderOptions = field(default_factory=RenderOptions)
    smooth_s: float | None = None
    regions: RegionOptions | None = None
    qp_map: Path | None = None
    qp: QpMapOptions = field(default_factory=QpMapOptions)
    web: WebOptions | None = None
    compare: Precision | None = None
    json: Path | None = None
    check: bool = False

    def __post_init__(self) -> None:
        """Check the combination.

        Raises:
            UsageError: it cannot be.
        """
        if not self.sources and not self.check:
            raise UsageError("no SOURCE is given. Name a video, images or a camera; only --check needs none")
        if self.sources and self.check:
            raise UsageError(f"--check runs the bundle's golden frames alone. Leave out {self.sources[0]}")
        if self.json == STDOUT and self.sinks.uses_stdout:
            raise UsageError("--json - and results on stdout cannot go together. Give --json a file")
        if self.compare is not None and self.web is None:
            raise UsageError("--compare shows a second precision in the web view. Add --web 8080")
        if self.sinks.raw and len(self.sources) > 1:
            raise UsageError(
                f"raw frames are of one source, found {len(self.sources)}. Start one run for each"
            )
        if self.qp_map is not None and len(self.sources) > 1:
            raise UsageError(f"--qp-map takes one source, found {len(self.sources)}. Start one run for each")

    @property
    def shows_frames(self) -> bool:
        """Whether someone sees the frames, or places in them, at the source's own size."""
        sinks = self.sinks
        pictures = sinks.output or sinks.raw or sinks.window or sinks.render_only
        places = sinks.save_maps or sinks.jsonl or self.qp_map
        return bool(pictures or places or self.web)


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
    sinks, count = options.sinks, len(images)
    for stream, found in enumerate(images):
        if sinks.output is not None:
            plan.write_file("--output", video_path(sinks.output, stream, count))
        if sinks.save_maps is not None:
            folder = maps_folder(sinks.save_maps, stream, count)
            plan.write_names("--save-maps", folder, _map_names(found, MAP_SUFFIXES[sinks.maps_format]))
    plan.write_file("--jsonl", sinks.jsonl, takes_stdout=True)
    plan.write_file("--qp-map", options.qp_map)
    if options.qp_map is not None and options.qp_map.suffix == ARRAY_SUFFIX:
        plan.write_file("--qp-map", options.qp_map.with_suffix(".json"))
    plan.write_file("--json", options.json, takes_stdout=True)
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
