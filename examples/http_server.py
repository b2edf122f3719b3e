"""Saliency over HTTP, with aiohttp: python examples/http_server.py BUNDLE --port 8000

    curl --data-binary @photo.jpg 'http://localhost:8000/saliency' > map.png
    curl --data-binary @photo.jpg 'http://localhost:8000/peak'

Inference runs in a thread, so the server answers other requests meanwhile; the predictor makes calls take
turns.
"""

from __future__ import annotations

import argparse
import asyncio

import cv2
import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from saliency_edge.runtime import Predictor, SaliencyError

MAX_BYTES = 20 << 20


def make_app(predictor: Predictor) -> web.Application:
    """An application with the routes `POST /saliency` (PNG, 16 bit) and `POST /peak` (JSON)."""

    async def saliency_of(request: web.Request) -> NDArray[np.float32]:
        data = np.frombuffer(await request.read(), np.uint8)
        frame_bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
        if frame_bgr is None:
            raise web.HTTPUnsupportedMediaType(text="send an image: JPEG, PNG, WebP\n")
        try:
            return await asyncio.to_thread(predictor, frame_bgr)
        except SaliencyError as error:
            raise web.HTTPUnprocessableEntity(text=f"{error}\n") from error

    async def as_png(request: web.Request) -> web.Response:
        values = np.rint(await saliency_of(request) * 65535).astype(np.uint16)
        return web.Response(body=cv2.imencode(".png", values)[1].tobytes(), content_type="image/png")

    async def as_peak(request: web.Request) -> web.Response:
        saliency = await saliency_of(request)
        row, column = divmod(int(saliency.argmax()), saliency.shape[1])
        return web.json_response({"x": column, "y": row, "saliency": float(saliency[row, column])})

    app = web.Application(client_max_size=MAX_BYTES)
    app.add_routes([web.post("/saliency", as_png), web.post("/peak", as_peak)])
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle")
    parser.add_argument("--port", type=int, default=8000, help="on localhost (default: 8000)")
    options = parser.parse_args()
    with Predictor(options.bundle) as loaded:
        web.run_app(make_app(loaded), host="localhost", port=options.port)
