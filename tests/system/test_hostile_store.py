"""A tenant's store that means harm: nothing it answers acts on the relay's own origin, or speaks in its name."""

from __future__ import annotations

import pytest

from tests.system.caller import Answer
from tests.system.road import Connection, Shop

TAKEN_OUT = {
    "set-cookie",
    "alt-svc",
    "strict-transport-security",
    "clear-site-data",
    "nel",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
}
SPELLINGS = [
    b"Set-Cookie: a=b",
    b"Set-Cookie : a=b",
    b"Postern-Error\t : x",
    b"set-cookie: a=b",
    b"SET-COOKIE2: a=b",
    b"Postern-Anything: x",
    b"postern-error: store_refused",
    b"POSTERN-OUTCOME: not_sent",
    b"sErViCe-WoRkEr-AlLoWeD: /",
    b"Clear-Site-Data: *",
    b"NEL: {}",
    b"Alt-Svc: clear",
]


def check_harmless(answer: Answer) -> None:
    """Nothing in it acts on the origin, and a browser would run none of it."""
    names = {name.strip() for name in answer.names()}
    assert names & TAKEN_OUT == set()
    assert {name for name in names if name.startswith("postern-")} == set()
    policies = [value for name, value in answer.headers if name.lower() == "content-security-policy"]
    assert "sandbox" in policies
    assert ("X-Content-Type-Options", "nosniff") in answer.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_html_cookies_and_forgeries(connection: Connection, shop: Shop, method: str) -> None:
    """The page comes back as bytes; what would set cookies, policies, workers or the relay's verdict is taken out."""
    with shop.troubled(hostile=True):
        answer = connection.ask("/api/orders", method)
    assert answer.status == 200
    assert answer.header("Content-Type") == "text/html; charset=utf-8"
    assert (b"<script>" in answer.body) == (method != "HEAD")
    check_harmless(answer)


@pytest.mark.parametrize("field", SPELLINGS)
@pytest.mark.parametrize("status", [b"200 OK", b"302 Found", b"401 Unauthorized", b"503 Service Unavailable"])
def test_however_it_is_spelled_and_whatever_the_status(
    connection: Connection, shop: Shop, field: bytes, status: bytes
) -> None:
    """The same in any case, with any status, an error of the store's own too."""
    raw = b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n" + field + b"\r\n\r\nok"
    with shop.troubled(raw_answer=raw):
        answer = connection.ask("/api/orders")
    assert answer.status == int(status[:3])
    check_harmless(answer)
    assert field.split(b":")[0].strip().lower() not in {name.strip().encode() for name in answer.names()}


def test_interim_answers_and_trailers_are_no_way_in(connection: Connection, shop: Shop) -> None:
    """Early Hints pass without what is taken out of answers; trailers end at the relay."""
    raw = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nSet-Cookie: a=b\r\nPostern-Error: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Set-Cookie\r\n\r\n"
        b"2\r\nok\r\n0\r\nSet-Cookie: c=d\r\nPostern-Error: x\r\n\r\n"
    )
    with shop.troubled(raw_answer=raw):
        answer = connection.ask("/api/orders")
    assert (answer.status, answer.body) == (200, b"ok")
    ((status, headers),) = answer.interim
    names = {name.lower() for name, _ in headers}
    assert status == 103
    assert "link" in names
    assert names & {"set-cookie", "postern-error"} == set()
    check_harmless(answer)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b=c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b=c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n Set-Cookie: b=c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 a\rb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nSet-Cookie: b=c\n\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_no_header_is_smuggled_in_by_line_ends(connection: Connection, shop: Shop, raw: bytes) -> None:
    """An answer whose lines could be read in two ways is not passed on at all."""
    with shop.troubled(raw_answer=raw):
        answer = connection.ask("/api/orders")
    assert answer.verdict == (502, "store_bad_answer", "store", "answered")
    assert answer.names() & TAKEN_OUT == set()


def test_what_a_store_sends_unasked_is_not_the_next_answer(connection: Connection, shop: Shop) -> None:
    """Two answers to one request: the second is dropped with its connection, not given to the next caller."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirstHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"
    with shop.troubled(raw_answer=raw, raw_then="keep"):
        first = connection.ask("/api/orders")
    assert (first.status, first.body) == (200, b"first")
    for _ in range(5):
        assert connection.ask("/api/orders?limit=1").body.startswith(b"<?xml")


@pytest.mark.parametrize(
    "headers",
    [
        [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")],
        [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")],
        [("Sec-Fetch-Mode", "navigate"), ("Output-Format", "JSON")],
        [("Sec-Fetch-Dest", "serviceworker"), ("Sec-Fetch-Mode", "same-origin")],
        [("Service-Worker", "script")],
    ],
)
def test_browsers_are_refused_with_a_plain_sentence(
    connection: Connection, shop: Shop, headers: list[tuple[str, str]]
) -> None:
    """A navigation, or the fetch of a service worker's script, does not reach the store, even with a good key."""
    before = shop.counts()["requests"]
    for answer in (connection.ask("/api/orders", headers=headers), connection.bare("/api/orders", headers=headers)):
        assert answer.verdict == (403, "navigation_refused", "caller", "not_sent")
        ((_, sentence),) = answer.errors
        assert "browser" in sentence
        assert "curl" in sentence
    assert shop.counts()["requests"] == before


def test_what_programs_in_browsers_send_is_taken(connection: Connection) -> None:
    """`fetch` from elsewhere is no navigation; it is let through, and nothing invites other origins to read it."""
    answer = connection.ask("/api/orders", headers=[("Sec-Fetch-Mode", "cors"), ("Origin", "https://evil.test")])
    assert answer.status == 200
    assert answer.header("Access-Control-Allow-Origin") is None


def test_cookies_of_callers_and_stores_never_meet(connection: Connection, shop: Shop) -> None:
    """The store's cookie is taken out, and none is kept for the next caller."""
    connection.ask("/api/orders/1")
    connection.ask("/api/orders/1")
    assert "cookie" not in shop.seen()[-1].names()
