"""Header duties: what stops at the relay, what it sets, and that all else arrives as it was sent, both ways."""

from __future__ import annotations

import base64

import pytest

from agent.wire.destination import Destination
from relay.records import KeyPlace, Scope, StoreUrl
from tests.relay.gateway.message import Message
from tests.relay.gateway.scene import ACCESS_KEY, API, STORE_KEY, Scene, basic, request
from tests.relay.gateway.store import OK, Visit, answering

STORES_OWN = basic(STORE_KEY).encode()


async def seen(scene: Scene, *fields: str, **how: object) -> Message:
    """What the store sees of such a request."""
    client = await scene.client()
    client.send(request(*fields, **how))  # type: ignore[arg-type]  # the names of `request`
    assert (await client.answer(head_only=how.get("method") == "HEAD")).status == 200
    return scene.store.requests[-1]


def host(scene: Scene) -> bytes:
    return f"shop.example:{scene.connection.store.destination.port}".encode()


async def test_the_store_gets_its_own_host_its_own_key_and_the_rest_as_it_was_sent(scene: Scene) -> None:
    """Order, case, repeated names and odd values are kept; nothing is added but Host and Authorization."""
    fields = ["X-Second: 2", "x-first:1", "Io-Format:  JSON ", "X-Second:   other", "Local-Content-Sha1: ab",
              "Accept: */*",
              "ACCEPT-ENCODING: gzip, br", "X-Empty:", "User-Agent: \xe9", "Cookie: a=b", "Cookie: c=d",
              "Range: bytes=0-1",
              'If-None-Match: "x"', "Origin: https://a.example", "_: x", "X_Note: y"]  # fmt: skip
    message = await seen(scene, *fields)
    assert message.head == "\r\n".join(
        [
            "GET /api/products HTTP/1.1",
            f"Host: {host(scene).decode()}",
            f"Authorization: {STORES_OWN.decode()}",
            *fields,
            "",
            "",
        ]
    ).encode("latin-1")


@pytest.mark.parametrize(
    ("store", "expected"),
    [(("http", "shop.example", 80, ""), b"shop.example"), (("http", "shop.example", 443, ""), b"shop.example:443"),
     (("https", "shop.example", 443, ""), b"shop.example"), (("http", "192.168.1.20", 8080, ""), b"192.168.1.20:8080")],
)  # fmt: skip
async def test_host_is_what_the_shop_calls_itself(
    scene: Scene, store: tuple[str, str, int, str], expected: bytes
) -> None:
    """Without the port where it is the scheme's own."""
    scheme, name, port, base = store
    real = scene.connection.store.destination.port
    scene.route.port = real
    scene.change(store=StoreUrl(scheme, Destination(name, port), base))  # type: ignore[arg-type]  # parametrised
    assert (await seen(scene)).values("Host") == [expected]


async def test_the_base_path_is_put_in_front(scene: Scene) -> None:
    """A shop in a subdirectory: the raw target stands behind its path."""
    store = scene.connection.store
    scene.change(store=StoreUrl("http", store.destination, "/prestashop"))
    assert (
        await seen(scene, target=f"{API}//orders?filter[id]=[1]")
    ).target == b"/prestashop/api//orders?filter[id]=[1]"


HOP_BY_HOP = ["Connection: keep-alive", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: trailers",
              "Trailer: X-Note", "Connection: x-one, X-TWO"]  # fmt: skip
CLAIMS = ["Forwarded: for=1.2.3.4", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: evil.example",
          "X-Forwarded-Proto: https",
          "X-Forwarded-Anything: 1", "x-forwarded-server: a", "X_Forwarded_Host: evil.example",
          "X.Forwarded~Host: evil.example",
          "X-Forwarded_Host: evil.example",
          "X_FORWARDED-FOR: 1.2.3.4", "X-Original-URL: /admin", "X_Original_Url: /admin",
          "X-Original-Host: evil.example",
          "X-Rewrite-URL: /admin", "X_Rewrite_Url: /admin", "X-Real-IP: 1.2.3.4", "X_Real_IP: 1.2.3.4",
          "Client-IP: 1.2.3.4",
          "Client_IP: 1.2.3.4", "Proxy: http://evil.example", "HTTP2-Settings: AAA", "HTTP2_Settings: AAA",
          "Proxy-Authorization: Basic eDp5"]  # fmt: skip


@pytest.mark.parametrize("field", [*HOP_BY_HOP, *CLAIMS])
async def test_what_ends_at_this_hop_ends_here(scene: Scene, field: str) -> None:
    """Hop-by-hop fields and all that claims where a request came from or went to, `_` read as `-`."""
    message = await seen(scene, "X-Before: 1", field, "X-After: 2")
    assert [name for name, _ in message.fields] == [b"Host", b"Authorization", b"X-Before", b"X-After"]


async def test_fields_that_connection_names_end_here(scene: Scene) -> None:
    """RFC 9110 §7.6.1: nominated fields go, whatever their case and wherever they stand."""
    message = await seen(
        scene, "X-One: 1", "Connection: x-one ,X-TWO,", "x-Two: 2", "X-Three: 3", "Connection: X-Four", "x-four: 4"
    )
    assert [name for name, _ in message.fields] == [b"Host", b"Authorization", b"X-Three"]


CREDENTIALS = {
    "Basic": {"auth": basic(ACCESS_KEY)},
    "Basic with a password": {"auth": basic(ACCESS_KEY, "secret")},
    "ws_key": {"auth": None, "target": f"{API}/products?a=b&ws_key={ACCESS_KEY}&c"},
    "ws_key in the path": {"auth": None, "target": f"{API}/products&ws_key={ACCESS_KEY}?a=b&c"},
    "Basic and ws_key": {"auth": basic(ACCESS_KEY), "target": f"{API}/products?a=b&ws_key={ACCESS_KEY}&c"},
    "Bearer": {"auth": "Bearer token"},
    "Bearer and ws_key": {"auth": "Bearer token", "target": f"{API}/products?a=b&ws.key={ACCESS_KEY}&c"},
}


@pytest.mark.parametrize("how", CREDENTIALS.values(), ids=CREDENTIALS.keys())
@pytest.mark.parametrize("place", KeyPlace)
async def test_the_callers_credential_never_reaches_the_store(
    scene: Scene, how: dict[str, str | None], place: KeyPlace
) -> None:
    """Wherever it stood: the store gets its own key alone, as Basic user or as `ws_key`, once."""
    scene.directory.admit("token", Scope.FORWARD)
    scene.change(key_place=place)
    message = await seen(scene, **how)
    raw = bytes(scene.store.visits[0].received)
    for secret in (
        ACCESS_KEY.encode(),
        base64.b64encode(f"{ACCESS_KEY}:".encode())[:-4],
        b"token",
        b"Bearer",
        b"secret",
    ):
        assert secret not in raw
    query = b"?a=b&c" if "target" in how else b""
    if place is KeyPlace.BASIC:
        assert message.values("Authorization") == [STORES_OWN]
        assert message.target == b"/api/products" + query
    else:
        assert message.values("Authorization") == []
        assert message.target == b"/api/products" + (query + b"&" if query else b"?") + b"ws_key=" + STORE_KEY.encode()


async def test_in_ws_key_mode_the_stores_key_stands_last(scene: Scene) -> None:
    """PHP takes the last of equal names, and a path that ends in `&…` still gets a query."""
    scene.change(key_place=KeyPlace.WS_KEY)
    key = b"ws_key=" + STORE_KEY.encode()
    for below, expected in [("", b"?"), ("?", b"?&"), ("/x&a=b", b"/x&a=b?"), ("/x?a=b&", b"/x?a=b&&"), ("?a", b"?a&")]:
        assert (await seen(scene, target=API + below)).target == b"/api" + expected + key


@pytest.mark.parametrize("repeats", ["Location", "Content-Location", "X-Debug", "Refresh"])
@pytest.mark.parametrize("callers", ["", "&ws_key=" + ACCESS_KEY, "&ws_key=a%0d%0aSet-Cookie:%20x=1"])
async def test_no_answer_carries_the_stores_key(scene: Scene, repeats: str, callers: str) -> None:
    """PrestaShop repeats `ws_key` in Location: the caller's own value, byte for byte as it sent it, takes its place."""
    scene.change(key_place=KeyPlace.WS_KEY)
    repeated = f"{repeats}: http://shop.example/?ws_key={STORE_KEY}&url=products&again={STORE_KEY}"
    scene.store.behave = answering(f"HTTP/1.1 302 Found\r\n{repeated}\r\nContent-Length: 0\r\n\r\n".encode())
    got = await scene.ask(target=f"{API}/products?a=b{callers}")
    own = callers.partition("=")[2]
    assert got.value(repeats) == f"http://shop.example/?ws_key={own}&url=products&again={own}".encode()
    assert STORE_KEY.encode() not in got.head
    assert got.value("Set-Cookie") is None


async def test_no_interim_answer_carries_the_stores_key(scene: Scene) -> None:
    """Nor do 1xx answers."""
    scene.change(key_place=KeyPlace.WS_KEY)
    scene.store.behave = answering(f"HTTP/1.1 103 Early Hints\r\nLink: </?ws_key={STORE_KEY}>\r\n\r\n".encode() + OK)
    hint = await scene.ask()
    assert hint.status == 103
    assert STORE_KEY.encode() not in hint.head


async def test_answers_keep_order_case_repeats_and_reason(scene: Scene) -> None:
    """As the store gave it: the reason phrase, names in their case, repeated fields, blanks, odd bytes."""
    fields = ["PSWS-Version: 9.1.4", "x-powered-BY:PrestaShop Webservice", "X-Two: 2", "X-Two:  1 ",
              "Content-Type: text/xml;charset=utf-8",
              "Vary: Authorization", 'WWW-Authenticate: Basic realm="a"', "WWW-Authenticate: Digest",
              "Content-Sha1: ab",
              "Content-Length: 2", "Retry-After: 3", "Date: x", "Server: Apache", "X-Odd: \xe9\xff",
              "Access-Time: 1"]  # fmt: skip
    answer = "\r\n".join(["HTTP/1.1 299 Tr\xe8s  bien ", *fields, "", "ok"]).encode("latin-1")
    scene.store.behave = answering(answer)
    got = await scene.ask()
    guard = ["Content-Security-Policy: sandbox", "X-Content-Type-Options: nosniff"]
    assert got.line == "HTTP/1.1 299 Tr\xe8s  bien ".encode("latin-1")
    lines = got.head.decode("latin-1").split("\r\n")[1:-2]
    assert [line for line in lines if line not in guard] == fields
    assert set(guard) < set(lines)
    assert got.body == b"ok"


REMOVED = ["Set-Cookie: a=b", "set-cookie: c=d", "Set-Cookie2: a", 'Alt-Svc: h3=":443"',
           "Strict-Transport-Security: max-age=1",
           'Clear-Site-Data: "*"', "NEL: {}", "Report-To: {}", 'Reporting-Endpoints: a="b"',
           "Service-Worker-Allowed: /",
           "Postern-Error: agent_offline", "postern-outcome: not_sent", "POSTERN-Origin: relay", "Postern-Anything: 1",
           "Connection: close", "Connection: X-Named", "X-Named: 1", "Keep-Alive: timeout=5", "Proxy-Connection: close",
           "Upgrade: h2c", "Trailer: X", "TE: x"]  # fmt: skip


async def test_what_would_act_on_the_relays_own_origin_is_taken_out(scene: Scene) -> None:
    """Cookies, promises about the origin, forged verdicts of the relay, and what ends at this hop."""
    lines = "\r\n".join(["HTTP/1.1 200 OK", "X-Before: 1", *REMOVED, "X-After: 2", "Content-Length: 2", "", "ok"])
    scene.store.behave = answering(lines.encode())
    client = await scene.client()
    got = await client.ask()
    guard = {b"Content-Security-Policy", b"X-Content-Type-Options"}
    assert [name for name, _ in got.fields if name not in guard] == [b"X-Before", b"X-After", b"Content-Length"]
    assert (await client.ask()).body == b"ok"


async def test_interim_answers_are_cleaned_too(scene: Scene) -> None:
    """A 103 sets no cookie and forges no verdict either."""
    hints = "\r\n".join(["HTTP/1.1 103 Early Hints", "Link: </a>", *REMOVED, "", ""])
    scene.store.behave = answering(hints.encode() + OK)
    assert (await scene.ask()).head == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


async def test_the_guard_against_browsers_counts_whatever_the_store_says(scene: Scene) -> None:
    """`nosniff` stands before a store's own value, since browsers heed the first; two policies both hold."""
    scene.store.behave = answering(
        b"HTTP/1.1 200 OK\r\nX-Content-Type-Options: none\r\nContent-Security-Policy: default-src *\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    got = await scene.ask()
    assert got.values("X-Content-Type-Options")[0] == b"nosniff"
    assert b"sandbox" in got.values("Content-Security-Policy")


@pytest.mark.parametrize(
    "field",
    ["Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: serviceworker", "Service-Worker: script", "sec-fetch-mode:navigate"],
)
async def test_browsers_that_would_show_the_answer_are_refused(scene: Scene, field: str) -> None:
    """A navigation, or a script for a service worker: 403 with a sentence for the person, nothing sent."""
    client = await scene.client()
    got = await client.ask(field)
    assert (got.status, got.value("Postern-Error")) == (403, b"navigation_refused")
    assert b"programs" in got.body
    assert scene.store.received == b""
    assert (await client.ask("Sec-Fetch-Mode: cors")).status == 200


@pytest.mark.parametrize(
    "field", ["Upgrade: websocket", "Upgrade: h2c", "Connection: upgrade", "Connection: close, Upgrade"]
)
async def test_upgrades_are_refused(scene: Scene, field: str) -> None:
    """Under /to/ nothing is upgraded, and the store does not hear of it."""
    got = await scene.ask(field)
    assert (got.status, got.value("Postern-Error")) == (400, b"path_refused")
    assert scene.store.received == b""


@pytest.mark.parametrize(
    "below", ["/../admin", "/%2e%2e/admin", "/x%3F/%2e%2e/%2e%2e/admin", "/a%5cb", "/a%00b", "s", "%2f"]
)
async def test_targets_outside_api_are_refused(scene: Scene, below: str) -> None:
    """400 `path_refused`, not a byte at the store, and the connection goes on."""
    client = await scene.client()
    got = await client.ask(target=API + below)
    assert (got.status, got.value("Postern-Error"), got.value("Postern-Origin")) == (400, b"path_refused", b"caller")
    assert scene.store.received == b""
    assert (await client.ask()).status == 200


async def test_methods_pass_as_they_are(scene: Scene) -> None:
    """Whatever is a token, but TRACE and CONNECT, is the store's to judge."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "get", "M-SEARCH"):
        assert (await seen(scene, method=method)).line == f"{method} /api/products HTTP/1.1".encode()


async def test_the_store_is_spoken_to_in_our_own_version(scene: Scene) -> None:
    """HTTP/1.0 callers are served in HTTP/1.1 behind, and answered in HTTP/1.1 (RFC 9110 §2.5)."""
    assert (await seen(scene, version="1.0")).line == b"GET /api/products HTTP/1.1"


async def test_redirects_are_passed_on_never_followed(scene: Scene) -> None:
    """Location arrives as the store gave it, and nobody goes there."""
    location = b"http://other.example/?url=products&limit=1"
    scene.store.behave = answering(b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location)
    got = await scene.ask()
    assert (got.status, got.value("Location")) == (302, location)
    assert len(scene.store.requests) == 1


async def test_nothing_of_one_callers_fields_reaches_another(scene: Scene) -> None:
    """Two callers on the same line to the store: each request has its own fields alone."""

    async def echo(visit: Visit) -> None:
        while message := await visit.request():
            note = message.value("X-Note") or b"none"
            visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(note), note))

    scene.store.behave = echo
    assert (await scene.ask("X-Note: first")).body == b"first"
    assert (await scene.ask()).body == b"none"
    assert len(scene.store.visits) == 1
