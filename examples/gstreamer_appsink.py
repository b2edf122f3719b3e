"""Saliency inside a GStreamer program: python examples/gstreamer_appsink.py BUNDLE [PIPELINE]

An appsink that holds one buffer and drops older ones gives the newest frame, however long an inference takes.
Needs Debian's python3-gi and gstreamer1.0-plugins-base.
"""

from __future__ import annotations

import sys

import gi
import numpy as np

from saliency_edge.runtime import Predictor

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

bundle = sys.argv[1]
source = sys.argv[2] if len(sys.argv) > 2 else "videotestsrc num-buffers=30 pattern=ball"
Gst.init(None)
pipeline = Gst.parse_launch(
    f"{source} ! videoconvert ! video/x-raw,format=BGR ! "
    "appsink name=frames max-buffers=1 drop=true sync=false"
)
frames = pipeline.get_by_name("frames")
pipeline.set_state(Gst.State.PLAYING)
with Predictor(bundle) as predictor:
    while (sample := frames.emit("pull-sample")) is not None:
        caps, buffer = sample.get_caps().get_structure(0), sample.get_buffer()
        width, height = caps.get_value("width"), caps.get_value("height")
        data = np.frombuffer(buffer.extract_dup(0, buffer.get_size()), np.uint8)
        frame_bgr = data.reshape(height, -1)[:, : 3 * width].reshape(
            height, width, 3
        )  # rows are padded to 4 bytes
        saliency = predictor(np.ascontiguousarray(frame_bgr))
        row, column = divmod(int(saliency.argmax()), width)
        print(f"{buffer.pts / Gst.SECOND:7.3f} s  x={column} y={row} saliency={saliency[row, column]:.2f}")
pipeline.set_state(Gst.State.NULL)
