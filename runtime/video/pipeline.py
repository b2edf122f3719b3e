"""A frame's way, in one straight line: source, fit, infer, saliency map, render, sinks.

Capture and fitting run in one thread, inference in another, rendering and writing in the caller's. Between
them lie queues of two frames. A file's frames are neither dropped nor doubled, and stay in order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contract import Contract
from ..engines.engine import Engine
from ..errors import BackendError
from ..fit import crop_map, fit_frame, window_of
from ..telemetry import Telemetry
from .ahead import ahead
from .frame import Frame, Result, SaliencyMap
from .opencv_setup import single_threaded
from .render import Renderer
from .sinks import Sink
from .sources import Source


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A frame, and the same at the network's size."""

    frame: Frame
    input_bgr: NDArray[np.uint8]


def saliency_maps(
    source: Source,
    engine: Engine,
    telemetry: Telemetry,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Generator[SaliencyMap, None, None]:
    """Compute the saliency maps of all frames, in order, ahead of the reader.

    Args:
        source: of frames; no one else may read it meanwhile.
        engine: no one else may use it meanwhile.
        telemetry: gets the stages `read`, `fit` and `infer`.
        is_stopped: asked before each inference; once it says yes, the maps at hand are the last ones.

    Raises:
        SaliencyError: what a stage raised, after the maps of the frames before it.
    """
    fitted = ahead(_fitted_frames(source, engine.contract, telemetry))
    return ahead(_inferred_maps(fitted, engine, telemetry, is_stopped))


def run_pipeline(
    source: Source,
    engine: Engine,
    sinks: Sequence[Sink],
    renderer: Renderer,
    telemetry: Telemetry,
    is_stopped: Callable[[], bool] = lambda: False,
    on_frame: Callable[[], None] = lambda: None,
) -> int:
    """Take all frames of a source through an engine into the sinks.

    Args:
        source: where frames come from.
        engine: what makes maps of them.
        sinks: where the results go; the caller closes them.
        renderer: makes pictures, where a sink shows them.
        telemetry: gets all stages, and the age of each result, from capture until it is written.
        is_stopped: asked before each inference; once it says yes, the run ends well, and early.
        on_frame: called after each frame.

    Returns:
        How many frames were done.

    Raises:
        SaliencyError: what a stage raised, after the frames before it were done.
    """
    frame_count = 0
    with single_threaded(), closing(saliency_maps(source, engine, telemetry, is_stopped)) as maps:
        for saliency in maps:
            _show(saliency, sinks, renderer, telemetry)
            telemetry.add("age", time.monotonic() - saliency.frame.captured_s)
            frame_count += 1
            on_frame()
    return frame_count


def _fitted_frames(
    source: Source, contract: Contract, telemetry: Telemetry
) -> Generator[_Fitted, None, None]:
    with closing(source.frames()) as frames:
        for frame in telemetry.measured(frames, "read"):
            with telemetry.measure("fit"):
                fitted = _Fitted(frame, fit_frame(frame.image_bgr, contract.size_hw, contract.fit))
            yield fitted


def _inferred_maps(
    fitted: Generator[_Fitted, None, None],
    engine: Engine,
    telemetry: Telemetry,
    is_stopped: Callable[[], bool],
) -> Generator[SaliencyMap, None, None]:
    with closing(fitted):
        for item in fitted:
            if is_stopped():
                return
            with telemetry.measure("infer"):
                saliency = _infer(item, engine)
            yield saliency


def _infer(item: _Fitted, engine: Engine) -> SaliencyMap:
    """Compute one map. An engine whose smallest batch is above 1 gets the frame so many times."""
    contract = engine.contract
    batch = np.repeat(item.input_bgr[np.newaxis], contract.batch[0], axis=0)
    values = engine.infer(batch)[0]
    if not np.isfinite(values).all():
        raise BackendError(
            f"{engine.description} gave values that are not numbers for frame {item.frame.name}. "
            "Try --precision fp32"
        )
    window = window_of(item.frame.size_hw, contract.size_hw, contract.fit)
    return SaliencyMap(frame=item.frame, values=crop_map(values, window))


def _show(saliency: SaliencyMap, sinks: Sequence[Sink], renderer: Renderer, telemetry: Telemetry) -> None:
    picture_bgr = saliency.frame.image_bgr
    if any(sink.shows_pictures for sink in sinks):
        with telemetry.measure("render"):
            picture_bgr = renderer.render(saliency)
    age_s = time.monotonic() - saliency.frame.captured_s
    result = Result(saliency=saliency, picture_bgr=picture_bgr, age_s=age_s)
    if sinks:
        with telemetry.measure("write"):
            for sink in sinks:
                sink.write(result)
