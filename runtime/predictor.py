"""The Python API: a model and an image in, a saliency map out; or a stream of results.

    from saliency_edge.runtime import Predictor

    predictor = Predictor("lite2")
    saliency = predictor(frame_bgr)  # (H, W) float32, 0 to 1
    for result in predictor.stream("rtsp://camera/stream"):
        print(result.age_s, result.saliency.max())

What the values mean: they are relative within one image. 1 is the place that is looked at most (of networks
trained on densities) and a place of 0.5 gets half as many fixations; they do not tell whether anything in the
image is salient, and are not comparable between images. As a probability distribution over pixels (sum 1),
ask for `density`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from .backends.backend import LoadOptions, Model, infer_one
from .backends.select import load_model
from .contract import Contract, Precision
from .errors import InputError, UsageError
from .fit import crop_map, fit_frame, size_hw_of, window_of
from .frame import Frame, Region, SaliencyMap
from .images import read_image
from .stream.pipeline import MapFilter, Stream, default_policy, saliency_maps, unchanged
from .stream.regions import RegionOptions, RegionTracker, draw_regions
from .stream.render import Renderer, RenderOptions
from .stream.scheduler import Policy
from .stream.smoothing import Smoother
from .stream.sources.open_source import open_source
from .stream.sources.source import SourceOptions
from .telemetry import EventLog, Telemetry

Image: TypeAlias = "NDArray[np.uint8] | str | Path"
"""(H, W, 3) uint8, 0 to 255, or the path of an image file."""
ChannelOrder = Literal["bgr", "rgb"]
Output = Literal["saliency", "density", "cells"]


class Predictor:
    """A loaded model that makes saliency maps of images and streams.

    Thread-safe: calls from several threads take turns. While a stream is iterated, it has the model to
    itself; make a second predictor for anything else. A context manager; or call `close` when done.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        backend: str = "auto",
        precision: Precision | None = None,
        threads: int | None = None,
        strict: bool = False,
    ) -> None:
        """Load a model with the fastest backend that reproduces PyTorch's maps on this machine.

        Args:
            model: the name of a bundle that ships (`lite2`), a bundle (folder or .zip), an `.onnx`, an
                `.engine`, or on a workstation a `.safetensors`.
            backend: `auto`, or the name of one that must be used: `tensorrt`, `openvino`, `onnxruntime`,
                `pytorch`.
            precision: `fp32`, `fp16` or `int8` of a bundle; None takes the fastest that is exact enough here.
            threads: CPU threads per inference; None leaves it to the backend.
            strict: fail where another backend or device would have to step in.

        Raises:
            SaliencyError: the model is missing, damaged or not for this machine, or no backend can run it.
        """
        options = LoadOptions(backend=backend, threads=threads, strict=strict)
        self._model: Model = load_model(Path(model), precision, options)
        self._lock = Lock()
        self._is_streaming = False
        self._is_closed = False

    @property
    def contract(self) -> Contract:
        """Input size, map size, fit and precision of the model."""
        return self._model.contract

    @property
    def description(self) -> str:
        """Backend, device and precision, such as `OpenVINO 2026.4 CPU, int8`."""
        return self._model.description

    def __call__(
        self, image: Image, *, channel_order: ChannelOrder = "bgr", output: Output = "saliency"
    ) -> NDArray[np.float32]:
        """Compute the saliency map of one image.

        Args:
            image: (H, W, 3) uint8, 0 to 255, or the path of an image file.
            channel_order: of an array's last axis; a file has its own.
            output: `saliency`: (H, W), 0 to 1, at the image's size, enlarged bilinearly; `density`: the same,
                divided
                by its sum; `cells`: (h, w), 0 to 1, as the network gave it, its edges being the image's
                edges.

        Returns:
            float32; the caller owns the array.

        Raises:
            UsageError: the array is no such image, or a stream is using the model.
            InputError: the file cannot be read.
            BackendError: the backend fails.
        """
        pixels = _pixels(image, channel_order)
        contract = self.contract
        fitted = fit_frame(pixels, contract.size_hw, contract.fit)
        with self._lock:
            self._check_free()
            values = infer_one(self._model, fitted)
        cells = crop_map(values, window_of(size_hw_of(pixels), contract.size_hw, contract.fit))
        return _as_output(cells, size_hw_of(pixels), output)

    def batch(
        self,
        images: Sequence[Image],
        *,
        channel_order: ChannelOrder = "bgr",
        output: Output = "saliency",
    ) -> list[NDArray[np.float32]]:
        """Compute the maps of several images, of any sizes, in as few inferences as the model's batch allows.

        Args:
            images: as for a single call.
            channel_order: as there.
            output: as there.

        Returns:
            One map for each image, in order.

        Raises:
            SaliencyError: as for a single call.
        """
        contract = self.contract
        pixels = [_pixels(image, channel_order) for image in images]
        smallest, largest = contract.batch
        maps: list[NDArray[np.float32]] = []
        for start in range(0, len(pixels), largest):
            part = pixels[start : start + largest]
            fitted = [fit_frame(one, contract.size_hw, contract.fit) for one in part]
            fitted += fitted[-1:] * (smallest - len(fitted))
            with self._lock:
                self._check_free()
                values = self._model.infer(np.stack(fitted))  # (N, h, w)
            for one, found in zip(part, values, strict=False):
                cells = crop_map(found, window_of(size_hw_of(one), contract.size_hw, contract.fit))
                maps.append(_as_output(cells, size_hw_of(one), output))
        return maps

    def stream(
        self,
        source: str | Path,
        *,
        policy: str | None = None,
        every: int = 1,
        max_frames: int | None = None,
        regions: int = 0,
        smooth_s: float | None = None,
    ) -> Iterator[StreamResult]:
        """Compute the maps of a video, a folder of images, a camera or a network stream.

        Capture and inference run ahead in threads of their own. Of a live source the newest frame is taken
        and older ones are dropped, so that the age of a result stays bounded; of a file every frame is
        computed.

        Args:
            source: as `saliency-run` takes it: `clip.mp4`, `photos/`, `camera:0`, `rtsp://...`,
                `gst:PIPELINE`, ...
            policy: `newest`, `all` or `deadline=MS`; None: `newest` of a live source, `all` of a file.
            every: take one frame in so many.
            max_frames: end after so many frames; None: at the source's end.
            regions: find up to so many regions of interest in each map.
            smooth_s: time constant of an average of the maps over time, in seconds; None: no average.

        Yields:
            The results in order. Closing the iterator, or leaving the loop, closes the source.

        Raises:
            SaliencyError: the source cannot be opened or read, or the backend fails.
        """
        with self._lock:
            self._check_free()
            self._is_streaming = True
        try:
            yield from self._results(
                str(source),
                Policy.parse(policy) if policy else None,
                SourceOptions(every=every, max_frames=max_frames),
                RegionTracker(RegionOptions(top=regions)) if regions else None,
                Smoother(smooth_s) if smooth_s else unchanged,
            )
        finally:
            self._is_streaming = False

    def _results(
        self,
        source_name: str,
        policy: Policy | None,
        options: SourceOptions,
        tracker: RegionTracker | None,
        map_filter: MapFilter,
    ) -> Iterator[StreamResult]:
        telemetry = Telemetry()
        events = EventLog(telemetry.counters)
        with closing(open_source(source_name, options, events)) as source:
            stream = Stream(
                source=source, events=events, policy=policy or default_policy(source), map_filter=map_filter
            )
            with closing(saliency_maps([stream], self._model, telemetry)) as maps:
                for found in maps:
                    saliency = stream.map_filter(found)
                    yield StreamResult(map=saliency, regions=tracker(saliency) if tracker is not None else ())

    def close(self) -> None:
        """Release the model; the predictor cannot be used afterwards."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._model.close()

    def __enter__(self) -> Predictor:
        """Enter a block at whose end the model is released."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the model."""
        self.close()

    def _check_free(self) -> None:
        if self._is_closed:
            raise UsageError("this predictor is closed. Make a new one")
        if self._is_streaming:
            raise UsageError("a stream is using this predictor. End it, or make a second Predictor")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamResult:
    """One frame of a stream with its saliency.

    Attributes:
        map: the frame, and its map in the network's cells.
        regions: of interest, the highest peak first; empty where none were asked for.
    """

    map: SaliencyMap
    regions: tuple[Region, ...] = ()

    @property
    def frame(self) -> Frame:
        """The frame: `image_bgr` (H, W, 3), `index`, `name`, `timestamp_s`."""
        return self.map.frame

    @property
    def cells(self) -> NDArray[np.float32]:
        """(h, w) float32, 0 to 1, as the network gave it; its edges are the frame's edges."""
        return self.map.values

    @property
    def saliency(self) -> NDArray[np.float32]:
        """(H, W) float32, 0 to 1, at the frame's size; computed at each access."""
        return _as_output(self.cells, self.frame.size_hw, "saliency")

    @property
    def density(self) -> NDArray[np.float32]:
        """(H, W) float32 with the sum 1; computed at each access."""
        return _as_output(self.cells, self.frame.size_hw, "density")

    @property
    def age_s(self) -> float:
        """Seconds since the frame was captured, at the time of asking."""
        return time.monotonic() - self.frame.captured_s

    @property
    def dropped(self) -> int:
        """Frames that were dropped between the result before this one and this one."""
        return self.map.dropped

    def overlay(self, *, opacity: float = 0.75, colormap: str = "inferno") -> NDArray[np.uint8]:
        """Render the map over the frame, with boxes around the regions.

        Args:
            opacity: where saliency is 1, in 0 to 1; in proportion elsewhere.
            colormap: an OpenCV colour map, such as `inferno`, `turbo`, `viridis`.

        Returns:
            (H, W, 3) BGR; the caller owns it.

        Raises:
            UsageError: an option cannot be.
        """
        rendered = Renderer(RenderOptions(opacity=opacity, colormap=colormap)).render(self.map)
        draw_regions(rendered, self.regions)
        return rendered


def _pixels(image: Image, channel_order: ChannelOrder) -> NDArray[np.uint8]:
    """Read or check an image; (H, W, 3) BGR."""
    if isinstance(image, str | Path):
        path = Path(image)
        if not path.is_file():
            raise InputError(f"no such image: {path}. Give an image file, or an array (H, W, 3) uint8")
        return read_image(path)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UsageError(f"found an image of {found}, expected uint8 (H, W, 3), 0 to 255, or a path")
    if 0 in image.shape:
        raise UsageError(f"found an image of {image.shape}: it holds no pixels")
    if channel_order not in ("bgr", "rgb"):
        raise UsageError(f"channel_order is {channel_order!r}, expected 'bgr' or 'rgb'")
    return image if channel_order == "bgr" else np.ascontiguousarray(image[:, :, ::-1])


def _as_output(cells: NDArray[np.float32], size_hw: tuple[int, int], output: Output) -> NDArray[np.float32]:
    """Bring a map, (h, w) in cells, to the form that is asked for."""
    if output == "cells":
        return np.array(cells)
    if output not in ("saliency", "density"):
        raise UsageError(f"output is {output!r}, expected 'saliency', 'density' or 'cells'")
    values = np.asarray(cv2.resize(cells, size_hw[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    if output == "saliency":
        return values
    total = float(values.sum(dtype=np.float64))
    return values / np.float32(total) if total > 0 else np.full(size_hw, 1 / values.size, np.float32)
