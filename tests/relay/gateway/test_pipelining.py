"""Requests sent before their answers: in order, one at a time, and no more taken in than a little."""

from __future__ import annotations

import asyncio

from relay.gateway import front
from tests.relay.gateway.scene import API, Recorder, Scene, request
from tests.relay.gateway.store import OK, Visit, answering
from tests.relay.gateway.test_deadlines import fronts, send_until_lost


async def test_pipelined_requests_are_answered_in_order_each_by_its_own_answer(scene: Scene) -> None:
    """Twenty requests at once, bodies among them, come back in their order, and one at a time reaches the store."""

    async def echo(visit: Visit) -> None:
        while message := await visit.request():
            body = message.target + b" " + message.body
            visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    scene.store.behave = echo
    client = await scene.client()
    for n in range(20):
        body = b"body %d" % n if n % 2 else b""
        fields = [f"Content-Length: {len(body)}"] if body else []
        client.send(request(*fields, method="POST" if body else "GET", target=f"{API}/orders/{n}", body=body))
    for n in range(20):
        expected = b"/api/orders/%d body %d" % (n, n) if n % 2 else b"/api/orders/%d " % n
        assert (await client.answer()).body == expected


async def test_pipelined_requests_are_answered_though_the_client_has_half_closed(scene: Scene) -> None:
    """Who sends three requests and ends its side gets three answers, then the end."""
    client = await scene.client()
    client.send(request() * 3)
    client.half_close()
    for _ in range(3):
        assert (await client.answer()).body == b"ok"
    assert await client.rest() == b""


async def test_what_is_pipelined_is_not_read_without_bound(scene: Scene) -> None:
    """Behind a request under way some 64 KiB are taken in, then the caller is held back until its turn comes."""
    go_on = asyncio.Event()

    async def behave(visit: Visit) -> None:
        await visit.request()
        await go_on.wait()
        visit.send(OK)
        await answering(OK)(visit)

    scene.store.behave = behave
    client = await scene.client()
    many = 40_000
    sending = asyncio.create_task(send_until_lost(client, request() * many))
    [connection] = await fronts(scene)
    await scene.until(lambda: len(connection._unread) > front.PIPELINED_BYTES)
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert len(connection._unread) <= front.PIPELINED_BYTES + 256 * 1024
    go_on.set()
    for _ in range(500):
        assert (await client.answer()).body == b"ok"
    client.leave()
    await sending


async def test_requests_wait_while_their_caller_does_not_read(scene: Scene) -> None:
    """A caller that pipelines large downloads and reads none of them has one under way, not all."""
    size = 4 * 2**20
    scene.store.behave = answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    client = await scene.client(limit=1024)
    client.send(request() * 20)
    [connection] = await fronts(scene)
    await scene.until(lambda: connection._writing_paused)
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert connection._transport.get_write_buffer_size() < 2 * size
    assert len(scene.store.requests) < 6
    for _ in range(20):
        assert len((await client.answer()).body) == size


async def test_no_request_begins_while_what_was_written_waits(scene: Scene) -> None:
    """Between two requests too: they wait in some 64 KiB, through a half-close, until the caller reads again."""
    connection, transport = front.Front(scene.hall), Recorder()
    connection.connection_made(transport)
    connection.pause_writing()
    connection.data_received(request() * 2000)
    reading = [transport.reading]
    connection.eof_received()
    await scene.pass_time(30)
    assert scene.held() == {}
    assert transport.sent == b""
    connection.resume_writing()
    assert [*reading, transport.reading] == [False, True]
    await scene.until(lambda: transport.sent.count(b"\r\n\r\nok") > 2)
    connection.connection_lost(None)
