"""Every legal form of a message, both ways: lengths, chunks, no body, interim answers, HTTP/1.0, half-close."""

from __future__ import annotations

import asyncio

import pytest

from relay.gateway.front import PARTING_SECONDS
from tests.relay.gateway.message import Message
from tests.relay.gateway.scene import API, Scene, request
from tests.relay.gateway.store import OK, Visit, answering, once

GUARD = b"Content-Security-Policy: sandbox\r\nX-Content-Type-Options: nosniff\r\n"
CHUNKS = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n"
CLEAN_CHUNKS = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"


def answers(scene: Scene, head: bytes, body: bytes = b"") -> None:
    scene.store.behave = answering(head + b"\r\n\r\n" + body)


async def twice(scene: Scene, **how: str) -> Message:
    """The same request twice on one connection, answered alike: so neither answer left a byte behind."""
    client = await scene.client()
    first = await client.ask(**how)
    assert await client.ask(**how) == first
    assert len(scene.store.visits) == 1
    return first


async def test_an_empty_404_stays_empty(scene: Scene) -> None:
    """No Content-Type is invented, no length, no Date: head and body are the store's and the guard."""
    answers(scene, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nAccess-Time: 1")
    got = await twice(scene)
    assert got.head == b"HTTP/1.1 404 Not Found\r\n" + GUARD + b"Content-Length: 0\r\nAccess-Time: 1\r\n\r\n"


@pytest.mark.parametrize("fields", [b"", b"\r\nContent-Length: 1234", b"\r\nTransfer-Encoding: chunked"])
async def test_head_has_no_body_and_keeps_what_a_get_would_say(scene: Scene, fields: bytes) -> None:
    """HEAD: with the length a GET would have, with chunked, or with neither, as PrestaShop answers it."""
    answers(scene, b"HTTP/1.1 200 OK" + fields)
    got = await twice(scene, method="HEAD")
    assert got.head == b"HTTP/1.1 200 OK\r\n" + GUARD + fields[2:] + (b"\r\n" if fields else b"") + b"\r\n"


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99"],
)
async def test_204_and_304_have_no_body(scene: Scene, head: bytes) -> None:
    """Whatever length a 304 tells of, the next answer follows at once."""
    answers(scene, head)
    got = await twice(scene)
    assert got.line == head.split(b"\r\n")[0]
    assert got.value("Content-Type") is None


async def test_chunks_pass_with_their_sizes(scene: Scene) -> None:
    """Chunked answers keep their chunks; extensions and trailers end at the relay."""
    answers(scene, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", CHUNKS)
    got = await twice(scene)
    assert got.framed == CLEAN_CHUNKS
    assert got.values("Transfer-Encoding") == [b"chunked"]


async def test_chunked_uploads_pass_with_their_sizes(scene: Scene) -> None:
    """The same towards the store, and no length is made up."""
    client = await scene.client()
    for _ in range(2):
        client.send(request("Transfer-Encoding: chunked", method="POST", body=CHUNKS))
        assert (await client.answer()).status == 200
    for message in scene.store.requests:
        assert message.framed == CLEAN_CHUNKS
        assert message.values("Transfer-Encoding") == [b"chunked"]
        assert message.values("Content-Length") == []


async def test_answers_byte_by_byte_are_the_same(scene: Scene) -> None:
    """A store that sends single bytes is read like any other."""

    async def behave(visit: Visit) -> None:
        while await visit.request():
            for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS:
                visit.send(bytes([byte]))
                await asyncio.sleep(0)

    scene.store.behave = behave
    assert (await twice(scene)).framed == CLEAN_CHUNKS


async def test_requests_byte_by_byte_are_the_same(scene: Scene) -> None:
    """So is a caller that does."""
    client = await scene.client()
    for byte in request("Transfer-Encoding: chunked", method="POST", body=CHUNKS) + request():
        client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 200
    assert [message.body for message in scene.store.requests] == [b"hello world", b""]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_body_that_lasts_until_close(scene: Scene, version: str) -> None:
    """No length, no chunks: passed on until the store's end, then the caller's connection ends, and says so."""
    scene.store.behave = once(b"HTTP/1.1 200 OK\r\nX-Note: 1\r\n\r\nuntil the end")
    client = await scene.client()
    client.send(request(version=version))
    got = await client.answer()
    assert got.head == b"HTTP/1.1 200 OK\r\n" + GUARD + b"X-Note: 1\r\nConnection: close\r\n\r\n"
    assert got.body == b"until the end"


@pytest.mark.parametrize(
    ("head", "body"),
    [(b"HTTP/1.0 200 OK\r\nContent-Length: 2", b"ok"), (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close",
     b"ok"),
     (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close", b"2\r\nok\r\n0\r\n\r\n")],
)  # fmt: skip
async def test_a_store_that_closes_each_time_closes_nothing_in_front(scene: Scene, head: bytes, body: bytes) -> None:
    """The store's `close` is about its own connection: the caller's stays open, each request goes on a new line."""
    scene.store.behave = once(head + b"\r\n\r\n" + body)
    client = await scene.client()
    for number in (1, 2, 3):
        got = await client.ask()
        assert (got.body, got.value("Connection")) == (b"ok", None)
        assert len(scene.store.visits) == number


async def test_http_1_0_without_keep_alive_is_closed(scene: Scene) -> None:
    """Answered with `Connection: close`, then closed."""
    client = await scene.client()
    got = await client.ask(version="1.0")
    assert (got.line, got.value("Connection")) == (b"HTTP/1.1 200 OK", b"close")
    assert await client.rest() == b""


async def test_http_1_0_with_keep_alive_stays_open(scene: Scene) -> None:
    """Where the length is known, the connection stays, and the answer says so."""
    client = await scene.client()
    for _ in range(2):
        got = await client.ask("Connection: Keep-Alive", version="1.0")
        assert (got.body, got.value("Connection")) == (b"ok", b"keep-alive")


async def test_chunks_are_taken_off_for_http_1_0(scene: Scene) -> None:
    """Who knows no chunks gets the data alone, to the end of the connection, even with keep-alive."""
    answers(scene, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", CHUNKS)
    client = await scene.client()
    got = await client.ask("Connection: Keep-Alive", version="1.0")
    assert got.body == b"hello world"
    assert (got.value("Transfer-Encoding"), got.value("Connection")) == (None, b"close")


async def test_interim_answers_pass_to_http_1_1_alone(scene: Scene) -> None:
    """100 and 103 before the answer, as they came; a caller in HTTP/1.0 would not understand them."""
    scene.store.behave = answering(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n" + OK
    )
    client = await scene.client()
    client.send(request())
    assert (await client.answer()).head == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await client.answer()).head == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n"
    assert (await client.answer()).body == b"ok"
    assert (await scene.ask(version="1.0")).status == 200


async def test_an_expectation_is_forwarded_and_the_stores_100_passed_back(scene: Scene) -> None:
    """The store, not the relay, says whether to go on; only then does the body come."""

    async def behave(visit: Visit) -> None:
        while not visit.received.endswith(b"\r\n\r\n"):
            await visit.some()
        assert b"Expect: 100-continue\r\n" in visit.received
        visit.send(b"HTTP/1.1 100 Go On\r\n\r\n")
        while not visit.received.endswith(b"hello"):
            await visit.some()
        visit.send(OK)
        await visit.drained()

    scene.store.behave = behave
    client = await scene.client()
    client.send(request("Expect: 100-continue", "Content-Length: 5", method="POST"))
    assert (await client.answer()).line == b"HTTP/1.1 100 Go On"
    client.send(b"hello")
    assert (await client.answer()).body == b"ok"


async def test_an_expectation_may_be_finally_answered(scene: Scene) -> None:
    """The store refuses before the body: the caller hears it and need not send."""

    async def behave(visit: Visit) -> None:
        while not visit.received.endswith(b"\r\n\r\n"):
            await visit.some()
        visit.send(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
        await visit.drained()

    scene.store.behave = behave
    client = await scene.client()
    client.send(request("Expect: 100-Continue", "Content-Length: 5", method="POST"))
    assert (await client.answer()).status == 405
    assert await client.rest() == b""


async def test_the_relay_refuses_before_the_body_is_sent(scene: Scene) -> None:
    """A bad credential with an expectation: 401 at once, no 100."""
    client = await scene.client()
    client.send(request("Expect: 100-continue", "Content-Length: 5", method="POST", auth=None))
    assert (await client.answer()).status == 401


@pytest.mark.parametrize("fields", [[], ["Content-Length: 0"]])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_an_empty_upload_says_its_length_if_its_caller_did(scene: Scene, method: str, fields: list[str]) -> None:
    """`Content-Length: 0` passes, and none is made up: a store that wants one says so itself (411)."""
    await scene.ask(*fields, method=method)
    assert scene.store.requests[0].values("Content-Length") == [b"0"] * len(fields)


async def test_a_get_may_have_a_body(scene: Scene) -> None:
    """Odd but legal: it arrives."""
    await scene.ask("Content-Length: 5", body=b"hello")
    assert scene.store.requests[0].body == b"hello"


async def test_delete_with_a_query_has_no_body_and_no_length(scene: Scene) -> None:
    """Nothing is made up where there is nothing."""
    await scene.ask(method="DELETE", target=f"{API}/orders/?id=[1,2]")
    message = scene.store.requests[0]
    assert message.line == b"DELETE /api/orders/?id=[1,2] HTTP/1.1"
    assert message.values("Content-Length") == message.values("Transfer-Encoding") == []


@pytest.mark.parametrize("body", [b"", b"hello"])
async def test_a_client_that_half_closes_is_answered(scene: Scene, body: bytes) -> None:
    """Its end of sending is not its end of reading; the store's connection is not half-closed by it."""
    scene.store.behave = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS)
    client = await scene.client()
    client.send(request(f"Content-Length: {len(body)}", method="POST", body=body))
    client.half_close()
    assert (await client.answer()).body == b"hello world"
    assert await client.rest() == b""
    assert (await scene.ask()).body == b"hello world"
    assert len(scene.store.visits) == 1


async def test_a_client_that_half_closes_after_its_head_is_still_waited_for(scene: Scene) -> None:
    """The answer may come any time after the half-close."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        await go_on.wait()
        visit.send(OK)

    go_on = asyncio.Event()
    scene.store.behave = behave
    client = await scene.client()
    client.send(request())
    await scene.until(lambda: scene.store.requests)
    client.half_close()
    await scene.pass_time(5)
    go_on.set()
    assert (await client.answer()).body == b"ok"


async def test_a_first_byte_after_minutes_is_waited_for(scene: Scene) -> None:
    """PrestaShop sends nothing before its whole answer is made: four minutes of silence are no failure."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        await go_on.wait()
        visit.send(OK)

    go_on = asyncio.Event()
    scene.store.behave = behave
    client = await scene.client()
    client.send(request())
    await scene.until(lambda: scene.store.requests)
    await scene.pass_time(240)
    go_on.set()
    assert (await client.answer()).body == b"ok"


async def test_the_connection_says_close_while_the_relay_drains(scene: Scene) -> None:
    """A request under way when the relay is told to stop is answered, and the answer says that it was the last."""
    go_on = asyncio.Event()

    async def behave(visit: Visit) -> None:
        await visit.request()
        await go_on.wait()
        visit.send(OK)

    scene.store.behave = behave
    client, idle = await scene.client(), await scene.client()
    client.send(request())
    await scene.until(lambda: scene.store.requests and len(scene.hall.fronts) == 2)
    scene.hall.drain()
    await scene.pass_time(PARTING_SECONDS + 1)
    assert await idle.rest() == b""
    go_on.set()
    got = await client.answer()
    assert (got.body, got.value("Connection")) == (b"ok", b"close")
    assert await client.rest() == b""
    async with asyncio.timeout(5):
        await scene.hall.emptied()


async def test_a_request_that_was_on_its_way_is_answered_while_the_relay_drains(scene: Scene) -> None:
    """On a connection accepted last, and on one kept: the answer comes, and says that it was the last."""
    scene.store.behave = answering(OK)
    fresh, kept = await scene.client(), await scene.client()
    assert (await kept.ask()).body == b"ok"
    await scene.until(lambda: len(scene.hall.fronts) == 2)
    scene.hall.drain()
    await scene.pass_time(PARTING_SECONDS)
    for client in (fresh, kept):
        got = await client.ask()
        assert (got.body, got.value("Connection")) == (b"ok", b"close")
        assert await client.rest() == b""
    async with asyncio.timeout(5):
        await scene.hall.emptied()


async def test_a_promise_to_stay_open_is_kept_while_the_relay_drains(scene: Scene) -> None:
    """Told to stop between an answer's head and its end: the next request is answered, and told that it is the last."""
    go_on = asyncio.Event()

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await go_on.wait()
        visit.send(b"ok")
        await visit.request()
        visit.send(OK)

    scene.store.behave = behave
    client = await scene.client()
    client.send(request())
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert b"Connection: close" not in head
    scene.hall.drain()
    go_on.set()
    assert await client.reader.readexactly(2) == b"ok"
    await scene.until(lambda: all(not front._exchange for front in scene.hall.fronts))
    got = await client.ask()
    assert (got.body, got.value("Connection")) == (b"ok", b"close")
    assert await client.rest() == b""
