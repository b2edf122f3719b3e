"""What `saliency-run` is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..backends.backend import LoadOptions
from ..contract import Precision
from ..errors import UsageError
from ..maps.qp_map import QpMapOptions
from ..maps.regions import RegionOptions
from ..outputs import STDOUT
from ..web.view import WebOptions
from .policy import Policy
from .render import RenderOptions
from .sinks import SinkOptions
from .sources import SourceOptions


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
        sinks: where results go; its `fps`, `live` and `streams` follow from the sources.
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
        if self.qp_map is not None and len(self.sources) > 1:
            raise UsageError(f"--qp-map takes one source, found {len(self.sources)}. Start one run for each")

    @property
    def shows_frames(self) -> bool:
        """Whether someone sees the frames, or places in them, at the source's own size."""
        sinks = self.sinks
        pictures = sinks.output or sinks.raw or sinks.window or sinks.render_only
        places = sinks.save_maps or sinks.jsonl or self.qp_map
        return bool(pictures or places or self.web)

    def check_qp_map(self, *, are_all_taken: bool) -> None:
        """Make sure that an encoder finds an offset for each of its frames.

        Raises:
            UsageError: frames are left out.
        """
        if self.source.every > 1 or not are_all_taken:
            raise UsageError("--qp-map needs every frame: take --policy all, and no --every")
