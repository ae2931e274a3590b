"""How the stand-in speaks HTTP: what Apache was measured to do with connections, heads and bodies."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING

import pytest

from tests.store import Store
from tests.store.huge import content, sha256
from tests.store_conformance.asking import basic
from tests.store_conformance.direct import exchange, read_response
from tests.store_conformance.test_writes import zoe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.store_conformance.asking import Response


@pytest.fixture
async def wire(store: Store) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(store.host, store.port, limit=1 << 20)
    yield reader, writer
    writer.close()


Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def head(store: Store, line: str, *more: str, key: str = "full") -> bytes:
    name, value = basic(store.keys[key])
    return "\r\n".join([line, "Host: shop.example", f"{name}: {value}", *more, "", ""]).encode()


async def talk(store: Store, wire: Wire, line: str, *more: str, body: bytes = b"") -> Response:
    reader, writer = wire
    writer.write(head(store, line, *more) + body)
    return await read_response(reader, bodiless=line.startswith("HEAD "))


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether the server ends the connection within two seconds."""
    try:
        async with asyncio.timeout(2):
            return await reader.read() == b""
    except TimeoutError:
        return False


@pytest.mark.parametrize(
    ("target", "status"), [("/api/nosuch", 400), ("/api/orders?limit=1,2,3", 500), ("/api/orders?x=" + "x" * 8190, 414)]
)
async def test_connection_is_given_up(store: Store, wire: Wire, target: str, status: int) -> None:
    """400, 414 and 500 carry `Connection: close`, and the connection ends."""
    answer = await talk(store, wire, f"GET {target} HTTP/1.1")
    assert (answer.status, answer.header("Connection")) == (status, "close")
    assert await closed(wire[0])


async def test_webservice_off_gives_the_connection_up(store: Store, wire: Wire) -> None:
    """503 closes too."""
    store.knobs.webservice = False
    answer = await talk(store, wire, "GET /api/orders HTTP/1.1")
    assert (answer.status, answer.header("Connection")) == (503, "close")
    assert await closed(wire[0])


async def test_connection_is_kept(store: Store, wire: Wire) -> None:
    """200, 401, 404 and 405 leave the connection open, with and without a body to read."""
    for line, status in (
        ("GET /api/orders HTTP/1.1", 200),
        ("HEAD /api/orders HTTP/1.1", 200),
        ("GET /api/orders/999 HTTP/1.1", 404),
        ("DELETE /api/stock_availables/1 HTTP/1.1", 405),
        ("GET /api/orders HTTP/1.1", 200),
    ):
        assert (await talk(store, wire, line)).status == status
    assert store.connections_total == 1
    assert store.connections == 1


async def test_idle_connection_is_closed(store: Store, wire: Wire) -> None:
    """After an answer a silent connection ends with the keep-alive timeout, not before."""
    store.knobs.keepalive_timeout = 0.3
    await talk(store, wire, "GET /api/orders HTTP/1.1")
    before = time.perf_counter()
    assert await closed(wire[0])
    assert time.perf_counter() - before >= 0.25


async def test_requests_per_connection(store: Store, wire: Wire) -> None:
    """The last request that MaxKeepAliveRequests allows is answered with `Connection: close`."""
    store.knobs.keepalive_max = 2
    assert (await talk(store, wire, "GET /api/orders HTTP/1.1")).header("Connection") is None
    assert (await talk(store, wire, "GET /api/orders HTTP/1.1")).header("Connection") == "close"
    assert await closed(wire[0])


async def test_pipelined_requests(store: Store, wire: Wire) -> None:
    """Requests sent without waiting are answered in order."""
    reader, writer = wire
    writer.write(b"".join(head(store, f"GET /api/orders/{key}?display=[id] HTTP/1.1") for key in (1, 2, 3)))
    answers = [await read_response(reader) for _ in range(3)]
    assert [answer.xml[0].findtext("id") for answer in answers] == ["1", "2", "3"]


async def test_expect_continue(store: Store, wire: Wire) -> None:
    """Expect: 100-continue is answered with 100 before the body is sent."""
    reader, writer = wire
    body = f"<prestashop>{zoe()}</prestashop>".encode()
    writer.write(head(store, "POST /api/customers HTTP/1.1", "Expect: 100-continue", f"Content-Length: {len(body)}"))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await read_response(reader)).status == 201


async def test_chunked_request_body(store: Store, wire: Wire) -> None:
    """A chunked body, with extensions and a trailer, is the same as a counted one."""
    body = f"<prestashop>{zoe()}</prestashop>".encode()
    chunks = b"5;x=y\r\n%b\r\n%x\r\n%b\r\n0\r\nTrailer: x\r\n\r\n" % (body[:5], len(body) - 5, body[5:])
    answer = await talk(store, wire, "POST /api/customers HTTP/1.1", "Transfer-Encoding: chunked", body=chunks)
    assert answer.status == 201
    seen = store.requests[-1]
    assert (seen.body_length, seen.body_sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert (await talk(store, wire, "GET /api/orders HTTP/1.1")).status == 200


async def test_http_1_0(store: Store, wire: Wire) -> None:
    """HTTP/1.0 gets no chunks and the end of the connection as the end of the body."""
    answer = await talk(store, wire, "GET /api/orders HTTP/1.0")
    assert answer.status == 200
    assert answer.header("Transfer-Encoding") is None
    assert len(answer.ids) == 7


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /api\r\n\r\n",
        b"GET /api HTTP/1.1\r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost: shop.example\r\nBad Header: x\r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost: shop.example\r\n folded: x\r\n\r\n",
        b"POST /api HTTP/1.1\r\nHost: shop.example\r\nContent-Length: x\r\n\r\n",
        b"POST /api HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /api HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET /../etc HTTP/1.1\r\nHost: shop.example\r\n\r\n",
        b"CONNECT shop.example:80 HTTP/1.1\r\nHost: shop.example\r\n\r\n",
    ],
)
async def test_bad_requests(store: Store, raw: bytes) -> None:
    """What Apache calls malformed is its 400 page."""
    answer = await exchange(store.host, store.port, raw)
    assert answer.status == 400
    assert answer.header("Content-Type") == "text/html; charset=iso-8859-1"


async def test_too_large_a_body(store: Store) -> None:
    """A body above the limit is refused with 413 before it is read."""
    store.knobs.max_body = 10
    raw = head(store, "POST /api/customers HTTP/1.1", "Content-Length: 11") + b"x" * 11
    assert (await exchange(store.host, store.port, raw)).status == 413


async def test_early_answer(store: Store, wire: Wire) -> None:
    """early_answer: the answer comes while the body is still to be sent, and the connection goes on after it."""
    reader, writer = wire
    store.knobs.early_answer = True
    writer.write(head(store, "POST /api/nosuch.php HTTP/1.1", "Content-Length: 5"))
    store.knobs.rewrite = "missing"
    assert (await read_response(reader)).status == 404
    writer.write(b"12345")
    assert (await talk(store, wire, "GET /api/orders HTTP/1.1")).status == 404
    assert [seen.body_length for seen in store.requests] == [5, 0]


async def test_trace_echoes_the_credential(store: Store) -> None:
    """TRACE is answered by the web server with the request itself, key included."""
    answer = await exchange(store.host, store.port, head(store, "TRACE /api HTTP/1.1"))
    assert answer.status == 200
    assert basic(store.keys["full"])[1].encode() in answer.body


async def test_what_is_recorded(store: Store) -> None:
    """The record keeps request line and headers as the bytes they were."""
    raw = head(store, "GET //api/orders?filter[id]=%5B1%5D HTTP/1.1", "x-CaSe:  spaced ")
    await exchange(store.host, store.port, raw)
    seen = store.requests[-1]
    assert seen.line == b"GET //api/orders?filter[id]=%5B1%5D HTTP/1.1"
    assert seen.headers[-1] == (b"x-CaSe", b"spaced")
    assert (seen.method, seen.target) == ("GET", b"//api/orders?filter[id]=%5B1%5D")
    assert (seen.status, seen.header("host"), store.requests_total) == (200, b"shop.example", 1)


async def test_huge_download(store: Store, wire: Wire) -> None:
    """GET /api/__huge streams the announced bytes, chunked or counted."""
    store.knobs.huge = 3_000_001
    expected = sha256(3_000_001)
    chunked = await talk(store, wire, "GET /api/__huge HTTP/1.1")
    assert chunked.header("Transfer-Encoding") == "chunked"
    assert hashlib.sha256(chunked.body).hexdigest() == expected
    counted = await talk(store, wire, "GET /api/__huge?size=70000&length=1 HTTP/1.1")
    assert counted.header("Content-Length") == "70000"
    assert counted.body == b"".join(content(70000))


async def test_huge_upload(store: Store, wire: Wire) -> None:
    """POST /api/__huge takes any length and tells its hash."""
    store.knobs.update(huge=1, max_body=10)
    body = b"".join(content(2_000_000))
    answer = await talk(store, wire, "POST /api/__huge HTTP/1.1", f"Content-Length: {len(body)}", body=body)
    assert answer.json == {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
