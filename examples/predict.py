"""A saliency map of one image: python examples/predict.py BUNDLE IMAGE OVERLAY.png"""

import sys

import cv2

from saliency_edge.runtime import Predictor

bundle, image, overlay = sys.argv[1:]
predictor = Predictor(bundle)
for result in predictor.stream(image):  # one frame; a clip or a camera gives many
    row, column = divmod(int(result.saliency.argmax()), result.saliency.shape[1])
    print(f"{predictor.description}: most salient at x={column}, y={row}")
    cv2.imwrite(overlay, result.overlay())
