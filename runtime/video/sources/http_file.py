"""Whether an address on a web server is a file, which ends, or a stream, which goes on."""

from __future__ import annotations

import base64
import http.client
import re
import ssl
from contextlib import suppress
from urllib.parse import unquote, urlsplit

_PATIENCE_S = 3.0
_STREAMS = re.compile(r"(?i)mpegurl|dash\+xml|multipart/|\.(m3u8?|mpd)$")


def is_file_on_server(url: str) -> bool:
    """Ask a web server whether what has just ended is a file: it has a length and is no playlist.

    FFmpeg tells the duration of most clips, but not of elementary streams, MPEG-TS or single images.

    Args:
        url: any address; only those of http and https are asked.
    """
    with suppress(OSError, ValueError, http.client.HTTPException):
        return _is_file(url)
    return False


def _is_file(url: str) -> bool:
    found = urlsplit(url)
    if found.scheme not in ("http", "https") or found.hostname is None or _STREAMS.search(found.path):
        return False
    connection = http.client.HTTPConnection(found.hostname, found.port or 80, timeout=_PATIENCE_S)
    if found.scheme == "https":
        unverified = ssl._create_unverified_context()  # as FFmpeg does by default
        connection = http.client.HTTPSConnection(
            found.hostname, found.port or 443, timeout=_PATIENCE_S, context=unverified
        )
    headers = {}
    if found.username is not None:
        login = f"{unquote(found.username)}:{unquote(found.password or '')}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(login).decode('ascii')}"
    try:
        connection.request("GET", f"{found.path or '/'}?{found.query}".rstrip("?"), headers=headers)
        response = connection.getresponse()
        length, kind = response.getheader("Content-Length"), response.getheader("Content-Type") or ""
        return response.status == http.client.OK and bool(length) and not _STREAMS.search(kind)
    finally:
        connection.close()
