"""A store sees the request that its caller made, and through the relay the same, to the byte."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given, settings

from tests.system.road import Road as RelayRoad
from tests.transparency.asking import Body, Call, Caller, Played, compare, odd_chunks, random_bytes
from tests.transparency.conftest import KEY, PLAYED
from tests.transparency.decided import REQUEST, decided
from tests.transparency.making import calls, is_refused
from tests.transparency.playing import OK

EXAMPLES = 300
BIG = 3 << 20  # bytes: more than all buffers and windows on the road

TARGETS = [
    b"/api",
    b"/api/",
    b"/api?",
    b"//api//orders//41",
    b"/api/orders/41&display=[id]&&x",
    b"/api/orders;v=1/x;y?z;q",
    b"/api/orders%2F41%2f?filter[id]=[1|3]&filter%5Bid%5D=%5b1%7c3%5D",
    b"/api/customers?filter[email]=%[a+b%20c]%25&x=%2B&x&x=&=x&&?",
    b"/api/%34%31/%c3%A9/%zz/%?%C3%a9=%e9%",
    b"/api/'\"<>^`{|}~!*()_,:@$?\\/../..",
    b"/api/products?v=" + b"%2541" * 1500,
    b"/api/products/a.b/.c/..d/...",
]


@given(calls())
@settings(max_examples=EXAMPLES, deadline=None)
def test_whatever_is_asked(both: Played, call: Call) -> None:
    """Any method, target, header and body arrives as it does directly, or is one of those that are refused."""
    if is_refused(call.target):
        answer = both.refused(call)
        assert (answer.status, answer.values(b"postern-error")) == (400, [b"path_refused"])
    else:
        both.same(call)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target[:30].decode())
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"FOO"])
def test_odd_targets(both: Played, method: bytes, target: bytes) -> None:
    """Nothing of a target is decoded, collapsed, encoded or normalised."""
    assert not is_refused(target)
    both.same(Call(target, method))


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        (b"/api/orders?ws_key=%s", b"/api/orders"),
        (b"/api/orders?ws_key=%s&limit=%%31&limit", b"/api/orders?limit=%31&limit"),
        (b"/api/orders?limit=%%31&ws_key=%s&display=[id]", b"/api/orders?limit=%31&display=[id]"),
        (b"/api/orders&ws_key=%s&limit=1?a=%%5B", b"/api/orders&limit=1?a=%5B"),
        (b"/api/orders?&ws_key=%s&&x", b"/api/orders?&&x"),
        (b"/api/orders?ws%%5fkey=%s&x", b"/api/orders?x"),
        (b"/api/orders?xws_key=1&ws_key=%s&ws_key2=2", b"/api/orders?xws_key=1&ws_key2=2"),
    ],
)
def test_of_a_target_only_ws_key_may_differ(both: Played, target: bytes, arrives: bytes) -> None:
    """The caller's `ws_key` stops at the relay and takes nothing else with it."""
    _, through = both.ask(Call(target % b"OTHER"))
    assert through.seen[0].target == arrives


STOPPED = [
    b"X-Forwarded-Host: evil.test",
    b"x-forwarded-for:1.2.3.4",
    b"X_Forwarded_Proto: https",
    b"X.Forwarded.Host: evil.test",
    b"Forwarded: for=1.2.3.4;host=evil.test",
    b"X-Original-URL: /admin",
    b"X-Rewrite-Url: /admin",
    b"X-Real-IP: 1.2.3.4",
    b"client-IP: 1.2.3.4",
    b"Proxy: http://evil.test",
    b"HTTP2-Settings: AAA",
    b"Proxy-Authorization: Basic Zm9vOg==",
    b"Proxy-Connection: keep-alive",
    b"Keep-Alive: timeout=5",
    b"TE: trailers",
    b"Trailer: X-Checked",
    b"Connection: keep-alive",
    b"Connection: x-named , KEEP-ALIVE",
]


@pytest.mark.parametrize("line", STOPPED, ids=lambda line: line.decode())
def test_what_stops_at_the_relay_takes_nothing_with_it(both: Played, line: bytes) -> None:
    """The fields that the table names, and those alone: their neighbours arrive as they were, in their order."""
    fields = [b"X-Named: 1", b"a_b:\t2 ", line, b"A-B: 3", b"x-named: 4", b"X-Forwarded: 5", b"Forwarded-By: 6"]
    directly, through = both.ask(Call(fields=fields))
    assert line in directly.seen[0].fields
    assert line not in through.seen[0].fields
    compare(directly, through)


def test_a_header_as_large_as_the_stores_web_server_takes(both: Played) -> None:
    """97 lines beside Host and Authorization, one of 8,000 bytes, some names often: all, in order, as spelled."""
    fields = [b"X-%s: %d" % (b"aA"[n % 2 : n % 2 + 1], n) for n in range(96)]
    both.same(Call(fields=[*fields, b"X-Long: " + b"\xe9 " * 4000]))


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"GET", b"DELETE", b"OPTIONS", b"FOO"])
@pytest.mark.parametrize("given", [True, False], ids=["length 0", "no length"])
def test_an_empty_body_says_its_length_if_its_caller_did(both: Played, method: bytes, given: bool) -> None:
    """`Content-Length: 0` arrives where it was sent, and is not added where it was not: the framing passes as it is."""
    both.same(Call(method=method, body=Body.counted(b"") if given else Body()))


@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
def test_bodies_larger_than_every_buffer(both: Played, chunked: bool) -> None:
    """3 MiB of all byte values, chunk sizes odd: the same bytes, the same chunks."""
    data = random_bytes(BIG)
    body = Body.chunked(*odd_chunks(data)) if chunked else Body.counted(data)
    directly, through = both.ask(Call(method=b"POST", body=body))
    expected = decided(directly.seen[0], REQUEST)
    assert expected.body == data
    assert through.seen[0] == expected


@pytest.mark.parametrize(
    "body", [Body.counted(b"abcdefgh"), Body.chunked(b"abc", b"defgh")], ids=["counted", "chunked"]
)
@pytest.mark.parametrize("resets", [False, True], ids=["ends", "resets"])
def test_a_body_that_breaks_off_never_looks_complete(both: Played, body: Body, resets: bool) -> None:
    """Wherever a caller goes away in the middle of its body, the store has half a request, not a whole one."""
    both.store.script = OK
    both.store.clear()
    for sent in range(len(body.framed)):
        with Caller(both.relayed) as caller:
            caller.send(Call(method=b"PUT", body=Body(body.line, body.framed[:sent])).pieces(both.relayed))
            both.store.heard(sent + 1)
            if resets:
                caller.leave()
            else:
                caller.half_close()
                assert not caller.reader.answer().whole
    seen = both.store.seen(len(body.framed))
    assert [request.whole for request in seen] == [False] * len(body.framed)


@pytest.mark.parametrize("address", [b"http://relay.test", b"https://other.test:8443"])
def test_the_whole_address_as_target(both: Played, address: bytes) -> None:
    """A target in absolute form (RFC 9112 §3.2.2) arrives as the path that it holds, byte for byte."""
    target = b"//api/orders%2F41;x&y?a=%zz"
    in_full = replace(both, relayed=replace(both.relayed, prefix=address + both.relayed.prefix))
    in_full.same(Call(target))


@pytest.mark.parametrize("how", ["basic", "password", "bearer", "ws_key"])
def test_however_the_caller_shows_its_credential(road: RelayRoad, both: Played, how: str) -> None:
    """The store gets its own key in the same way, whatever the caller's credential was and wherever it stood."""
    key = both.relayed.key
    lines = {
        "basic": b"authorization:  basic " + base64.b64encode(key + b":"),
        "password": b"Authorization: Basic " + base64.b64encode(key + b":secret:x"),
        "bearer": b"Authorization: Bearer " + road.new_token("forward")[1].encode(),
        "ws_key": b"X-Nothing: 1",
    }
    query = b"&ws_key=" + key if how == "ws_key" else b""
    target = both.relayed.prefix + b"/api/orders?a" + query
    both.store.script = OK
    both.store.clear()
    with Caller(both.relayed) as caller:
        caller.send([b"GET %s HTTP/1.1\r\nX-First: 1\r\n%s\r\nHost: r\r\nX-Last: 2\r\n\r\n" % (target, lines[how])])
        assert caller.reader.answer().body == b"ok"
    (seen,) = both.store.seen()
    own = (b"Host: " + PLAYED.encode(), b"Authorization: Basic " + base64.b64encode(KEY.encode() + b":"))
    kept = (b"X-First: 1", b"X-Nothing: 1", b"X-Last: 2") if how == "ws_key" else (b"X-First: 1", b"X-Last: 2")
    assert (seen.target, seen.fields) == (b"/api/orders?a", own + kept)


@pytest.mark.parametrize(
    "call",
    [
        Call(b"/api/../admin"),
        Call(b"/api/x/%2e%2E/y"),
        Call(b"/api/x/%252e./y"),
        Call(b"/api/x\\y"),
        Call(b"/api/x%0ay"),
        Call(b"/api/x%5C..%5Cy"),
        Call(b"/apix"),
        Call(b"/API/x"),
        Call(b"/"),
        Call(b"/api", b"TRACE"),
        Call(b"/api", b"CONNECT"),
        Call(b"/api", fields=[b"Connection: Upgrade", b"Upgrade: websocket"]),
        Call(b"/api", fields=[b"Content_Length: 3"]),
        Call(b"/api", fields=[b"Transfer.Encoding: chunked"]),
        Call(b"/api", fields=[b"Content-Length: 3", b"content-length: 3"]),
        Call(b"/api", fields=[b"X: \x00"]),
        Call(b"/api", fields=[b"X : 1"]),
    ],
    ids=lambda call: f"{call.method} {call.target} {call.fields}",
)
def test_what_is_not_plain_is_refused_not_repaired(both: Played, call: Call) -> None:
    """Dot segments, backslashes and control bytes in paths, disguised and doubled framing: the store hears nothing."""
    assert both.refused(call).status == 400
