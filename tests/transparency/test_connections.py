"""How requests and answers follow each other on a connection: what is timed, half-closed, pipelined, or of HTTP/1.0."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transparency.asking import Body, Call, Caller, Played, Story, check, chunk, compare
from tests.transparency.conftest import PLAYED
from tests.transparency.decided import ANSWERED_EARLY, REQUEST, decided
from tests.transparency.making import answers, calls, is_refused
from tests.transparency.playing import OK, Do, Pause, Script
from tests.transparency.wire import Message

EXAMPLES = 80
FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CONTINUE = b"HTTP/1.1 100 Continue\r\nX-Why: go on\r\n\r\n"
BODIES = [Body.counted(b"<prestashop/>"), Body.chunked(b"<presta", b"shop/>")]
both_bodies = pytest.mark.parametrize("body", BODIES, ids=["counted", "chunked"])


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[Call, Script]:
    call = draw(calls().filter(lambda call: not is_refused(call.target)))
    return call, draw(answers(to_head=call.method == b"HEAD", closes=False))


@given(st.lists(exchanges(), min_size=2, max_size=5))
@settings(max_examples=EXAMPLES, deadline=None)
def test_one_after_another(both: Played, exchanges: list[tuple[Call, Script]]) -> None:
    """Exchanges of every kind on one connection: nothing of one is left over for the next."""

    def story(caller: Caller) -> Sequence[Message]:
        found = []
        for call, script in exchanges:
            both.store.script = script
            found.append(caller.ask(call))
        return found

    compare(*both.tell(story, seen=len(exchanges)))


def echo(request: Message) -> bytes:
    """An answer by which requests can be told apart."""
    body = b"" if request.line.startswith(b"HEAD") else request.target
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.target) + body


PIPELINED = [
    Call(b"/api/first"),
    Call(b"/api/second", b"HEAD"),
    Call(b"/api/third", b"PUT", body=Body.counted(b"GET /api/no HTTP/1.1\r\n\r\n")),
    Call(b"/api/fourth", b"PATCH", body=Body.chunked(b"0\r\n\r\n", b"x")),
    Call(b"/api/fifth", b"DELETE"),
]


def pipelined(cuts: Sequence[int] = (), *, half_closed: bool = False) -> Story:
    def story(caller: Caller) -> Sequence[Message]:
        data = b"".join(piece for call in PIPELINED for piece in call.pieces(caller.road))
        places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
        caller.send(data[start:stop] for start, stop in pairwise(places))
        if half_closed:
            caller.half_close()
        return [caller.reader.answer(to_head=call.method == b"HEAD") for call in PIPELINED]

    return story


@given(st.lists(st.integers(1, 1500), max_size=5))
@settings(max_examples=20, deadline=None)
def test_pipelined(both: Played, cuts: list[int]) -> None:
    """Five requests sent without waiting: answered one by one, in their order, each arrived as it was."""
    shown = both.same_story(pipelined(cuts), [Do.READ, echo], seen=len(PIPELINED))
    assert [answer.body for answer in shown.answers][2:] == [b"/api/third", b"/api/fourth", b"/api/fifth"]


@pytest.mark.parametrize("pause", [(), (Pause(0.3),)], ids=["at once", "later"])
def test_half_closed_after_the_requests(both: Played, pause: tuple[Pause, ...]) -> None:
    """A caller that sends no more is answered, late answers and pipelined requests included, and then closed."""
    ends = []

    def story(caller: Caller) -> Sequence[Message]:
        found = pipelined(half_closed=True)(caller)
        ends.append(caller.reader.rest())
        return found

    both.same_story(story, [Do.READ, *pause, echo], seen=len(PIPELINED))
    assert ends == [b"", b""]


def continuing(body: Body) -> Story:
    """The body is sent once the store has asked for it."""

    def story(caller: Caller) -> Sequence[Message]:
        call = Call(method=b"POST", fields=[b"eXpect:  100-Continue", b"X-A: 1"], body=body)
        caller.send([call.head(caller.road)])
        asked = caller.reader.head()
        assert asked
        caller.send([body.framed])
        answer = caller.reader.answer()
        return [replace(answer, interim=(asked, *answer.interim))]

    return story


@both_bodies
def test_a_body_that_waits_for_100(both: Played, body: Body) -> None:
    """`Expect` reaches the store, its 100 the caller, and the body follows then; the 100 is the store's own."""
    shown = both.same_story(continuing(body), [CONTINUE, Do.READ, FINAL])
    assert [one.line for one in shown.answers[0].interim] == [b"HTTP/1.1 100 Continue"]


@both_bodies
@pytest.mark.parametrize("status", [b"417 Expectation Failed", b"401 Unauthorized", b"413 Too Large", b"200 OK"])
@pytest.mark.parametrize("closes", [True, False], ids=["closes", "stays"])
def test_a_body_that_is_not_wanted(both: Played, body: Body, status: bytes, closes: bool) -> None:
    """A final answer instead of 100: it comes back at once, and the body is never sent."""
    call = Call(method=b"PUT", fields=[b"Expect: 100-continue"], body=replace(body, framed=b""))
    answer = b"HTTP/1.1 " + status + b"\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nno"
    both.same(call, [answer, *([Do.CLOSE] if closes else [])])


@both_bodies
def test_a_body_that_does_not_wait_long(both: Played, body: Body) -> None:
    """A store that knows no 100 gets the body after a while all the same (RFC 9110 §10.1.1)."""

    def story(caller: Caller) -> Sequence[Message]:
        call = Call(method=b"POST", fields=[b"Expect: 100-continue"], body=body)
        caller.send([call.head(caller.road)])
        time.sleep(0.3)
        caller.send([body.framed])
        return [caller.reader.answer()]

    both.same_story(story)


def test_interim_answers_come_when_they_are_given(both: Played) -> None:
    """103 is there while the store still works on the rest; several of them keep their order."""
    hints = [b"HTTP/1.1 103 Early Hints\r\nLink: </%d>\r\n\r\n" % n for n in range(3)]
    moments = []

    def story(caller: Caller) -> Sequence[Message]:
        caller.send(Call().pieces(caller.road))
        began = time.monotonic()
        first = caller.reader.head()
        assert first
        moments.append(time.monotonic() - began)
        answer = caller.reader.answer()
        moments.append(time.monotonic() - began)
        return [replace(answer, interim=(first, *answer.interim))]

    shown = both.same_story(story, [Do.READ, *hints, b"HTTP/1.1 102 Processing\r\n\r\n", Pause(0.5), FINAL])
    assert len(shown.answers[0].interim) == 4
    assert moments[2] < 0.4
    assert moments[3] >= 0.5


@both_bodies
def test_request_and_answer_at_the_same_time(both: Played, body: Body) -> None:
    """The answer begins while the request's body is still under way, and ends after it: neither waits for the other."""
    first, rest = body.framed[:9], body.framed[9:]

    def story(caller: Caller) -> Sequence[Message]:
        caller.send([Call(method=b"POST", body=body).head(caller.road), first])
        assert caller.reader.some()
        caller.send([rest])
        return [caller.reader.answer()]

    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"begun")
    both.same_story(story, [Do.HEAR, head, Do.READ, chunk(b"ended") + b"0\r\n\r\n"])


@both_bodies
def test_an_answer_before_the_request_has_ended(both: Played, body: Body) -> None:
    """A final answer that comes too early comes back all the same; the request does not look complete to the store."""
    first, rest = body.framed[:9], body.framed[9:]

    def story(caller: Caller) -> Sequence[Message]:
        caller.send([Call(method=b"POST", body=body).head(caller.road), first])
        answer = caller.reader.answer()
        caller.send([rest])
        return [answer]

    both.store.script = [Do.HEAR, FINAL, Do.READ]
    directly, through = both.tell(story)
    assert directly.seen[0].whole
    early = [decided(decided(one, REQUEST), ANSWERED_EARLY) for one in directly.seen]
    check(early, [replace(one, framed=b"") for one in through.seen])
    compare(replace(directly, seen=[]), replace(through, seen=[]))


ANSWERS_TO_OLD: dict[str, Script] = {
    "counted": OK,
    "chunked": [
        Do.READ,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        chunk(b"o"),
        chunk(b"k"),
        b"0\r\nT: 1\r\n\r\n",
    ],
    "until close": [Do.READ, b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nok", Do.CLOSE],
    "interim": [Do.READ, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", FINAL],
    "304": [Do.READ, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"],
    "empty": [Do.READ, b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"],
}


@pytest.mark.parametrize("kept", [True, False], ids=["keep-alive", "close"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST"])
@pytest.mark.parametrize("name", ANSWERS_TO_OLD)
def test_http_1_0(both: Played, name: str, method: bytes, kept: bool) -> None:
    """An old caller gets the same answer in what HTTP/1.0 knows; its connection is kept if it asked for it."""
    script = ANSWERS_TO_OLD[name]
    if method == b"HEAD":
        script = [step for step in script if not isinstance(step, bytes) or step.startswith(b"HTTP")]
        script = [step.removesuffix(b"ok") if isinstance(step, bytes) else step for step in script]
    call = Call(
        method=method,
        version=b"1.0",
        fields=[b"X-A: 1", *([b"Connection: Keep-Alive"] if kept else [])],
        body=BODIES[0] if method == b"POST" else Body(),
    )
    both.same(call, script)
    ends_by_itself = name != "chunked" and (name != "until close" or method == b"HEAD")
    assert stays_open(both, call) == (kept and ends_by_itself)


def stays_open(both: Played, call: Call) -> bool:
    """Whether the relay answers a second request on the connection."""
    with Caller(both.relayed) as caller:
        assert caller.ask(call).whole
        second = caller.ask(call)
        assert second.whole or not (second.line or second.framed)
        return second.whole


def test_http_1_0_without_a_host(both: Played) -> None:
    """HTTP/1.0 needs no Host; the store gets its own."""
    both.store.script = OK
    both.store.clear()
    with Caller(both.relayed) as caller:
        (data,) = Call(version=b"1.0").pieces(both.relayed)
        caller.send([data.replace(b"Host: " + both.relayed.host + b"\r\n", b"")])
        assert caller.reader.answer().body == b"ok"
    assert both.store.seen()[0].values(b"host") == [PLAYED.encode()]


def test_http_1_0_that_expects_100(both: Played) -> None:
    """A caller of HTTP/1.0 is sent no 100 (RFC 9110 §10.1.1), whatever the store says to it."""
    call = Call(method=b"POST", version=b"1.0", fields=[b"Expect: 100-continue"], body=BODIES[0])
    assert both.same(call, [CONTINUE, Do.READ, FINAL]).interim == ()
