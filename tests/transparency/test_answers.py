"""A caller sees the answer that the store gave, and through the relay the same, to the byte."""

from __future__ import annotations

import gzip
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transparency.asking import Body, Call, Played, check, chunk, odd_chunks, random_bytes
from tests.transparency.conftest import KEY
from tests.transparency.decided import ANSWER, decided, key_taken_out
from tests.transparency.making import answers
from tests.transparency.playing import Do, Pause, Script

EXAMPLES = 300
BIG = 3 << 20  # bytes: more than all buffers and windows on the road
SLOW_SECONDS = 3.0


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[Call, Script]:
    """A request and an answer to it."""
    method = draw(st.sampled_from([b"GET", b"GET", b"HEAD", b"POST", b"DELETE"]))
    body = Body.counted(b"<x/>") if method == b"POST" else Body()
    return Call(method=method, body=body), draw(answers(to_head=method == b"HEAD"))


@given(exchanges())
@settings(max_examples=EXAMPLES, deadline=None)
def test_whatever_is_answered(both: Played, exchange: tuple[Call, Script]) -> None:
    """Any status, reason, header, framing and body comes back as it does directly, in whatever pieces it was sent."""
    both.same(*exchange)


NOTHING, OK = b"Content-Length: 0\r\n\r\n", b"Content-Length: 2\r\n\r\nok"
ANSWERS: dict[str, tuple[bytes, bytes]] = {
    "an empty 404 without a type": (b"GET", b"404 Not Found\r\nPSWS-Version: 9.1.4\r\n" + NOTHING),
    "a DELETE that is done": (b"DELETE", b"200 OK\r\nX-Powered-By: PrestaShop Webservice\r\n" + NOTHING),
    "304": (b"GET", b'304 Not Modified\r\nETag: "x"\r\nContent-Length: 1234\r\n\r\n'),
    "304 without anything": (b"GET", b"304 Not Modified\r\n\r\n"),
    "HEAD with a length": (b"HEAD", b"200 OK\r\nContent-Length: 98765\r\n\r\n"),
    "HEAD in chunks": (b"HEAD", b"200 OK\r\nA: 1\r\nTransfer-Encoding: chunked\r\nB: 2\r\n\r\n"),
    "HEAD without either": (b"HEAD", b"404 Not Found\r\n\r\n"),
    "204": (b"OPTIONS", b"204 No Content\r\nAllow: GET,\tHEAD \r\n\r\n"),
    "a redirect": (b"GET", b"302 Found\r\nLocation: http://elsewhere.test/?url=products&limit=1\r\n" + NOTHING),
    "401": (b"GET", b'401 No\r\nWWW-Authenticate: Basic realm="a"\r\nWWW-Authenticate: Digest x\r\n' + OK),
    "no reason": (b"GET", b"200 \r\n" + OK),
    "no reason and no blank": (b"GET", b"200\r\n" + OK),
    "an odd reason": (b"GET", b"299  C'est \xe9trange,\tnon? \r\n" + OK),
    "an unknown status": (b"GET", b"599 Network Connect Timeout\r\n" + OK),
    "Latin-1": (b"GET", b'200 OK\r\nContent-Disposition: attachment; filename="\xe9\xe8\xff.jpg"\r\n' + OK),
    "one name often": (b"GET", b"200 OK\r\nX-A: 1\r\nx-a:2\r\nB:\r\nX-a:  3\t\r\nLink: a\r\nX-A: 1\r\n" + OK),
    "gzip": (b"GET", b"200 OK\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n"
             + chunk(gzip.compress(b"x" * 5000, mtime=0)) + b"0\r\n\r\n"),
    "policies of its own": (b"GET", b"200 OK\r\nX-Content-Type-Options: sniff\r\nContent-Security-Policy: x\r\n" + OK),
    "100 lines": (b"GET", b"200 OK\r\n" + b"".join(b"X-%d: %d\r\n" % (n // 2, n) for n in range(99)) + OK),
    "a line of 60 KB": (b"GET", b"200 OK\r\nX-Long:" + b" \xe9" * 30_000 + b"\r\n" + OK),
    "a blank before the colon": (b"GET", b"200 OK\r\nX-A : 1\r\nContent-Length\t: 2\r\n\r\nok"),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_known_answers(both: Played, name: str) -> None:
    """What PrestaShop and its web servers are known to answer, and what is at the edge of the grammar."""
    method, rest = ANSWERS[name]
    both.same(Call(method=method), [Do.READ, b"HTTP/1.1 " + rest])


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
@pytest.mark.parametrize(
    "connection", [b"", b"Connection: close\r\n", b"Connection: keep-alive, X-B\r\nKeep-Alive: timeout=5\r\n"]
)
@pytest.mark.parametrize("counted", [True, False], ids=["counted", "until close"])
def test_the_stores_connection_is_its_own(both: Played, version: bytes, connection: bytes, counted: bool) -> None:
    """HTTP/1.0 or 1.1, kept or closed by the store: the answer is the same but for the fields of the hop."""
    length = b"Content-Length: 2\r\n" if counted else b""
    closes = not counted or connection.startswith(b"Connection: close") or (version == b"HTTP/1.0" and not connection)
    head = version + b" 200 OK\r\nX-A: 1\r\n" + connection + length + b"X-B: 2\r\n\r\n"
    both.same(Call(), [Do.READ, head, b"ok", *([Do.CLOSE] if closes else [])])


TAKEN_OUT = [
    b"Set-Cookie: a=b",
    b"set-cookie2:a=b",
    b"Alt-Svc: clear",
    b"strict-transport-security : max-age=1",
    b"Clear-Site-Data: *",
    b"NEL: {}",
    b"Report-To: {}",
    b"Reporting-Endpoints: x",
    b"Service-Worker-Allowed: /",
    b"Postern-Error: x",
    b"postern-anything: x",
    b"Keep-Alive: timeout=5",
    b"Connection: X-Named",
    b"Upgrade: h2c",
    b"Trailer: X",
]


@pytest.mark.parametrize("line", TAKEN_OUT, ids=lambda line: line.decode())
def test_what_is_taken_out_takes_nothing_with_it(both: Played, line: bytes) -> None:
    """The fields that the table names, of final and interim answers, and those alone: their neighbours come back."""
    lines = [b"X-Named: 1", line, b"Set-Cookies: 2", b"NELL: 3", b"a_b:\t4 "]
    interim = b"\r\n".join([b"HTTP/1.1 103 Early Hints", *lines, b"", b""])
    final = b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"Content-Length: 0", b"", b""])
    answer = both.same(Call(), [Do.READ, interim, final])
    assert line.partition(b":")[0].strip().lower() not in {each.partition(b":")[0].lower() for each in answer.fields}


@pytest.mark.parametrize("target", [b"/api/x?a=1", b"/api/x?a=1&ws_key=%s"])
def test_a_redirect_that_repeats_the_stores_key(both: Played, target: bytes) -> None:
    """PrestaShop repeats `ws_key` in Location: what the caller sent for it stands there, and the rest as it was."""
    shown = both.relayed.key if b"%s" in target else b""
    location = b"Location: http://shop.test/?url=x&a=1&ws_key=" + KEY.encode() + b"&b=2"
    script: Script = [Do.READ, b"HTTP/1.1 302 Found\r\n" + location + b"\r\nContent-Length: 0\r\n\r\n"]
    directly, through = both.ask(Call(target.replace(b"%s", shown)), script)
    expected = decided(directly.answers[0], (*ANSWER, key_taken_out(KEY.encode(), shown)))
    check([expected], through.answers)
    assert KEY.encode() not in through.answers[0].head


def test_a_slow_first_byte(both: Played) -> None:
    """An answer that begins after a while, and goes on after another, is waited for."""
    began = time.monotonic()
    script: Script = [
        Do.READ,
        Pause(SLOW_SECONDS),
        b"HTTP/1.1 200 OK\r\n",
        Pause(1),
        b"Content-Length: 2\r\n\r\no",
        Pause(1),
        b"k",
    ]
    both.same(Call(method=b"POST", body=Body.counted(b"<x/>")), script)
    assert time.monotonic() - began >= 2 * (SLOW_SECONDS + 2)


@pytest.mark.parametrize("framing", ["counted", "chunked", "until close"])
def test_answers_larger_than_every_buffer(both: Played, framing: str) -> None:
    """3 MiB of all byte values, chunk sizes odd: the same bytes, the same chunks."""
    data = random_bytes(BIG)
    heads: dict[str, Script] = {
        "counted": [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG, data],
        "chunked": [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            *map(chunk, odd_chunks(data)),
            b"0\r\n\r\n",
        ],
        "until close": [b"HTTP/1.1 200 OK\r\n\r\n", data, Do.CLOSE],
    }
    directly, through = both.ask(Call(), [Do.READ, *heads[framing]])
    (answer,) = through.answers
    assert answer.body == data
    assert answer.framed == directly.answers[0].framed
    assert answer.framing is directly.answers[0].framing


WHOLE_BODY = b"<a>b</a>\n"
CUT = {
    "counted": b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 9\r\n\r\n<a>b</a>\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n<a>\r\n6;x\r\nb</a>\n\r\n0\r\nT: 1\r\n\r\n",
    "until close": b"HTTP/1.1 200 OK\r\nA: 1\r\n\r\n<a>b</a>\n",
}


@pytest.mark.parametrize("framing", CUT)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("how", [Do.CLOSE, Do.RESET])
def test_an_answer_that_breaks_off_never_looks_complete(both: Played, framing: str, version: bytes, how: Do) -> None:
    """Cut anywhere, in order or with a reset: through the relay it is as incomplete as it is directly."""
    data = CUT[framing]
    for size in range(1, len(data)):
        directly, through = both.ask(Call(version=version), [Do.READ, data[:size], how])
        (expected,), (got,) = directly.answers, through.answers
        if expected.whole:
            assert (got.whole, got.body) == (True, expected.body), size
        elif got.whole:
            assert (got.status, got.values(b"postern-origin")) == (502, [b"store"]), (size, got)
            assert not expected.line, f"{size}: the head was whole, its body not"
        else:
            assert WHOLE_BODY.startswith(got.body)
