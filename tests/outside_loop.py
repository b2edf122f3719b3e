"""A plain loop around ONNX Runtime that knows nothing of this project, in a process of its own.

For every line on stdin it runs so many frames and prints the milliseconds that one took.

    python tests/outside_loop.py MODEL.onnx FRAME_HEIGHT FRAME_WIDTH FRAMES
"""

from __future__ import annotations

import sys
import time

import cv2
import numpy as np
import onnxruntime


def main(model: str, height: int, width: int, frames: int) -> None:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    _, to_height, to_width, _ = session.get_inputs()[0].shape
    cv2.setNumThreads(1)
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    print("ready", flush=True)
    for _ in sys.stdin:
        start_s = time.perf_counter()
        for _ in range(frames):
            fitted = cv2.resize(picture, (to_width, to_height), interpolation=cv2.INTER_AREA)
            session.run(["saliency"], {"frame": fitted[np.newaxis]})
        print((time.perf_counter() - start_s) / frames * 1e3, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *(int(word) for word in sys.argv[2:5]))
