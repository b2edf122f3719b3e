"""Addresses of the web view."""

from __future__ import annotations

import pytest

from saliency_edge.runtime.errors import UsageError
from saliency_edge.runtime.web.web_options import WebOptions, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port", "is_local"),
    [
        ("8080", "127.0.0.1", 8080, True),
        ("localhost:1", "localhost", 1, True),
        ("[::1]:80", "::1", 80, True),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False),
        ("[::]:8080", "::", 8080, False),
        ("jetson-3.lan:65535", "jetson-3.lan", 65535, False),
    ],
)
def test_address(text: str, host: str, port: int, is_local: bool) -> None:
    assert parse_address(text) == (host, port)
    assert WebOptions(host=host, port=port).is_local == is_local


@pytest.mark.parametrize(("token", "found"), [("", "nothing"), ("a\r\nSet-Cookie: b", "control characters")])
def test_token_that_cannot_be_is_refused(token: str, found: str) -> None:
    with pytest.raises(UsageError, match=f"--web-token holds {found}"):
        WebOptions(token=token)


@pytest.mark.parametrize("text", ["", "web", ":8080", "1.2.3.4", "65536", "::1:80", "http://a:80", "8080/"])
def test_no_address(text: str) -> None:
    with pytest.raises(UsageError, match=r"--web .*: expected a port or HOST:PORT, such as 8080"):
        parse_address(text)
