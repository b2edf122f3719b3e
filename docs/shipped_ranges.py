"""Make the activation ranges that ship, after the shipped weights have changed.

python docs/shipped_ranges.py ../shared/data/photos/train [MOST_FRAMES]

Only networks whose ranges are stale are run. The photographs are COCO's, squashed from about 4:3. All four
take 20 minutes of processor time, two cores half of that; MOST_FRAMES, such as 64, takes less.
"""

from __future__ import annotations

import sys
from pathlib import Path

from saliency_edge.calib.audit import ranges_text
from saliency_edge.calib.calibrate import make_ranges
from saliency_edge.calib.frames import FrameRef, find_frames
from saliency_edge.calib.graph import CalibratedModel
from saliency_edge.calib.ranges import ranges_path
from saliency_edge.calib.selection import InspectedFrame, inspect_frames, select, selection_text
from saliency_edge.export.to_onnx import contract_of, onnx_from_checkpoint
from saliency_edge.train.checkpoint import load_checkpoint, shipped_weights

# How many frames: at 480 x 640 one frame costs four times as much, and holds four times as many values.
FRAMES = {"deep_half": 512, "mlnet_small": 512, "mlnet": 128, "lite2": 256}
SEED = 0
SHOWN_HW = (480, 640)


def fp32_model(network: str) -> CalibratedModel:
    """Export a network's shipped weights."""
    checkpoint = load_checkpoint(shipped_weights(network), network=network)
    graph = onnx_from_checkpoint(checkpoint)
    return CalibratedModel(graph=graph, contract=contract_of(checkpoint, (1, 1)), path=Path(network))


def frames_for(network: str, inspected: list[InspectedFrame], most: int) -> list[FrameRef]:
    """Choose a network's frames, and say which."""
    selection = select(inspected, min(FRAMES[network], most), SEED)
    print(f"\n{network}\n{selection_text(selection)}", flush=True)
    return selection.refs


def main(photographs: str, most: int) -> None:
    """Make the ranges of all networks that ship with weights."""
    inspected = inspect_frames(find_frames([photographs]))
    for network in FRAMES:
        path = ranges_path(network)
        refs = frames_for(network, inspected, most)
        ranges, is_new = make_ranges(fp32_model(network), refs, shown_hw=SHOWN_HW, present=path)
        if is_new:
            ranges.save(path)
        print(f"{ranges_text(ranges)}\n{'written' if is_new else 'unchanged':<12}{path}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else max(FRAMES.values()))
