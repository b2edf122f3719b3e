"""An RTSP server for tests; the system's Python runs it, which has GStreamer's bindings.

    /usr/bin/python3 tests/rtsp_server.py PORT

It prints `ready` and serves a moving ball, 160x120 at 25 frames/s, under /cam until it is killed.
"""

from __future__ import annotations

import sys

import gi

PIPELINE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=120,framerate=25/1 "
    "! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 "
    "! rtph264pay name=pay0 pt=96 )"
)


def serve(port: str) -> None:
    """Serve until the process ends."""
    gi.require_versions({"Gst": "1.0", "GstRtspServer": "1.0"})
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE)
    factory.set_shared(True)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    serve(sys.argv[1])
