"""Who may look on: tokens, cookies, foreign pages."""

from __future__ import annotations

import asyncio
import hmac

import pytest

pytest.importorskip("aiohttp", reason="the extra `web` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `web` is not installed")

import aiohttp
from yarl import URL

from saliency_edge.runtime.web.web_options import WebOptions
from web_clients import fed_view

pytestmark = pytest.mark.timeout(30)

EVERYWHERE = WebOptions(host="0.0.0.0", port=0)


def status_of(url: str, **headers: str) -> int:
    async def get() -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status

    return asyncio.run(get())


def local(url: str) -> str:
    """Give the address of a view that listens everywhere, as this machine reaches it."""
    return "http://127.0.0.1:" + url.rpartition(":")[2]


@pytest.mark.parametrize("path", ["", "page.json", "socket", "metrics", "nothing"])
def test_without_the_token_nothing_is_shown(path: str) -> None:
    with fed_view(EVERYWHERE) as view:
        assert len(view.token) >= 20
        url = local(view.url)
        assert status_of(url + path) == 401
        assert status_of(f"{url}{path}?token=") == 401
        assert status_of(f"{url}{path}?token={view.token[:-1]}") == 401
        assert status_of(url + path, Authorization=f"Basic {view.token}") == 401
        assert status_of(url + "healthz") in (200, 503)


def test_token_opens_the_page_and_stays_in_a_cookie() -> None:
    async def open_page(url: str, token: str) -> tuple[str, bool, str]:
        jar = aiohttp.CookieJar(unsafe=True)  # it takes cookies of addresses too
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            async with session.get(url, params={"token": token}) as answer:
                page, address = await answer.text(), str(answer.url)
                cookie = answer.history[0].headers["Set-Cookie"]
            async with session.ws_connect(url + "socket") as socket:
                await socket.send_json({"stream": 0, "picture": True})
                assert len(await socket.receive_bytes(timeout=5)) > 1000
        return address, "HttpOnly" in cookie and "SameSite=Lax" in cookie, page

    with fed_view(EVERYWHERE) as view:
        address, is_guarded, page = asyncio.run(open_page(local(view.url), view.token))

    assert "token" not in address
    assert is_guarded
    assert "<canvas" in page


def test_prometheus_may_use_a_bearer_token() -> None:
    with fed_view(WebOptions(host="0.0.0.0", port=0, token="of the user's")) as view:
        url = local(view.url) + "metrics"
        assert status_of(url, Authorization="Bearer of the user's") == 200
        assert status_of(url, Authorization="Bearer another") == 401


def test_a_token_of_the_users_own_is_asked_for_on_localhost_too() -> None:
    with fed_view(WebOptions(port=0, token="secret")) as view:
        assert status_of(view.url) == 401
        assert status_of(f"{view.url}?token=secret") == 303


@pytest.mark.parametrize("token", ["a&b=c#d", "100% of it?", 'quoted "; word=', "ключ"])
def test_printed_address_opens_the_page_whatever_the_token_is(token: str) -> None:
    async def open_page(address: str) -> int:
        jar = aiohttp.CookieJar(unsafe=True)
        async with (
            aiohttp.ClientSession(cookie_jar=jar) as session,
            session.get(URL(address, encoded=True)) as answer,
        ):
            return answer.status

    with fed_view(WebOptions(port=0, token=token)) as view:
        assert asyncio.run(open_page(view.sink.address)) == 200


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    real = hmac.compare_digest

    def note(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", note)
    with fed_view(EVERYWHERE) as view:
        status_of(f"{local(view.url)}?token=guess")
    assert b"guess" in compared


@pytest.mark.parametrize("name", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""])
def test_foreign_name_for_this_machine_is_refused(name: str) -> None:
    """DNS rebinding: a page of evil.example whose name now leads to 127.0.0.1."""
    with fed_view() as view:
        assert status_of(view.url, Host=name) == 403


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1:9000", "[::1]:1"])
def test_local_names_are_let_in(name: str) -> None:
    """Another port is a tunnel's."""
    with fed_view() as view:
        assert status_of(view.url, Host=name) == 200


def test_foreign_page_cannot_open_a_socket() -> None:
    with fed_view() as view:
        own = view.url.rstrip("/")
        assert status_of(view.url + "page.json", Origin=own) == 200
        assert status_of(view.url + "socket", Origin="http://evil.example") == 403
        assert status_of(view.url + "socket", Origin=own + "1") == 403
        assert status_of(view.url + "socket", Origin="null") == 403


def test_page_may_load_nothing_from_elsewhere() -> None:
    async def headers(url: str) -> dict[str, str]:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return dict(answer.headers)

    with fed_view() as view:
        found = asyncio.run(headers(view.url))

    assert found["Content-Security-Policy"].startswith("default-src 'none'")
    assert found["Cache-Control"] == "no-store"
    assert found["X-Content-Type-Options"] == "nosniff"
