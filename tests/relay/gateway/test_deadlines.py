"""Every wait has an end, on a clock that the tests turn: slow heads, slow bodies, slow readers, silent stores."""

from __future__ import annotations

import asyncio

import pytest

from relay.gateway import front, gateway
from relay.records import Scope
from tests.relay.gateway.message import CutError
from tests.relay.gateway.scene import API, Client, Scene, request
from tests.relay.gateway.store import OK, Visit, answering, silent

HUGE = 64 * 2**20


async def endless(visit: Visit) -> None:
    """Answers with more than any buffer holds."""
    await visit.request()
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % HUGE)
    for _ in range(HUGE // 65536):
        visit.send(b"x" * 65536)
        await visit.writer.drain()


async def test_a_head_must_be_whole_within_ten_seconds(scene: Scene) -> None:
    """From its first byte on, however it drips: 408, close; nothing was sent."""
    client = await scene.client()
    assert (await client.ask()).status == 200
    head = request()
    client.send(head[:1])
    [connection] = scene.hall.fronts
    await scene.until(lambda: connection._unread)
    for n in range(1, 11):
        client.send(head[n : n + 1])
        await scene.until(lambda n=n: len(connection._unread) == n + 1)  # type: ignore[misc]  # bound now
        await scene.pass_time(1)
    assert not client.reader.at_eof()
    await scene.pass_time(1)
    late = await client.answer()
    assert (late.status, late.value("Postern-Error")) == (408, b"request_timeout")
    assert late.value("Connection") == b"close"
    assert await client.rest() == b""
    assert len(scene.store.requests) == 1


async def test_a_late_head_is_answered_for_itself(scene: Scene) -> None:
    """The 408 has a body and the default shape, whatever the request before it was (HEAD, JSON)."""
    client = await scene.client()
    await client.ask("Output-Format: JSON", method="HEAD")
    client.send(b"GET /")
    await scene.until(lambda: next(iter(scene.hall.fronts))._unread)
    await scene.pass_time(12)
    late = await client.answer()
    assert late.status == 408
    assert late.body.startswith(b"<?xml")


async def test_a_silent_new_connection_is_closed(scene: Scene) -> None:
    """Who connects and says nothing for ten seconds is let go without a word."""
    client = await scene.client()
    await scene.until(lambda: scene.hall.fronts)
    await scene.pass_time(10)
    assert scene.hall.fronts
    await scene.pass_time(1)
    assert await client.rest() == b""


async def test_blank_lines_keep_nothing_open(scene: Scene) -> None:
    """CRLF after CRLF is no request: the head's deadline runs all the same."""
    client = await scene.client()
    for _ in range(11):
        client.send(b"\r\n")
        await asyncio.sleep(0.002)
        await scene.pass_time(1)
    assert await client.rest() == b""


async def test_idle_connections_are_kept_longer_than_clients_keep_them_and_then_closed(scene: Scene) -> None:
    """75 s between two requests; one more second, and the connection ends."""
    client = await scene.client()
    assert (await client.ask()).status == 200
    await scene.pass_time(75)
    assert (await client.ask()).status == 200
    await scene.pass_time(76)
    assert await client.rest() == b""


async def test_a_body_that_stalls_is_given_up(scene: Scene) -> None:
    """A minute without a byte of the request's body: 408, and what the store has is broken off."""
    client = await scene.client()
    client.send(request("Content-Length: 100", method="POST", body=b"x" * 50))
    visit = await scene.store.visit()
    await scene.until(lambda: visit.received.endswith(b"x" * 50))
    await scene.pass_time(60)
    assert not visit.ended.is_set()
    await scene.pass_time(1)
    late = await client.answer()
    assert (late.status, late.value("Postern-Error")) == (408, b"request_timeout")
    assert late.value("Postern-Outcome") == b"sent_unknown"
    await scene.until(visit.ended.is_set)
    assert scene.store.requests == []


async def test_a_body_that_moves_is_waited_for(scene: Scene) -> None:
    """Ten minutes of upload, a kilobyte a minute, and the store's time begins when it has all of it."""
    go_on = asyncio.Event()

    async def behave(visit: Visit) -> None:
        await visit.request()
        await go_on.wait()
        visit.send(OK)

    scene.store.behave = behave
    client = await scene.client()
    client.send(request(f"Content-Length: {10 * front.LEAST_BYTES}", method="POST"))
    visit = await scene.store.visit()
    for n in range(1, 11):
        client.send(b"#" * front.LEAST_BYTES)
        came = n * front.LEAST_BYTES
        await scene.until(lambda came=came: visit.received.count(b"#") == came)  # type: ignore[misc]  # bound now
        await scene.pass_time(59)
    await scene.until(lambda: scene.store.requests)
    await scene.pass_time(200)
    go_on.set()
    assert (await client.answer()).status == 200


async def test_a_body_that_drips_is_cut(scene: Scene) -> None:
    """A byte now and then is no movement: it would hold a connection and a turn at the store for ever."""
    client = await scene.client()
    client.send(request("Content-Length: 100", method="POST"))
    visit = await scene.store.visit()
    for n in range(1, 4):
        client.send(b"#")
        await scene.until(lambda n=n: visit.received.count(b"#") == n)  # type: ignore[misc]  # bound now
        await scene.pass_time(front.STALL_SECONDS / 3)
    await scene.pass_time(1)
    cut = await client.answer()
    assert (cut.status, cut.value("Postern-Error")) == (408, b"request_timeout")
    await scene.until(visit.ended.is_set)


async def test_an_upload_that_the_store_does_not_take_is_the_stores_fault(scene: Scene) -> None:
    """While the relay itself holds the caller back, no minute runs against the caller: 504, not 408."""

    async def deaf(visit: Visit) -> None:
        await never.wait()

    never = asyncio.Event()
    scene.store.behave = deaf
    client = await scene.client()
    client.send(request(f"Content-Length: {HUGE}", method="POST"))
    sending = asyncio.create_task(send_until_lost(client, b"x" * HUGE))
    [connection] = await fronts(scene)
    await scene.until(lambda: connection._reading_paused)
    assert await scene.seconds_until(lambda: not connection._exchange) > gateway.PROGRESS_SECONDS
    late = await client.answer()
    assert (late.status, late.value("Postern-Error")) == (504, b"store_timeout")
    assert late.value("Postern-Outcome") == b"sent_unknown"
    client.leave()
    await sending


async def fronts(scene: Scene) -> list[front.Front]:
    await scene.until(lambda: scene.hall.fronts)
    return list(scene.hall.fronts)


async def send_until_lost(client: Client, data: bytes) -> None:
    try:
        for start in range(0, len(data), 65536):
            client.writer.write(data[start : start + 65536])
            await client.writer.drain()
    except (ConnectionError, RuntimeError):  # uvloop: the handler is closed
        pass


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_silent_store_is_given_up_after_five_minutes(scene: Scene, method: str) -> None:
    """504 `store_timeout`, once: not retried, and never said not to have been sent."""
    scene.store.behave = silent
    client = await scene.client()
    client.send(request(method=method))
    visit = await scene.store.visit()
    await scene.until(lambda: visit.received)
    await scene.pass_time(gateway.PROGRESS_SECONDS)
    assert not visit.ended.is_set()
    await scene.pass_time(1)
    late = await client.answer()
    assert (late.status, late.value("Postern-Error"), late.value("Postern-Origin")) == (504, b"store_timeout", b"store")
    assert late.value("Postern-Outcome") == b"sent_unknown"
    assert late.value("Retry-After") is None
    await scene.until(visit.ended.is_set)
    assert len(scene.store.visits) == 1


async def test_an_answer_that_stops_in_the_middle_is_broken_off(scene: Scene) -> None:
    """Five minutes without a byte inside an answer: the caller's connection breaks, the store's too."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await visit.drained()

    scene.store.behave = behave
    client = await scene.client()
    client.send(request())
    await client.reader.readuntil(b"half")
    await scene.pass_time(gateway.PROGRESS_SECONDS + 1)
    assert await client.rest() == b""
    await scene.until((await scene.store.visit()).ended.is_set)


async def test_a_reader_that_stands_still_is_cut(scene: Scene) -> None:
    """A minute in which the caller takes nothing, while there is something to take: reset, the store's line freed."""
    scene.store.behave = endless
    client = await scene.client(limit=1024)
    client.send(request())
    [connection] = await fronts(scene)
    await scene.until(lambda: connection._writing_paused)
    assert await scene.seconds_until(lambda: not scene.hall.fronts) > front.STALL_SECONDS
    with pytest.raises(CutError):
        await client.answer()


async def test_a_reader_that_takes_a_little_now_and_then_is_kept(scene: Scene) -> None:
    """Ten minutes for a part of an answer, some of it every fifty seconds: slow is no fault, nor is it the store's."""
    scene.store.behave = endless
    client = await scene.client(limit=1024)
    client.send(request())
    [connection] = await fronts(scene)
    for _ in range(12):
        await scene.until(lambda: connection._writing_paused)
        await scene.pass_time(50)
        while connection._moved < scene.clock():
            assert await client.reader.read(65536)
            scene.hall.sweep()
    await scene.pass_time(1)
    assert scene.hall.fronts
    client.leave()


async def test_a_reader_that_stands_still_behind_its_last_answer_is_cut(scene: Scene) -> None:
    """So is one that left the end of a whole answer unread, with requests waiting behind it or not."""
    scene.store.behave = answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % HUGE + b"x" * HUGE)
    client = await scene.client(limit=1024)
    client.send(request("Connection: close"))
    await scene.until(lambda: scene.store.requests)
    assert await scene.seconds_until(lambda: not scene.hall.fronts) > front.STALL_SECONDS


async def test_too_many_connections_are_turned_away(scene: Scene) -> None:
    """Above the limit a connection ends at once; a place that is given back is taken again."""
    scene.hall.limit = 3
    clients = [await scene.client() for _ in range(3)]
    for client in clients:
        assert (await client.ask()).status == 200
    extra = await scene.client()
    assert await extra.rest() == b""
    clients[0].leave()
    await scene.until(lambda: len(scene.hall.fronts) == 2)
    assert (await scene.ask()).status == 200


async def test_a_client_that_leaves_in_the_middle_of_an_answer_frees_the_stores_connection(scene: Scene) -> None:
    """Its line to the store is broken, its turn given back, and the next caller served on another line."""
    scene.change(concurrency=1)
    scene.store.behave = endless
    client = await scene.client(limit=1024)
    client.send(request())
    await client.reader.readexactly(5000)
    scene.store.behave = answering(OK)
    client.leave()
    visit = await scene.store.visit()
    await scene.until(lambda: not scene.held())
    assert (await scene.ask()).body == b"ok"
    assert len(scene.store.visits) == 2
    visit.abort()


async def test_a_client_that_leaves_in_the_middle_of_its_upload_breaks_the_stores_connection(scene: Scene) -> None:
    """The store never takes what it has for the whole."""
    client = await scene.client()
    client.send(request("Content-Length: 100", method="POST", body=b"x" * 50))
    visit = await scene.store.visit()
    await scene.until(lambda: visit.received.endswith(b"x" * 50))
    client.leave()
    await scene.until(visit.ended.is_set)
    await scene.until(lambda: not scene.held())
    assert scene.store.requests == []


@pytest.mark.parametrize("size", [b"zz\r\n", b"5\r\nhelloXX"])
async def test_a_bad_body_behind_an_early_answer_gives_everything_back(scene: Scene, size: bytes) -> None:
    """The answer had begun, so it breaks; turn, share and line are free all the same."""

    async def behave(visit: Visit) -> None:
        await visit.some()
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nearly")
        await visit.drained()

    scene.store.behave = behave
    client = await scene.client()
    client.send(request("Transfer-Encoding: chunked", method="POST"))
    await client.reader.readuntil(b"early")
    client.send(size)
    assert await client.rest() == b""
    await scene.until((await scene.store.visit()).ended.is_set)
    await scene.until(lambda: not scene.held())


async def test_a_stalled_body_behind_an_early_answer_gives_everything_back(scene: Scene) -> None:
    """The same where the body stops coming."""

    async def behave(visit: Visit) -> None:
        await visit.some()
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nearly")
        await visit.drained()

    scene.store.behave = behave
    client = await scene.client()
    client.send(request("Content-Length: 10", method="POST"))
    await client.reader.readuntil(b"early")
    await scene.pass_time(62)
    assert await client.rest() == b""
    await scene.until(lambda: not scene.held())


async def test_many_slow_heads_hinder_nobody(scene: Scene) -> None:
    """Sixty connections that drip: all gone within the limit, and other callers are served throughout."""
    dripping = [await scene.client() for _ in range(60)]
    for client in dripping:
        client.send(b"GET /to/")
    await scene.until(lambda: len(scene.hall.fronts) == 60)
    for _ in range(12):
        await scene.pass_time(1)
        assert (await scene.ask()).status == 200
    for client in dripping:
        assert (await client.answer()).status == 408
        client.leave()
    await scene.until(lambda: len(scene.hall.fronts) <= 1)


async def test_a_slow_body_for_nothing_is_not_waited_for(scene: Scene) -> None:
    """Who is refused is answered at once, and gets two seconds to hear it, not a minute to send."""
    for auth, expected in ((None, 401), (scene.directory.admit("weak", Scope.STATUS), 403)):
        client = await scene.client()
        client.send(request("Content-Length: 1000000", method="POST", auth=auth, target=f"{API}/orders"))
        assert (await client.answer()).status == expected
        await scene.pass_time(4)
        await scene.until(lambda: not scene.hall.fronts)
