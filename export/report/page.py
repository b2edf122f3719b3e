"""The report's page: one HTML file, filled from `report.json` by a template.

The template prints its figures by their place in the JSON (the macro `figure`), so that the page and the file
cannot differ. Names come from users: the template escapes all that it prints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...runtime.artifact import atomic_file, write_json
from ...runtime.contract import Precision
from . import HTML_NAME, JSON_NAME
from .charts import OBSERVER_NAMES, charts_of
from .findings import Findings
from .pictures import FramePictures, difference_key, frame_pictures, map_key

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """All pictures of the page, as data URIs.

    Attributes:
        frames: in the order of the report's frames.
        map_key: the colours of a map.
        difference_key: the colours of a difference.
    """

    frames: Sequence[FramePictures]
    map_key: str
    difference_key: str


def write_report(folder: Path, findings: Findings) -> None:
    """Write `report.html` and `report.json` into a bundle.

    Raises:
        OutputError: they cannot be written.
    """
    report = findings.to_json()
    pictures = Pictures(
        frames=frame_pictures(findings.shown), map_key=map_key(), difference_key=difference_key()
    )
    write_json(folder / JSON_NAME, report)
    with atomic_file(folder / HTML_NAME) as temporary:
        temporary.write_text(page_of(report, pictures), encoding="utf-8")


def page_of(report: Mapping[str, Any], pictures: Pictures) -> str:
    """Fill the template.

    Args:
        report: the content of `report.json`.
        pictures: of its frames.
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
        pictures=pictures,
        plots=charts_of(report),
        shown=_shown_precision(report),
        observers=OBSERVER_NAMES,
        value_at=partial(value_at, report),
        format=format,
        clear_of=clear_of,
        files=_files(report),
    )


def value_at(report: Mapping[str, Any], place: str) -> Any:
    """Look a figure up by its place: the keys and indices on the way to it, each after a `/`."""
    value: Any = report
    for step in place.split("/")[1:]:
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def clear_of(value: float, limit: float, spec: str) -> str:
    """Choose the digits of a figure beside its limit: more where rounding would make them the same.

    Args:
        value: the figure.
        limit: that it is compared with.
        spec: how it is written otherwise, such as `.5f`.

    Returns:
        The format specification: 0.989997 beside 0.99 is written with six digits, not as 0.99000.
    """
    if value == limit or float(format(value, spec)) != limit:
        return spec
    return ".6g" if float(format(value, ".6g")) != limit else ".12g"


def _shown_precision(report: Mapping[str, Any]) -> Precision | None:
    """Choose the graph whose differences are shown: the last one, which is the smallest."""
    precisions = list(report["frames"][0]["agreement"]) if report["frames"] else []
    return precisions[-1] if precisions else None


def _files(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Give the bundle's files by their place in the report."""
    lineage = report["lineage"]
    models = {f"/lineage/models/{precision}": entry for precision, entry in lineage["models"].items()}
    return {**models, "/lineage/golden": lineage["golden"]}
