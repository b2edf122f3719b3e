"""From exported graphs to `report.json` and `report.html`: maps of the worst frames, the page, and its
images.

The page is one HTML file, which a template fills from the JSON. It prints figures by their JSON Pointer (the
macro `figure`), so that page and file cannot differ. Names come from users: the template escapes all that it
prints.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...calib.audit import FramesAudit
from ...calib.ranges import ActivationRanges
from ...runtime.artifact import atomic_file, write_json
from ...runtime.contract import Contract, Precision
from ...runtime.fit import resize
from ...runtime.frame import Frame, SaliencyMap
from ...runtime.stream.render import Renderer, RenderOptions
from ..frames import FrameSet
from ..int8.results import Int8Result, format_beside
from ..layer_error import layer_errors
from ..ort_session import ort_maps
from ..speed import Speed
from ..temporal import TemporalParity
from . import HTML_NAME, JSON_NAME
from .charts import OBSERVER_NAMES, charts_of
from .findings import Findings, ShownMaps

if TYPE_CHECKING:
    import onnx

_TEMPLATES = Path(__file__).parent / "templates"
SHOWN_FRAMES = 4
WIDTH_PX = 320
_JPEG_QUALITY = 88
_BELOW_BGR = np.array([255, 168, 80])  # saliency below PyTorch's
_ABOVE_BGR = np.array([70, 150, 255])  # above it
_KEY_STEPS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Inputs of a report.

    Attributes:
        contract: the fp32 graph's.
        manifest: the content of the bundle's manifest.json.
        fp32: the bundle's fp32 graph.
        others: its other graphs by precision, in the form that is measured: with fp16's rounding as nodes.
        frames: K frames on which the graphs were compared.
        references: PyTorch's fp32 maps of them, (K, h, w), 0 to 1.
        int8: result of the mixed-precision search; None where no int8 graph was asked for.
        ranges: activation ranges of the calibration; None as above.
        audit: audit of the calibration frames; None where they are not available.
        temporal: temporal parity on a clip; None where it was not measured.
        speed: latency of int8 and fp16 on this machine; None without int8.
    """

    contract: Contract
    manifest: Mapping[str, Any]
    fp32: onnx.ModelProto
    others: Mapping[Precision, onnx.ModelProto]
    frames: FrameSet
    references: NDArray[np.float32]
    int8: Int8Result | None = None
    ranges: ActivationRanges | None = None
    audit: FramesAudit | None = None
    temporal: TemporalParity | None = None
    speed: Speed | None = None


def report_bundle(folder: Path, material: Material) -> None:
    """Compute maps and layer errors on the worst frames, and write `report.html` and `report.json` into a
    bundle.

    Raises:
        OutputError: they cannot be written.
        BackendError: ONNX Runtime refuses a graph.
    """
    graphs = material.others or {"fp32": material.fp32}
    places = [material.frames.names.index(name) for name in _worst(material)]
    frames = FrameSet(
        names=tuple(material.frames.names[place] for place in places), pixels=material.frames.pixels[places]
    )
    findings = Findings(
        contract=material.contract,
        manifest=material.manifest,
        shown=ShownMaps(
            frames=frames,
            references=material.references[places],
            maps=_maps(graphs, material.contract, frames),
        ),
        errors={
            precision: layer_errors(material.fp32, model, material.contract, frames.pixels)
            for precision, model in material.others.items()
        },
        int8=material.int8,
        ranges=material.ranges,
        audit=material.audit,
        temporal=material.temporal,
        speed=material.speed,
    )
    write_report(folder, findings)


def _worst(material: Material) -> list[str]:
    """Names of the frames whose maps correlate least in the smallest graph, the worst first."""
    if material.int8 is not None and material.int8.passed:
        return list(material.int8.figures.worst_frames[:SHOWN_FRAMES])
    rows = list(material.manifest["parity"].values())[-1]["frames"]
    return sorted(rows, key=lambda name: float(rows[name]["cc"]))[:SHOWN_FRAMES]


def _maps(
    graphs: Mapping[Precision, onnx.ModelProto], contract: Contract, frames: FrameSet
) -> dict[Precision, NDArray[np.float32]]:
    return {
        precision: ort_maps(model, replace(contract, precision=precision), frames.pixels)
        for precision, model in graphs.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class PageImages:
    """All images of the page, as data URIs.

    Attributes:
        frames: images of each frame, in the report's order.
        map_key: colour bar of maps, 0 to 1.
        difference_key: colour bar of differences, negative to positive.
    """

    frames: Sequence[FrameImages]
    map_key: str
    difference_key: str


def write_report(folder: Path, findings: Findings) -> None:
    """Write `report.html` and `report.json` into a bundle.

    Raises:
        OutputError: they cannot be written.
    """
    report = findings.to_json()
    images = PageImages(
        frames=frame_images(findings.shown), map_key=map_key(), difference_key=difference_key()
    )
    write_json(folder / JSON_NAME, report)
    with atomic_file(folder / HTML_NAME) as temporary:
        temporary.write_text(page_of(report, images), encoding="utf-8")


def page_of(report: Mapping[str, Any], images: PageImages) -> str:
    """The HTML page.

    Args:
        report: content of `report.json`.
        images: images of its frames.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        report=report,
        images=images,
        plots=charts_of(report),
        shown=_shown_precision(report),
        observers=OBSERVER_NAMES,
        value_at=partial(value_at, report),
        format=format,
        format_beside=format_beside,
        files=_files(report),
        reference=report["lineage"].get("reference", "PyTorch"),
    )


def value_at(report: Mapping[str, Any], pointer: str) -> Any:
    """Value at a JSON Pointer (RFC 6901, without its escapes), such as `/gate/figures/cc_worst`."""
    value: Any = report
    for step in pointer.split("/")[1:]:
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def _shown_precision(report: Mapping[str, Any]) -> Precision | None:
    """Precision whose differences are shown: that of the last graph, which is the smallest."""
    precisions = list(report["frames"][0]["agreement"]) if report["frames"] else []
    return precisions[-1] if precisions else None


def _files(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Files of the bundle, by the JSON Pointer of their entry."""
    lineage = report["lineage"]
    models = {f"/lineage/models/{precision}": entry for precision, entry in lineage["models"].items()}
    return {**models, "/lineage/golden": lineage["golden"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameImages:
    """Images of one frame, as data URIs.

    Attributes:
        frame: the frame at the network's input size and aspect.
        reference: PyTorch's map.
        maps: each exported graph's map, by precision.
        differences: each of these maps minus PyTorch's.
    """

    frame: str
    reference: str
    maps: Mapping[Precision, str]
    differences: Mapping[Precision, str]


def frame_images(shown: ShownMaps) -> list[FrameImages]:
    """Images of every shown frame, `WIDTH_PX` wide; all differences have one scale."""
    renderer = Renderer(RenderOptions(view="side-by-side"))
    return [_images_of(shown, place, renderer) for place in range(len(shown.frames))]


def map_key() -> str:
    """Colour bar of maps, 0 on the left to 1 on the right."""
    ramp = np.linspace(0, 1, _KEY_STEPS, dtype=np.float32)[np.newaxis]
    levels = np.rint(ramp * 255).astype(np.uint8)
    return _png(np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), np.uint8))


def difference_key() -> str:
    """Colour bar of differences, -1 on the left to 1 on the right."""
    return _png(difference_colours(np.linspace(-1, 1, _KEY_STEPS)[np.newaxis]))


def difference_colours(shares: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Differences as colours: black for none, blue where a graph is below PyTorch, orange where above.

    Args:
        shares: (h, w), -1 to 1 of the scale.

    Returns:
        (h, w, 3) uint8 BGR.
    """
    above, below = np.clip(shares, 0, 1)[..., np.newaxis], np.clip(-shares, 0, 1)[..., np.newaxis]
    return np.asarray(np.rint(above * _ABOVE_BGR + below * _BELOW_BGR), np.uint8)


def _images_of(shown: ShownMaps, place: int, renderer: Renderer) -> FrameImages:
    frame_bgr, reference = _resized(shown.frames.pixels[place]), shown.references[place]
    maps = {precision: found[place] for precision, found in shown.maps.items()}
    scale = shown.difference_scale() or 1.0
    return FrameImages(
        frame=_jpeg(frame_bgr),
        reference=_jpeg(_coloured_map(reference, frame_bgr, renderer)),
        maps={
            precision: _jpeg(_coloured_map(found, frame_bgr, renderer)) for precision, found in maps.items()
        },
        differences={
            precision: _jpeg(_coloured_difference((found - reference) / scale, frame_bgr))
            for precision, found in maps.items()
        },
    )


def _resized(frame_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = frame_bgr.shape[:2]
    return resize(frame_bgr, (round(height * WIDTH_PX / width), WIDTH_PX))


def _coloured_map(
    values: NDArray[np.float32], frame_bgr: NDArray[np.uint8], renderer: Renderer
) -> NDArray[np.uint8]:
    """A map in the colours of saliency-run: the right half of a side-by-side frame, (H, W, 3) uint8 BGR."""
    frame = Frame(index=0, name="", image_bgr=frame_bgr, captured_s=0.0)
    both: NDArray[np.uint8] = renderer.render(SaliencyMap(frame=frame, values=values))
    return np.asarray(both[:, frame_bgr.shape[1] :])


def _coloured_difference(shares: NDArray[np.float32], frame_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A difference at a frame's size, (H, W, 3); nearest-neighbour, so that no cell is blurred away."""
    height, width = frame_bgr.shape[:2]
    enlarged = cv2.resize(shares, (width, height), interpolation=cv2.INTER_NEAREST)
    return difference_colours(np.asarray(enlarged, np.float32))


def _jpeg(image_bgr: NDArray[np.uint8]) -> str:
    return _uri("jpeg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])


def _png(image_bgr: NDArray[np.uint8]) -> str:
    return _uri("png", image_bgr, [])


def _uri(kind: str, image_bgr: NDArray[np.uint8], options: list[int]) -> str:
    data = cv2.imencode(f".{kind}", image_bgr, options)[1].tobytes()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
