"""Who may look: a token where other machines can connect, and no foreign page through a local browser."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from .web_options import WebOptions

_OPEN_PATHS = frozenset({"/healthz"})  # for supervisors; it tells nothing about the pictures
_ASK_FOR_TOKEN = """<!doctype html><html lang="en"><meta charset="utf-8"><title>saliency-run</title>
<meta name="viewport" content="width=device-width"><style>body{background:#0c0e12;color:#d8dde6;
font:16px system-ui;display:grid;place-items:center;height:90vh}input,button{font:inherit;padding:.5em;
background:#171b22;color:inherit;border:1px solid #465063;border-radius:6px}</style>
<form><label for="token">Token that saliency-run printed</label><br><br>
<input id="token" name="token" type="password" autofocus required> <button>Open</button></form></html>"""


class Access:
    """Decides on each request before anything else does.

    Without a token, the name that the browser used must be local: a foreign name that resolves to this
    machine is an attack by DNS rebinding. A web socket must come from a page of this server.
    """

    def __init__(self, options: WebOptions) -> None:
        """Take the user's token, or make one where other machines can connect."""
        self.token = options.token or (None if options.is_local else secrets.token_urlsafe(16))

    @property
    def query(self) -> str:
        """What the address needs at its end so that it opens."""
        return f"?token={quote(self.token, safe='')}" if self.token else ""

    def middleware(self) -> Middleware:
        """What the server calls for each request."""

        @web.middleware
        async def check(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            return self._refusal_of(request) or await handler(request)

        return check

    def _refusal_of(self, request: web.Request) -> web.StreamResponse | None:
        """The answer to a request that may not pass, or that brings its token; `None`: it may pass."""
        if request.path in _OPEN_PATHS:
            return None
        if self.token is None:
            is_local = WebOptions(host=urlsplit(f"//{request.host}").hostname or "").is_local
            return self._foreign_page(request) if is_local else _forbidden("this name is not local")
        if self._is_token(request.query.get("token")) and request.path == "/":
            return self._with_cookie(request)
        if not any(map(self._is_token, _tokens_in(request, self._cookie_name(request)))):
            return web.Response(status=401, text=_ASK_FOR_TOKEN, content_type="text/html")
        return self._foreign_page(request)

    def _foreign_page(self, request: web.Request) -> web.Response | None:
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return _forbidden("the page is another server's")
        return None

    def _is_token(self, text: str | None) -> bool:
        """Compare in a time that does not depend on where the two differ."""
        return self.token is not None and hmac.compare_digest((text or "").encode(), self.token.encode())

    def _with_cookie(self, request: web.Request) -> web.Response:
        """Keep the token in a cookie, and take it out of the address that people see and copy."""
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(self._cookie_name(request), self.token or "", httponly=True, samesite="Lax")
        return response

    @staticmethod
    def _cookie_name(request: web.Request) -> str:
        """Name the cookie by the port: browsers share cookies among a host's ports."""
        return f"saliency_token_{urlsplit(f'//{request.host}').port or 80}"


def _tokens_in(request: web.Request, cookie_name: str) -> tuple[str | None, ...]:
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    return (
        request.cookies.get(cookie_name),
        request.query.get("token"),
        bearer if scheme == "Bearer" else None,
    )


def _forbidden(reason: str) -> web.Response:
    return web.Response(status=403, text=f"refused: {reason}\n")
