"""A window on the screen."""

from __future__ import annotations

import os
import sys

import cv2

from ...errors import OutputError
from ...frame import Result
from .sink import SinkClosedError

_ESCAPE = 27
_REMEDY = "Use --web 8080 in its place, or"


class WindowSink:
    """Shows the pictures; closing the window, q or Escape ends the run. Belongs to the main thread."""

    shows_pictures = True

    def __init__(self, title: str) -> None:
        """Open the window.

        Raises:
            OutputError: there is no screen, or an OpenCV without windows.
        """
        self.description = f"window {title!r}"
        self._title = title
        _check_screen()
        os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")  # it misses fonts it does not need
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error:
            raise OutputError(
                f"this OpenCV cannot open windows: it is the headless build. {_REMEDY} install opencv-python"
            ) from None

    def write(self, result: Result) -> None:
        """Show a picture and take the keys that were pressed.

        Raises:
            SinkClosedError: the window was closed.
        """
        cv2.imshow(self._title, result.picture_bgr)
        key = cv2.waitKey(1) & 0xFF
        if key in (ord("q"), _ESCAPE) or not self._is_open():
            raise SinkClosedError("the window was closed")

    def close(self) -> None:
        """Close the window, if it is not closed."""
        try:
            cv2.destroyWindow(self._title)
        except cv2.error:
            return

    def _is_open(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # Qt's way to say that the last window was closed
            return False


def _check_screen() -> None:
    """Look for a screen first: without one Qt ends the whole process.

    Raises:
        OutputError: there is none.
    """
    has_screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform == "linux" and not has_screen:
        raise OutputError(f"no screen: neither DISPLAY nor WAYLAND_DISPLAY is set. {_REMEDY} ssh -X")
