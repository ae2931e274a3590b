"""What may not reach a store: addresses beside its /api, claims about hosts, and messages with two meanings."""

from __future__ import annotations

import re

import pytest

from tests.system.caller import Line, ask_raw, basic, request
from tests.system.lan import DOMAIN
from tests.system.road import Connection, Shop

UNDER_API = re.compile(r"/+api([/&?].*)?")
OUT_OF_API = [
    "",
    "/",
    "/admin",
    "/webservice/dispatcher.php?url=orders",
    "/apiadmin",
    "/api.php",
    "/api;x",
    "/API/orders",
    "/%61pi/orders",
    "/api%2forders",
    "/api/..",
    "/api/../",
    "/api/../admin",
    "/api/orders/../../admin",
    "/api/./orders",
    "/api/.",
    "/x/../api/orders",
    "/./api/orders",
    "/../api/orders",
    "/api/%2e%2e/admin",
    "/api/%2E%2e/admin",
    "/api/.%2e/admin",
    "/api/%2e./admin",
    "/api/%2e/orders",
    "/api/%252e%252e/admin",
    "/api/%25252e%25252e/admin",
    "/api/%25%32%65%25%32%65/admin",
    "/api/..%2fadmin",
    "/api/..%2Fadmin",
    "/api/..%252fadmin",
    "/api/%2e%2e%2fadmin",
    "/api%2f..%2fadmin",
    "/api/..%5cadmin",
    "/api/..\\admin",
    "/api/orders\\1",
    "/api/orders%5c1",
    "/api/orders%255c1",
    "/api/..;/admin",
    "/api/..;x=1/admin",
    "/api/%2e%2e;/admin",
    "/api/orders%00",
    "/api/orders%00.jpg",
    "/api/orders%0d%0aX-Forwarded-Host:%20evil",
    "/api/orders%250d%250aHost:%20evil",
    "/api/orders%0a",
    "/api/orders%7f",
    "/api/..?x=1",
    "/api/..&url=admin",
    "//../api/orders",
    "/api//../admin",
]


@pytest.mark.parametrize("path", OUT_OF_API)
@pytest.mark.parametrize("way", ["basic", "ws_key"])
def test_no_trick_leaves_the_api(connection: Connection, shop: Shop, path: str, way: str) -> None:
    """Dot segments, backslashes, control bytes and other places, raw or encoded however often: refused, not sent."""
    before = shop.counts()["requests"]
    if way == "basic":
        answer = connection.ask(path)
    else:
        answer = connection.bare(f"{path}{'&' if '?' in path else '?'}ws_key={connection.access_key}")
    assert answer.verdict == (400, "path_refused", "caller", "not_sent")
    assert shop.counts()["requests"] == before


@pytest.mark.parametrize(
    "target",
    [
        "/to/{id}/../{id}/api/orders",
        "/to/../to/{id}/api/orders",
        "/to//{id}/api/orders",
        "//to/{id}/api/orders",
        "/TO/{id}/api/orders",
        "/to/{id}%2fapi/orders",
        "/to/{id}/api/orders#/x",
        "/v1/../to/{id}/api/orders",
        "/v1/%2e%2e/to/{id}/api/orders",
        "/to/{ID}/api/orders",
        "/to/{id}x/api/orders",
    ],
)
def test_no_trick_finds_another_way_to_the_gateway(connection: Connection, shop: Shop, target: str) -> None:
    """Only `/to/con_…/api/…`, spelled like that, is forwarded."""
    before = shop.counts()["requests"]
    path = target.replace("{id}", connection.id).replace("{ID}", connection.id.upper())
    answer = ask_raw(connection.relay_port, request("GET", path, [basic(connection.access_key)]))
    assert 400 <= answer.status < 500, answer
    assert shop.counts()["requests"] == before


@pytest.mark.parametrize("target", ["http://evil.test/to/{id}/api/orders", "https://evil.test:1/to/{id}/api/orders"])
def test_the_absolute_form_does_not_choose_the_host(connection: Connection, shop: Shop, target: str) -> None:
    """An absolute target is either refused or read as its path: the store never hears of the other host."""
    path = target.format(id=connection.id)
    answer = ask_raw(connection.relay_port, request("GET", path, [basic(connection.access_key)], host="evil.test"))
    seen = shop.seen()[-1]
    assert answer.code in {None, "path_refused", "malformed"}
    assert "evil" not in seen.text


CLAIMS = [
    ("X-Forwarded-Host", "evil.test"),
    ("x-forwarded-host", "evil.test"),
    ("X_Forwarded_Host", "evil.test"),
    ("X-Forwarded_Host", "evil.test"),
    ("X-Forwarded-For", "127.0.0.1"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "64999"),
    ("X-Forwarded-Server", "evil.test"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X_FORWARDED_ANYTHING", "evil"),
    ("Forwarded", "host=evil.test;for=127.0.0.1"),
    ("X-Original-URL", "/admin"),
    ("X-Original-Host", "evil.test"),
    ("X_Original_URL", "/admin"),
    ("X-Rewrite-URL", "/admin"),
    ("X_Rewrite_URL", "/admin"),
    ("X-Real-IP", "127.0.0.1"),
    ("X_Real_IP", "127.0.0.1"),
    ("Client-IP", "127.0.0.1"),
    ("Client_IP", "127.0.0.1"),
    ("Proxy", "http://evil.test"),
    ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
    ("Proxy-Authorization", "Basic eA=="),
]


@pytest.mark.parametrize(("name", "value"), CLAIMS)
def test_claims_about_hosts_and_callers_end_at_the_relay(
    connection: Connection, shop: Shop, name: str, value: str
) -> None:
    """PrestaShop believes X-Forwarded-Host over Host: neither it nor its kin, however spelled, is passed on."""
    answer = connection.ask("/api/orders", headers=[(name, value)])
    assert answer.status == 200, answer
    assert f"http://{DOMAIN}/api/orders/1".encode() in answer.body
    assert name.lower() not in shop.seen()[-1].names()
    assert value not in shop.seen()[-1].text


def test_the_callers_own_host_and_connection_options_end_at_the_relay(connection: Connection, shop: Shop) -> None:
    """Host is the store's; what Connection names goes with it, hop-by-hop fields too."""
    headers = [
        ("Host", "evil.test"),
        ("Connection", "close, X-Gone"),
        ("X-Gone", "1"),
        ("Keep-Alive", "timeout=9"),
        ("TE", "trailers"),
        ("X-Stays", "1"),
    ]
    assert connection.ask("/api/orders", headers=headers).status == 200
    seen = shop.seen()[-1]
    assert seen.values("Host") == [DOMAIN]
    assert seen.names() == {"host", "authorization", "x-stays"}


@pytest.mark.parametrize("named", ["Host", "Authorization", "Content-Length", "X-Forwarded-Host"])
def test_connection_cannot_take_a_field_out_that_matters(connection: Connection, shop: Shop, named: str) -> None:
    """`Connection: Host` (or Authorization) would make a hop forget it: refused."""
    before = shop.counts()["requests"]
    answer = connection.ask("/api/orders", headers=[("Connection", named)])
    assert answer.verdict == (400, "malformed", "caller", "not_sent")
    assert shop.counts()["requests"] == before


SMUGGLED = b"GET /to/{id}/api/smuggled HTTP/1.1\r\nHost: a\r\nAuthorization: {key}\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content_Length: 3\r\n\r\n",
        b"Content-Length: 0, 3\r\n\r\n",
        b"Content-Length: 0x3\r\n\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    ],
)
def test_a_message_with_two_meanings_is_refused_and_nothing_behind_it_is_read(
    connection: Connection, shop: Shop, framing: bytes
) -> None:
    """What follows an ambiguous body is never taken for a request."""
    key = basic(connection.access_key)[1].encode()
    head = b"POST /to/{id}/api/nosuch HTTP/1.1\r\nHost: a\r\nAuthorization: {key}\r\n"
    data = (head + framing + SMUGGLED).replace(b"{id}", connection.id.encode()).replace(b"{key}", key)
    with Line(connection.relay_port) as line:
        line.send(data)
        answer = line.read()
        assert answer.code in {"malformed", "coding_unknown"}, answer
        assert line.closed()
    assert shop.seen("/api/smuggled") == []


def test_nothing_but_the_api_was_ever_asked_for(shop: Shop) -> None:
    """Every line that the shop has seen in this session is plainly under /api."""
    seen = shop.seen()
    assert len(seen) > 10
    assert [one.line for one in seen if not UNDER_API.fullmatch(one.target)] == []
