"""Answers that break the rules: 502, or broken off where bytes were passed on; they never reach another caller."""

from __future__ import annotations

import asyncio

import pytest

from tests.relay.gateway.message import CutError
from tests.relay.gateway.scene import API, STORE_KEY, Scene, request
from tests.relay.gateway.store import OK, Visit, answering, once

STRAY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"


def answer(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK", body: bytes = b"ok") -> bytes:
    return b"\r\n".join([line, *fields, b"", b""]) + body


BAD_HEADS = {
    "CL and TE": answer(b"Content-Length: 2", b"Transfer-Encoding: chunked"),
    "TE and CL": answer(b"Transfer-Encoding: chunked", b"Content-Length: 2"),
    "two different CL": answer(b"Content-Length: 2", b"Content-Length: 3"),
    "two equal CL": answer(b"Content-Length: 2", b"Content-Length: 2"),
    "CL as a list": answer(b"Content-Length: 2, 2"),
    **{f"CL {value!r}": answer(b"Content-Length: " + value) for value in (b"+2", b"-2", b"0x2", b"02", b"2_0", b"",
    b"two", b"9" * 20)},
    **{
        f"TE {value!r}": answer(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n")
        for value in (b"xchunked", b"gzip", b"gzip, chunked", b"chunked, chunked", b"identity", b"", b"chunked\x0b")
    },
    "TE twice": answer(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "TE in HTTP/1.0": answer(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK"),
    "CR in a field": answer(b"X-Note: one\rX-Other: two", b"Content-Length: 2"),
    "CR that hides a field": answer(b"X-Note: one\rTransfer-Encoding: chunked", b"Content-Length: 2"),
    "NUL in a field": answer(b"X-Note: o\x00ne", b"Content-Length: 2"),
    "LF alone in a field": answer(b"X-Note: one\nX-Other: two", b"Content-Length: 2"),
    "LF alone everywhere": answer(b"Content-Length: 2").replace(b"\r\n", b"\n"),
    "obs-fold": answer(b"X-Note: one\r\n two", b"Content-Length: 2"),
    "obs-fold first": answer(b" X-Note: one", b"Content-Length: 2"),
    "empty name": answer(b": one", b"Content-Length: 2"),
    "name with a space": answer(b"X Note: one", b"Content-Length: 2"),
    "line without a colon": answer(b"X-Note", b"Content-Length: 2"),
    "101 fields": answer(*[b"X-%d: 1" % n for n in range(101)]),
    "65 KiB of fields": answer(*[b"X-%d: %s" % (n, b"a" * 1000) for n in range(66)]),
    "Connection names Content-Length": answer(b"Connection: Content-Length", b"Content-Length: 2"),
    "Connection names Transfer-Encoding": answer(b"Connection: transfer-encoding", b"Transfer-Encoding: chunked",
    body=b"0\r\n\r\n"),
    "CR in the reason": answer(b"Content-Length: 2", line=b"HTTP/1.1 200 O\rK"),
    **{
        f"{line.decode()}": answer(b"Content-Length: 2", line=line)
        for line in (b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1 600 OK", b"HTTP/2 200 OK",
                     b"HTTP/1.2 200 OK", b"http/1.1 200 OK", b"ICY 200 OK", b" HTTP/1.1 200 OK", b"HTTP/1.1  200 OK",
                     b"HTTP/1.1 +20 OK", b"HTTP/1.1 2x0 OK", b"SSH-2.0-OpenSSH", b"<html>")
    },
    "101 unasked": answer(line=b"HTTP/1.1 101 Switching Protocols", body=OK),
    "17 interim answers": answer(line=b"HTTP/1.1 103 Early Hints", body=b"") * 17 + OK,
    "bad chunk size at once": answer(b"Transfer-Encoding: chunked", body=b"0x2\r\nok\r\n0\r\n\r\n"),
    "bad chunk end at once": answer(b"Transfer-Encoding: chunked", body=b"2\r\nokX\r\n0\r\n\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("data", BAD_HEADS.values(), ids=BAD_HEADS.keys())
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_answers_that_are_not_plain_http_become_502(scene: Scene, data: bytes, method: str) -> None:
    """Not a byte of it is passed on, the store's connection is given up, and the caller's goes on with the next."""
    scene.store.behave = answering(data)
    client = await scene.client()
    failed = await client.ask(method=method)
    while failed.status < 200:
        failed = await client.answer()
    assert failed.status == 502
    assert failed.value("Postern-Error") == b"store_bad_answer"
    assert failed.value("Postern-Origin") == b"store"
    assert failed.value("Postern-Outcome") == b"answered"
    assert STORE_KEY.encode() not in failed.head + failed.body
    assert len(scene.store.requests) == 1
    scene.store.behave = answering(OK)
    assert (await client.ask()).body == b"ok"
    assert len(scene.store.visits) == 2


BAD_CHUNKS = {
    "bad size": b"0x2\r\nok\r\n0\r\n\r\n",
    "bad end of data": b"2\r\nokXX0\r\n\r\n",
    "LF alone": b"2\nok\n0\n\n",
    "size of 17 digits": b"00000000000000002\r\nok\r\n0\r\n\r\n",
    "endless extension": b"2;" + b"a" * 1000 + b"\r\nok\r\n0\r\n\r\n",
    "bad trailer": b"2\r\nok\r\n0\r\nX-Note\r\n\r\n",
    "cut before the last chunk": b"2\r\nok\r\n",
    "cut in a chunk": b"9\r\nok",
    "cut in the last chunk": b"2\r\nok\r\n0\r\n",
}


@pytest.mark.parametrize("chunks", BAD_CHUNKS.values(), ids=BAD_CHUNKS.keys())
async def test_chunks_that_break_the_rules_break_the_answer_off(scene: Scene, chunks: bytes) -> None:
    """Bytes have been passed on already, so the caller's connection is broken: the answer never looks complete."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.send(answer(b"Transfer-Encoding: chunked", body=b"5\r\nfirst\r\n"))
        await go_on.wait()
        visit.send(chunks)
        visit.end()

    go_on = asyncio.Event()
    scene.store.behave = behave
    client = await scene.client()
    client.send(request())
    beginning = await client.reader.readuntil(b"first\r\n")
    go_on.set()
    rest = await client.rest()
    assert beginning.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not rest.endswith(b"0\r\n\r\n")
    assert b"HTTP/1.1" not in rest


@pytest.mark.parametrize("how", ["end", "abort"])
async def test_a_body_shorter_than_its_length_breaks_the_answer_off(scene: Scene, how: str) -> None:
    """The caller sees a cut answer and the end of its connection, never padding, never another answer."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.send(answer(b"Content-Length: 10", body=b"half "))
        await visit.writer.drain()
        await go_on.wait()
        getattr(visit, how)()

    go_on = asyncio.Event()
    scene.store.behave = behave
    client = await scene.client()
    client.send(request() + request())
    await client.reader.readuntil(b"half ")
    go_on.set()
    assert await client.rest() == b""
    assert len(scene.store.requests) == 1


async def test_a_reset_inside_a_body_that_lasts_until_close_breaks_the_answer_off(scene: Scene) -> None:
    """Only an orderly end completes a body without a length: after a reset the caller's connection is reset too."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.send(answer(body=b"half "))
        await visit.writer.drain()
        await go_on.wait()
        visit.abort()

    go_on = asyncio.Event()
    scene.store.behave = behave
    client = await scene.client()
    client.send(request())
    await client.reader.readuntil(b"half ")
    go_on.set()
    with pytest.raises(ConnectionResetError):
        await client.reader.read()


WITHOUT_BODY = {
    "HEAD": ("HEAD", b"HTTP/1.1 200 OK"),
    "204": ("GET", b"HTTP/1.1 204 No Content"),
    "304": ("GET", b"HTTP/1.1 304 Not Modified"),
}


@pytest.mark.parametrize(("method", "line"), WITHOUT_BODY.values(), ids=WITHOUT_BODY.keys())
async def test_a_body_that_may_not_be_there_is_thrown_away(scene: Scene, method: str, line: bytes) -> None:
    """HEAD, 204 and 304: what follows the head reaches nobody, and the store's connection is not used again."""
    scene.store.behave = answering(answer(b"Content-Length: %d" % len(STRAY), line=line, body=STRAY))
    client = await scene.client()
    first = await client.ask(method=method)
    assert first.line == line
    scene.store.behave = answering(OK)
    assert (await client.ask()).body == b"ok"
    assert (await scene.ask()).body == b"ok"
    assert len(scene.store.visits) == 2


async def test_a_second_answer_is_thrown_away(scene: Scene) -> None:
    """Two answers to one request: the second reaches nobody, and the store's connection is closed."""
    scene.store.behave = answering(OK + STRAY)
    client = await scene.client()
    assert (await client.ask()).body == b"ok"
    await scene.until((await scene.store.visit()).ended.is_set)
    scene.store.behave = answering(OK)
    assert (await client.ask()).body == b"ok"
    assert (await scene.ask()).body == b"ok"


async def test_bytes_on_an_idle_line_are_no_answer_to_the_next_request(scene: Scene) -> None:
    """What a store sends unasked ends that connection; the next request goes on another."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.send(OK)
        await visit.writer.drain()
        await stray.wait()
        visit.send(STRAY)
        await visit.drained()

    stray = asyncio.Event()
    scene.store.behave = behave
    client = await scene.client()
    assert (await client.ask()).body == b"ok"
    stray.set()
    await scene.until((await scene.store.visit()).ended.is_set)
    scene.store.behave = answering(OK)
    assert (await client.ask()).body == b"ok"


async def test_a_store_that_speaks_before_it_is_asked_answers_nobody(scene: Scene) -> None:
    """Bytes before the request are not taken for its answer."""

    async def behave(visit: Visit) -> None:
        visit.send(STRAY)
        await visit.drained()

    scene.store.behave = behave
    held = scene.route.open_gate
    held.clear()
    client = await scene.client()
    client.send(request(method="POST"))
    await scene.until(lambda: scene.route.waiting)
    held.set()
    failed = await client.answer()
    assert failed.status == 502 or failed.body == b"stray"  # a race that HTTP/1.1 itself leaves open
    assert len(scene.store.visits) == 1


async def test_an_answer_before_the_body_has_ended_is_passed_on_and_both_connections_close(scene: Scene) -> None:
    """A store that refuses an upload half-way is heard; neither connection is used for anything else."""

    async def behave(visit: Visit) -> None:
        while b"\r\n\r\n" not in visit.received:
            await visit.some()
        visit.send(answer(b"Content-Length: 3", line=b"HTTP/1.1 413 Too Large", body=b"big"))
        await visit.drained()

    scene.store.behave = behave
    client = await scene.client()
    client.send(request("Content-Length: 1000000", method="POST", body=b"x" * 1000))
    early = await client.answer()
    assert (early.status, early.body) == (413, b"big")
    client.send(b"x" * 999000 + request())
    assert await client.rest() == b""
    visit = await scene.store.visit()
    await scene.until(visit.ended.is_set)
    assert len(visit.received) < 1000000
    assert len(scene.store.visits) == 1


async def test_an_early_answer_may_last_longer_than_the_request(scene: Scene) -> None:
    """Where the request's body ends before the early answer does, the caller's connection stays in use."""

    async def behave(visit: Visit) -> None:
        while b"\r\n\r\n" not in visit.received:
            await visit.some()
        visit.send(answer(b"Content-Length: 10", body=b"early"))
        while not visit.received.endswith(b"the end"):
            await visit.some()
        visit.send(b" bird")
        await answering(OK)(visit)

    scene.store.behave = behave
    client = await scene.client()
    client.send(request("Content-Length: 7", method="POST"))
    await client.reader.readuntil(b"early")
    client.send(b"the end")
    assert await client.reader.readexactly(5) == b" bird"
    assert (await client.ask()).body == b"ok"
    assert len(scene.store.visits) == 1


async def test_sixteen_interim_answers_are_not_yet_a_flood(scene: Scene) -> None:
    """Sixteen 1xx pass, in their order, before the final answer."""
    hints = b"".join(answer(b"X-N: %d" % n, line=b"HTTP/1.1 103 Early Hints", body=b"") for n in range(16))
    scene.store.behave = answering(hints + OK)
    client = await scene.client()
    client.send(request())
    for n in range(16):
        hint = await client.answer()
        assert (hint.status, hint.value("X-N")) == (103, b"%d" % n)
    assert (await client.answer()).body == b"ok"


async def test_one_callers_bad_answer_never_reaches_another(scene: Scene) -> None:
    """Callers side by side, every second answer bad: each gets its own answer or a 502, nobody another's."""

    async def behave(visit: Visit) -> None:
        while message := await visit.request():
            name = message.target.rpartition(b"/")[2]
            good = answer(b"Content-Length: %d" % len(name), body=name)
            visit.send(good if int(name) % 2 else answer(b"Content-Length: 0", b"Transfer-Encoding: chunked") + good)

    async def caller(number: int) -> None:
        client = await scene.client()
        for n in range(number, number + 100, 10):
            got = await client.ask(target=f"{API}/orders/{n}")
            assert got.status == (200 if n % 2 else 502)
            assert not n % 2 or got.body == b"%d" % n

    scene.store.behave = behave
    await asyncio.gather(*[caller(number) for number in range(10)])


async def test_a_head_cut_in_the_middle_is_not_taken_for_an_answer(scene: Scene) -> None:
    """The store closes inside its head: 502, and what may have happened is said to be unknown."""
    scene.store.behave = once(b"HTTP/1.1 200 OK\r\nContent-Le")
    failed = await scene.ask()
    assert failed.status == 502
    assert failed.value("Postern-Error") == b"store_closed_early"
    assert failed.value("Postern-Outcome") == b"sent_unknown"
    assert len(scene.store.requests) == 1


async def test_the_reader_of_the_tests_would_see_a_cut_answer(scene: Scene) -> None:
    """A cut body raises in the tests' own client, so that the tests above could have failed."""
    scene.store.behave = once(answer(b"Content-Length: 10", body=b"half"))
    with pytest.raises(CutError):
        await scene.ask()
