"""Heads: what the grammar allows is read, everything else is refused, and reading is the same however often."""

from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateway import credentials, http1, target
from relay.gateway.errors import GatewayError
from relay.gateway.exchange import Exchange
from relay.gateway.http1 import MalformedError, read_answer, read_request

TOKEN = "!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters
names = st.text(TOKEN, min_size=1, max_size=20).map(str.encode)
values = st.binary(max_size=30).map(lambda raw: bytes(b for b in raw if b == 9 or (b >= 32 and b != 127)))
STOPPED = {
    b"content-length", b"transfer-encoding", b"host", b"authorization", b"connection", b"keep-alive", b"upgrade", b"te",
    b"proxy-connection", b"trailer", b"proxy", b"forwarded", b"client-ip", b"x-real-ip", b"http2-settings",
    b"proxy-authorization",
}  # fmt: skip
pairs = st.tuples(names, values).filter(
    lambda pair: (
        (lower := pair[0].lower().replace(b"_", b"-")) not in STOPPED
        and not lower.startswith((b"x-forwarded-", b"x-original-", b"x-rewrite-", b"postern-"))
    )
)


def block(fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%s:%s\r\n" % field for field in fields)


@given(fields=st.lists(pairs, max_size=20))
def test_fields_that_pass_keep_their_bytes_and_order(fields: list[tuple[bytes, bytes]]) -> None:
    """Names in their case, values with their blanks, repeated ones in order: the block comes out as it went in."""
    request = read_request(b"GET /to HTTP/1.1\r\nHost: a\r\n" + block(fields))
    assert request.fields.forwarded == block(fields)
    assert (request.fields.length, request.fields.chunked, request.has_body) == (None, False, False)


@given(fields=st.lists(pairs, max_size=20), reason=values)
def test_an_answers_fields_keep_their_bytes_and_order(fields: list[tuple[bytes, bytes]], reason: bytes) -> None:
    """The same for answers, and the reason phrase is the store's own."""
    fields = [field for field in fields if field[0].lower() not in {b"set-cookie", b"nel", b"alt-svc", b"report-to"}]
    answer = read_answer(b"HTTP/1.1 200 %s\r\n%s" % (reason, block(fields)))
    assert (answer.passed, answer.status_line, answer.length) == (block(fields), b"HTTP/1.1 200 %s\r\n" % reason, None)


@given(head=st.binary(max_size=200).map(lambda raw: raw + b"\r\n"))
def test_any_bytes_are_read_or_refused(head: bytes) -> None:
    """No other exception comes out, whatever goes in, and the same comes out the second time."""

    def outcome(read: Callable[[bytes], object]) -> object:
        try:
            return read(head)
        except MalformedError as error:
            return error.status, error.detail

    for read in (read_request, read_answer):
        assert outcome(read) == outcome(read)


@given(
    start=st.sampled_from([b"GET /to HTTP/1.1\r\nHost: a\r\n", b"HTTP/1.1 200 OK\r\n"]),
    fields=st.lists(pairs, min_size=1, max_size=5),
    data=st.data(),
)
def test_one_wrong_byte_in_the_fields_is_refused_or_changes_that_field_alone(
    start: bytes, fields: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    """CR, LF or NUL put anywhere into a block never adds a field: the head is refused."""
    good = block(fields)
    at = data.draw(st.integers(0, len(good) - 2))
    byte = data.draw(st.sampled_from([b"\r", b"\n", b"\x00"]))
    bad = good[:at] + byte + good[at:]
    with pytest.raises(MalformedError):
        (read_request if start.startswith(b"GET") else read_answer)(start + bad)


@pytest.mark.parametrize("size", [10, 3000])
def test_what_is_remembered_equals_what_is_read(size: int) -> None:
    """Small blocks are remembered, large ones are not: both give the same twice."""
    head = b"POST /to HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nX-Note: %s\r\n" % (b"a" * size)
    first, second = read_request(head), read_request(head)
    assert first == second
    assert (first.fields.length, first.method, first.has_body) == (7, b"POST", True)


def test_a_refused_block_is_refused_again() -> None:
    """A refusal is not forgotten by being remembered."""
    for _ in range(2):
        with pytest.raises(MalformedError):
            read_request(b"GET /to HTTP/1.1\r\nHost: a\r\nHost: a\r\n")


@pytest.mark.parametrize(
    ("version", "connection", "persistent"),
    [("1.1", None, True), ("1.1", "close", False), ("1.1", "Close", False), ("1.1", "x, close", False),
     ("1.1", "keep-alive", True), ("1.0", None, False), ("1.0", "keep-alive", True), ("1.0", "Keep-Alive", True),
     ("1.0", "keep-alive, close", False)],
)  # fmt: skip
def test_persistence(version: str, connection: str | None, *, persistent: bool) -> None:
    """HTTP/1.1 stays open unless told to close, HTTP/1.0 closes unless told to stay (RFC 9112 §9.3)."""
    field = f"Connection: {connection}\r\n" if connection else ""
    assert read_request(f"GET /to HTTP/{version}\r\nHost: a\r\n{field}".encode()).persistent is persistent


@pytest.mark.parametrize(
    ("version", "connection", "closes"),
    [
        ("1.1", None, False),
        ("1.1", "close", True),
        ("1.1", "CLOSE", True),
        ("1.0", None, True),
        ("1.0", "keep-alive", False),
    ],
)
def test_an_answers_persistence(version: str, connection: str | None, *, closes: bool) -> None:
    """The same for the store's connection."""
    field = f"Connection: {connection}\r\n" if connection else ""
    assert read_answer(f"HTTP/{version} 200 OK\r\n{field}".encode()).close is closes


def test_blanks_before_a_colon_are_taken_out_of_answers() -> None:
    """RFC 9112 §5.1: refused in a request, removed from an answer, where the field then counts."""
    answer = read_answer(b"HTTP/1.1 200 OK\r\nX-Note : a : b\r\nContent-Length\t: 5\r\nX-Other: c : d\r\n")
    assert answer.length == 5
    assert answer.passed == b"X-Note: a : b\r\nContent-Length: 5\r\nX-Other: c : d\r\n"
    with pytest.raises(MalformedError):
        read_answer(b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\nContent-Length: 5\r\n")


def test_a_reason_may_be_missing() -> None:
    """`HTTP/1.1 200` with and without its last space."""
    assert read_answer(b"HTTP/1.1 200\r\n").status_line == b"HTTP/1.1 200 \r\n"
    assert read_answer(b"HTTP/1.1 200 \r\n").status_line == b"HTTP/1.1 200 \r\n"


def test_heads_do_not_print_their_secrets() -> None:
    """Neither the credential nor the target, which may hold `ws_key`, shows in a record's text."""
    head = read_request(
        b"GET /to?ws_key=SECRETONE HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer SECRETTWO\r\nX: SECRETTHREE\r\n"
    )
    assert "SECRET" not in repr(head)


@pytest.mark.parametrize(
    ("fields", "json"),
    [("", None), ("Output-Format: JSON", True), ("Io-Format: JSON", True), ("Io-Format: XML\r\nOutput-Format: JSON",
     False),
     ("Output-Format: XML\r\nIo-Format: JSON", True), ("output-format: JSON", True), ("Output-Format: json", False),
     ("Accept: application/json", None)],
)  # fmt: skip
def test_which_format_is_asked_for(fields: str, *, json: bool | None) -> None:
    """PrestaShop's order: `Io-Format` first, the exact value `JSON`, and nothing else of a header decides."""
    lines = f"{fields}\r\n" if fields else ""
    assert read_request(f"GET /to HTTP/1.1\r\nHost: a\r\n{lines}".encode()).fields.json is json


def test_what_is_remembered_is_bounded_in_bytes() -> None:
    """Long blocks, names and credentials, which strangers choose, are read but not kept."""
    caches = (
        http1._remembered_request,
        http1._remembered_line,
        http1._remembered_status,
        credentials._remembered_digests,
        target._remembered,
    )
    read_request(b"GET /to HTTP/1.1\r\nHost: a\r\n")
    read_answer(b"HTTP/1.1 200 OK\r\nX: y\r\n")
    before = [cache.cache_info().currsize for cache in caches]
    long = b"a" * 5000
    head = read_request(b"GET /to HTTP/1.1\r\nHost: a\r\nAuthorization: %s\r\n" % long)
    read_answer(b"HTTP/1.1 200 OK\r\nX-%s: y\r\n" % long)
    judged = target.judge(b"/to/con_aaaaaaaaaaaaaaaa/api?" + long)
    credentials.presented(Exchange(Nobody(), head, judged, Nobody(), 0))
    assert [cache.cache_info().currsize for cache in caches] == before


class Nobody:
    """Neither a connector nor a dispatcher."""

    draining = False

    def write(self, data: bytes) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def finish(self, *, persistent: bool) -> None: ...

    def fail(self, error: GatewayError) -> None: ...

    def abort(self) -> None: ...

    def again(self, exchange: Exchange) -> None: ...

    def over(self, exchange: Exchange) -> None: ...
