"""The page: whole, self-contained, equal to its JSON, and safe whatever a frame is called."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from report_findings import FRAMES, NASTY, SIZE_HW, findings_of
from saliency_edge.export.report.findings import Findings
from saliency_edge.export.report.page import WIDTH_PX, value_at, write_report
from saliency_edge.export.temporal import compare_movement

VOID = {"meta", "img", "br", "hr", "link", "input"}
SELF_CLOSED = {"line", "circle", "polyline"}
REFERRING = ("src", "href", "xlink:href", "srcset", "action", "data", "poster", "background")
MAX_BYTES = 3 << 20


class Page(HTMLParser):
    """Takes a page apart, and fails where its tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.references: list[str] = []
        self.tags: list[str] = []
        self.figures: list[tuple[str, str, str]] = []  # place, value, text
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.references += [values[name] for name in REFERRING if name in values]
        if tag == "data":
            self.figures.append((values["data-figure"], values["value"], ""))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SELF_CLOSED
        assert attrs
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if self._open and self._open[-1] == "data":
            place, value, text = self.figures[-1]
            self.figures[-1] = (place, value, text + data)


def written(folder: Path, findings: Findings) -> tuple[str, dict[str, object]]:
    write_report(folder, findings)
    report: dict[str, object] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return (folder / "report.html").read_text(encoding="utf-8"), report


def leaves(value: object, place: str = "") -> dict[str, float]:
    """Every number of a JSON value, by its JSON Pointer."""
    if isinstance(value, dict):
        return {
            at: leaf for name, item in value.items() for at, leaf in leaves(item, f"{place}/{name}").items()
        }
    if isinstance(value, list):
        return {at: leaf for n, item in enumerate(value) for at, leaf in leaves(item, f"{place}/{n}").items()}
    return {place: value} if isinstance(value, float | int) and not isinstance(value, bool) else {}


def printed(text: str) -> tuple[float, float]:
    """Read a figure as a reader does: its value, and the unit of its last digit."""
    per_cent, plain = text.endswith("%"), Decimal(text.rstrip("%").replace(",", ""))
    exponent = plain.as_tuple().exponent
    assert isinstance(exponent, int)
    return float(plain) / (100 if per_cent else 1), 10.0 ** (exponent - 2 * per_cent)


def test_every_figure_is_that_of_the_json(findings: Findings, tmp_path: Path) -> None:
    html, report = written(tmp_path, findings)
    page, numbers = Page(html), leaves(report)

    assert len(page.figures) > 25
    for place, value, text in page.figures:
        assert float(value) == numbers[place] == value_at(report, place), place
        assert abs(printed(text)[0] - numbers[place]) <= 0.51 * printed(text)[1], f"{place}: {text}"


@pytest.mark.parametrize(
    "place",
    [
        "/gate/figures/cc_mean",
        "/gate/figures/cc_worst",
        "/gate/figures/kldiv_worst",
        "/gate/limits/cc_worst",
        "/gate/int8_macs_share",
        "/temporal/graphs/int8/flicker_ratio",
        "/temporal/graphs/int8/peak_jump_ratio",
        "/frames/0/agreement/int8/cc",
        "/layers/2/sqnr_db",
        "/layers/2/in_graph_db/int8",
        "/layers/2/threshold",
        "/pareto/1/frame_ms",
        "/pareto/1/figures/cc_worst",
        "/parity/fp16_rounded/worst/cc",
        "/calibration/audit/frames/spreads/luminance/p50",
        "/calibration/audit/frames/kinds/dark",
        "/lineage/models/int8/bytes",
    ],
)
def test_figures_that_a_customer_asks_for_is_shown(place: str, tmp_path: Path) -> None:
    html, _ = written(tmp_path, findings_of())

    assert place in {figure[0] for figure in Page(html).figures}


def test_nothing_is_loaded_from_elsewhere(findings: Findings, tmp_path: Path) -> None:
    html, _ = written(tmp_path, findings)
    page = Page(html)

    assert page.references
    assert [text for text in page.references if not text.startswith("data:image/")] == []
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert re.findall(r"@import|url\(|https?:|//\w", re.sub(r"data:image/[^\"]+", "", html)) == []
    assert "default-src 'none'" in html


def test_names_are_escaped(findings: Findings, tmp_path: Path) -> None:
    html, _ = written(tmp_path, findings)

    assert NASTY in Page(html).text
    assert "<script" not in html.lower()
    assert "<b>alone" not in html
    assert "<i>clip" not in html


def test_images_decode_and_show_the_frame(tmp_path: Path) -> None:
    findings = findings_of()
    html, _ = written(tmp_path, findings)
    pictures = [decoded(text) for text in Page(html).references]

    height = round(SIZE_HW[0] * WIDTH_PX / SIZE_HW[1])
    full = [picture for picture in pictures if picture.shape == (height, WIDTH_PX, 3)]
    assert len(full) == len(FRAMES) * 5  # frame, PyTorch, fp16, int8, difference
    assert len(pictures) == len(full) + 2  # the keys of colours
    shrunk = cv2.resize(full[0], SIZE_HW[::-1], interpolation=cv2.INTER_AREA).astype(np.float64)
    assert np.abs(shrunk - findings.shown.frames.pixels[0]).mean() < 4


def decoded(uri: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    data = np.frombuffer(base64.b64decode(uri.partition(",")[2], validate=True), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def test_the_same_findings_give_the_same_bytes(tmp_path: Path) -> None:
    folders = tmp_path / "first", tmp_path / "second"
    for folder, seconds in zip(folders, (1.0, 2.0), strict=True):
        folder.mkdir()
        findings = findings_of()
        assert findings.int8 is not None
        write_report(folder, replace(findings, int8=replace(findings.int8, seconds=seconds)))

    for name in ("report.html", "report.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_the_verdict_stands_first(findings: Findings, tmp_path: Path) -> None:
    html, report = written(tmp_path, findings)
    verdict = report["verdict"]
    assert isinstance(verdict, dict)
    text = " ".join(Page(html).text.split())

    assert f"{verdict['word']}. {verdict['sentence']}" in text
    assert text.index(str(verdict["sentence"])) < text.index("Agreement with PyTorch")
    assert (html.count('class="verdict bad"') == 1) == (verdict["passed"] is False)


def test_a_page_of_real_size_stays_small(tmp_path: Path) -> None:
    findings = findings_of()
    shown = findings.shown
    pixels = np.random.default_rng(0).integers(0, 256, (6, 240, 320, 3), np.uint8)  # noise packs worst
    many = replace(
        shown,
        frames=replace(shown.frames, names=tuple("abcdef"), pixels=pixels),
        references=np.tile(shown.references, (2, 1, 1)),
        maps={precision: np.tile(maps, (2, 1, 1)) for precision, maps in shown.maps.items()},
    )

    write_report(tmp_path, replace(findings, shown=many))

    assert (tmp_path / "report.html").stat().st_size < MAX_BYTES


@pytest.mark.parametrize("cc", [0.999664999, 0.9996650001, 0.99966, 0.9994999996, 0.9989500004])
def test_headline_and_card_show_the_same_digits(cc: float, tmp_path: Path) -> None:
    """Both round the figure of the JSON: one that is rounded twice may end differently."""
    findings = findings_of()
    assert findings.int8 is not None
    figures = replace(findings.int8.figures, cc_mean=cc, cc_worst=cc - 1e-4)
    html, _ = written(tmp_path, replace(findings, int8=replace(findings.int8, figures=figures)))
    page = Page(html)
    cards = {place: text for place, _, text in page.figures}

    average, worst = re.findall(r"at (\S+) on average and (\S+) at worst", " ".join(page.text.split()))[0]

    assert (average, worst) == (cards["/gate/figures/cc_mean"], cards["/gate/figures/cc_worst"])


def test_ratios_of_the_sentences_are_those_of_the_json(tmp_path: Path) -> None:
    findings = findings_of()
    clip = {"fp32": [1.0, 1.0], "int8": [0.9994999, 0.9994999]}  # .9995 in the JSON, .999 rounded once
    temporal = compare_movement(
        "clip", {name: np.cumsum(np.array([0, *steps]))[:, None, None] for name, steps in clip.items()}
    )

    _, report = written(tmp_path, replace(findings, temporal=temporal))

    ratio = report["temporal"]["graphs"]["int8"]["flicker_ratio"]
    assert f"flickers {ratio:.3f} times" in report["verdict"]["remark"]


def test_no_failed_candidate_reads_as_the_limit(tmp_path: Path) -> None:
    findings = findings_of()
    assert findings.int8 is not None
    failed, chosen = findings.int8.pareto
    close = replace(failed, figures=replace(failed.figures, cc_worst=0.989997, kldiv_worst=0.0100001))
    html, _ = written(tmp_path, replace(findings, int8=replace(findings.int8, pareto=[close, chosen])))
    texts = {place: text for place, _, text in Page(html).figures}

    assert texts["/pareto/0/figures/cc_worst"] == "0.989997"
    assert texts["/pareto/0/figures/kldiv_worst"] == "0.0100001"
    assert "CC 0.989997 at worst" in html


has_chromium = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no Chromium with its driver"
)
LABELS_BEYOND_THEIR_PLOT = """
return [...document.querySelectorAll("figure.plot > svg")].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < frame.left || box.right > frame.right
      || box.top < frame.top || box.bottom > frame.bottom;
  }).map(text => text.textContent);
});
"""


@contextmanager
def opened(page: Path, width_px: int) -> Iterator[Any]:
    """A browser that shows a page at a width."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    metrics = {"width": width_px, "height": 844, "pixelRatio": 1.0}
    options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.get(page.as_uri())
        yield browser
    finally:
        browser.quit()


@pytest.mark.slow
@has_chromium
def test_cut_table_shows_that_it_goes_on(tmp_path: Path) -> None:
    """At a phone's width, a shadow lies on the side where a table goes on, and on no other."""
    write_report(tmp_path, findings_of())
    with opened(tmp_path / "report.html", 390) as browser:
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        table = browser.find_element("css selector", ".scroll")
        assert browser.execute_script("return arguments[0].scrollWidth > 390", table)
        assert shadows(table) == (False, True)
        browser.execute_script("arguments[0].scrollLeft = 100", table)
        assert shadows(table) == (True, True)
        browser.execute_script("arguments[0].scrollLeft = 9999", table)
        assert shadows(table) == (True, False)


@pytest.mark.slow
@has_chromium
@pytest.mark.parametrize("width_px", [390, 700, 1280])
def test_no_label_of_a_plot_is_cut_off(width_px: int, tmp_path: Path) -> None:
    findings = findings_of()
    assert findings.int8 is not None
    first, *others = findings.int8.layers
    deep = replace(first, node="/backbone/layer1/layer1.0/conv1/Conv")
    write_report(tmp_path, replace(findings, int8=replace(findings.int8, layers=[deep, *others])))

    with opened(tmp_path / "report.html", width_px) as browser:
        assert browser.execute_script(LABELS_BEYOND_THEIR_PLOT) == []


def shadows(element: Any) -> tuple[bool, bool]:
    """Look whether the left and the right edge of an element are darker than its middle."""
    shot = cv2.imdecode(np.frombuffer(element.screenshot_as_png, np.uint8), cv2.IMREAD_GRAYSCALE)
    row = shot[4].astype(int)  # above the text
    return bool(row[0] < row[len(row) // 2] - 20), bool(row[-1] < row[len(row) // 2] - 20)
