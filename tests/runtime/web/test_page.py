"""The page in a real browser, clicked through."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("aiohttp", reason="the extra `web` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `web` is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from saliency_edge.runtime.contract import Precision
from saliency_edge.runtime.frame import Frame, Region, SaliencyMap
from saliency_edge.runtime.stream.render import Renderer, RenderOptions
from saliency_edge.runtime.stream.sinks.jsonl import statistics_of
from saliency_edge.runtime.web.web_options import WebOptions
from web_clients import ToyEngine, fed_view, frame_of, values_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="no Chromium with its driver on this machine",
    ),
]

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1400,900"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browser puts what it saves."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    messages = driver.get_log("browser")
    driver.quit()
    assert messages == [], "the page complains"


def wait(browser: webdriver.Chrome, is_so: Callable[[], Any]) -> None:
    WebDriverWait(browser, 15, poll_frequency=0.1).until(lambda _driver: is_so())


def text_of(browser: webdriver.Chrome, name: str) -> str:
    return browser.find_element(By.ID, name).text


def open_live(browser: webdriver.Chrome, address: str) -> None:
    browser.get(address)
    wait(browser, lambda: text_of(browser, "status") == "live" and text_of(browser, "age").endswith(" ms"))


def press(browser: webdriver.Chrome, key: str) -> None:
    browser.find_element(By.TAG_NAME, "body").send_keys(key)


def shown_index(browser: webdriver.Chrome) -> int:
    return int(browser.execute_script("return shown ? shown.header.index : -1"))


def canvas_size(browser: webdriver.Chrome) -> list[int]:
    return list(browser.execute_script("return [view.width, view.height]"))


def saved_picture(browser: webdriver.Chrome, folder: Path) -> tuple[int, NDArray[np.uint8]]:
    """Press Snapshot and give the frame's number and the picture."""
    for old in folder.glob("*.png"):
        old.unlink()
    browser.find_element(By.ID, "snapshot").click()
    wait(browser, lambda: list(folder.glob("saliency-*.png")))
    (path,) = folder.glob("saliency-*.png")
    picture = cv2.imread(str(path))
    assert picture is not None
    return int(path.stem.removeprefix("saliency-")), np.asarray(picture, np.uint8)


def test_live_view_goes_on(browser: webdriver.Chrome) -> None:
    with fed_view() as view:
        open_live(browser, view.sink.address)
        first = shown_index(browser)
        wait(browser, lambda: shown_index(browser) > first + 20)

        assert canvas_size(browser) == [640, 360]
        assert text_of(browser, "about") == "noise · toy"
        assert text_of(browser, "age") == "50 ms"
        assert text_of(browser, "ageMore") == "p50 50 ms p99 50 ms"
        assert text_of(browser, "rate").endswith(" /s")
        assert "frames dropped" in text_of(browser, "rateMore")


@pytest.mark.parametrize("colormap", ["inferno", "turbo"])
def test_snapshot_is_what_the_renderer_draws(browser: webdriver.Chrome, folder: Path, colormap: str) -> None:
    """The page mixes by itself what the runtime's renderer mixes for videos."""
    with fed_view(WebOptions(port=0, jpeg_quality=95, colormap=colormap, opacity=0.8)) as view:
        open_live(browser, view.sink.address)
        press(browser, " ")
        wait(browser, lambda: text_of(browser, "status") == "paused")
        index, picture_bgr = saved_picture(browser, folder)

    frame = Frame(index=index, name="", image_bgr=frame_of(index), captured_s=0)
    saliency = SaliencyMap(frame=frame, values=values_of(index))
    expected = Renderer(RenderOptions(opacity=0.8, colormap=colormap)).render(saliency)
    errors = np.abs(picture_bgr.astype(float) - expected)
    assert errors.mean() < 3, f"mean {errors.mean():.2f}, worst {errors.max()} of 255"


def test_pause_holds_the_picture_and_plots_go_on(browser: webdriver.Chrome) -> None:
    with fed_view() as view:
        open_live(browser, view.sink.address)
        browser.find_element(By.ID, "pause").click()
        time.sleep(0.3)
        held, points = shown_index(browser), browser.execute_script("return points.length")
        time.sleep(0.7)

        assert shown_index(browser) == held
        assert browser.execute_script("return points.length") > points
        assert text_of(browser, "pause") == "Resume"
        browser.find_element(By.ID, "pause").click()
        wait(browser, lambda: shown_index(browser) > held)


def test_peak_and_centre_of_mass_are_those_of_the_runtime(browser: webdriver.Chrome) -> None:
    with fed_view() as view:
        open_live(browser, view.sink.address)
        press(browser, " ")
        wait(browser, lambda: text_of(browser, "status") == "paused")
        script = "return [shown.header.index, peakOf(shown.maps[0]), centroidOf(shown.maps[0])]"
        index, peak_xy_px, centroid_xy_px = browser.execute_script(script)

    frame = Frame(index=index, name="", image_bgr=frame_of(index), captured_s=0)
    expected = statistics_of(SaliencyMap(frame=frame, values=values_of(index)))
    row, column = (int(place / 8) for place in reversed(peak_xy_px))
    assert values_of(index)[row, column] == pytest.approx(expected.peak, abs=1 / 255)
    assert centroid_xy_px == pytest.approx(expected.centroid_xy_px, abs=1)


def test_keys_and_controls(browser: webdriver.Chrome) -> None:
    with fed_view() as view:
        open_live(browser, view.sink.address)
        press(browser, "v")
        wait(browser, lambda: canvas_size(browser) == [1280, 360])
        press(browser, "v")
        wait(browser, lambda: canvas_size(browser) == [640, 360])
        press(browser, "[")
        assert text_of(browser, "opacityText") == "70 %"
        former = browser.execute_script("return byId('colormap').value")
        press(browser, "c")
        assert browser.execute_script("return byId('colormap').value") != former
        assert not browser.find_element(By.ID, "compare").is_displayed()
        assert not browser.find_element(By.ID, "sources").is_displayed()


def test_everything_can_be_reached_by_tab(browser: webdriver.Chrome) -> None:
    with fed_view(streams=2) as view:
        open_live(browser, view.sink.address)
        wait(browser, lambda: browser.find_element(By.ID, "sources").is_displayed())
        reached = set()
        for _ in range(12):
            press_tab(browser)
            reached.add(
                browser.execute_script("return document.activeElement.id || document.activeElement.name")
            )

    assert reached >= {
        "stream", "layout", "opacity", "colormap", "regions", "peak", "pause", "snapshot", "fullscreen"
    }  # fmt: skip


def press_tab(browser: webdriver.Chrome) -> None:
    webdriver.ActionChains(browser).send_keys(Keys.TAB).perform()


def test_fits_a_phone(browser: webdriver.Chrome) -> None:
    with fed_view() as view:
        open_live(browser, view.sink.address)
        browser.set_window_size(500, 900)
        wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
        browser.set_window_size(1400, 900)

    assert wide <= 0


def test_end_of_the_run_is_shown(browser: webdriver.Chrome) -> None:
    with fed_view() as view:
        open_live(browser, view.sink.address)
    wait(browser, lambda: text_of(browser, "status") == "run ended")


def test_no_result_is_shown(browser: webdriver.Chrome) -> None:
    with fed_view(WebOptions(port=0, stale_s=1.0), fps=0.3) as view:
        browser.get(view.sink.address)
        wait(browser, lambda: text_of(browser, "status").startswith("no result for"))


def test_token_is_asked_for_and_taken(browser: webdriver.Chrome) -> None:
    with fed_view(WebOptions(host="0.0.0.0", port=0, token="a token")) as view:
        browser.get(f"http://localhost:{view.url.rpartition(':')[2]}")
        field = browser.find_element(By.ID, "token")
        field.send_keys("a token", Keys.ENTER)
        wait(browser, lambda: text_of(browser, "status") == "live")
        assert "token" not in browser.current_url
    browser.get_log("browser")  # of the page that was refused


TWO_BOXES = (
    Region(identity=1, box_xyxy_px=(300, 150, 306, 156), peak=0.9, area=0.001),
    Region(identity=2, box_xyxy_px=(634, 352, 640, 360), peak=0.8, area=0.001),
)


@pytest.mark.parametrize("width", [500, 1400])
def test_compared_precisions_can_be_read_at_every_size(browser: webdriver.Chrome, width: int) -> None:
    """The labels lie apart, each within its own picture, and begin with the precision."""
    first, second = named_engine("ONNX Runtime 1.31 CUDA", "fp16"), named_engine("OpenVINO 2026", "int8")
    browser.set_window_size(width, 900)
    try:
        with fed_view(engine=first, compare=second, regions=TWO_BOXES, unsmoothed=1.0) as view:
            open_live(browser, view.sink.address)
            note_texts(browser)
            browser.execute_script("document.querySelector('[value=compare]').click()")
            wait(browser, lambda: browser.execute_script("return shown.maps.length") == 2)
            texts = noted_texts(browser)
            picture_wh = browser.execute_script("return [shown.picture.width, shown.picture.height]")
            corner = browser.execute_script("return secondCorner()")
            canvas_wh = canvas_size(browser)
    finally:
        browser.set_window_size(1400, 900)

    is_stacked = width < 560
    assert corner == ([0, picture_wh[1]] if is_stacked else [picture_wh[0], 0])
    assert canvas_wh == [picture_wh[0] + corner[0], picture_wh[1] + corner[1]]
    labels = [next(text for text in reversed(texts) if text[0].startswith(name)) for name in ("fp16", "int8")]
    for (words, left, top, drawn_width), (x, y) in zip(labels, [(0, 0), corner], strict=True):
        assert words[4:].startswith(", unsmoothed · ")
        assert x <= left
        assert left + drawn_width <= x + picture_wh[0]
        assert y <= top < y + picture_wh[1]
    regions = [text for text in texts if text[0] in ("1  0.90", "2  0.80")]
    assert len({text[0] for text in regions}) == 2
    for _, left, top, drawn_width in regions:
        assert left >= 0
        assert left + drawn_width <= picture_wh[0]
        assert 0 <= top <= picture_wh[1]


def note_texts(browser: webdriver.Chrome) -> None:
    """Note what is written on the canvas from now on: words, left edge, middle and width in its pixels."""
    browser.execute_script(
        "window.texts = []; const real = brush.fillText.bind(brush);"
        "brush.fillText = (words, x, y) => {"
        " texts.push([words, x, y, brush.measureText(words).width]); real(words, x, y); };"
    )


def noted_texts(browser: webdriver.Chrome) -> list[tuple[str, float, float, float]]:
    browser.execute_script("texts.length = 0; draw()")
    return [tuple(text) for text in browser.execute_script("return texts")]


def named_engine(name: str, precision: Precision) -> ToyEngine:
    engine = ToyEngine(f"{name}, {precision}", factor=0.7)
    engine.contract = replace(engine.contract, precision=precision)
    return engine


def test_comparing_while_paused_says_what_to_do(browser: webdriver.Chrome) -> None:
    with fed_view(compare=ToyEngine(factor=0.5)) as view:
        open_live(browser, view.sink.address)
        press(browser, " ")
        wait(browser, lambda: text_of(browser, "status") == "paused")
        note_texts(browser)
        browser.execute_script("document.querySelector('[value=compare]').click()")
        assert "paused: resume to compare" in [text[0] for text in noted_texts(browser)]
        press(browser, " ")
        wait(browser, lambda: browser.execute_script("return shown.maps.length") == 2)
        words = [text[0] for text in noted_texts(browser)]
        assert not any(text.startswith(("paused", "the second")) for text in words)


def test_second_engine_that_failed_is_not_called_at_work(browser: webdriver.Chrome) -> None:
    with fed_view(compare=ToyEngine(fails=True)) as view:
        open_live(browser, view.sink.address)
        note_texts(browser)
        browser.execute_script("document.querySelector('[value=compare]').click()")
        wait(browser, lambda: not browser.execute_script("return shown.header.compares"))
        assert "the second engine has failed" in [text[0] for text in noted_texts(browser)]


def test_page_of_too_many_viewers_says_so(browser: webdriver.Chrome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saliency_edge.runtime.web.server._MOST_BROWSERS", 2)
    with fed_view() as view:
        open_live(browser, view.sink.address)
        browser.execute_script("window.others = [0, 1].map(() => new WebSocket(socket.url))")
        wait(browser, lambda: browser.execute_script("return others.some(other => other.readyState === 3)"))
        browser.execute_script("others.forEach(other => other.close()); socket.onclose({ code: 1013 })")
        wait(browser, lambda: text_of(browser, "status") == "too many viewers")
        wait(browser, lambda: text_of(browser, "status") == "live")
