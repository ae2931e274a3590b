"""What is not below /to/ is handed to the application, request by request, on the same connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from relay.gateway.asgi import Asgi
from relay.gateway.front import STALL_SECONDS, Front
from tests.relay.gateway.scene import Scene, request
from tests.relay.gateway.test_deadlines import fronts

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class FakeApp:
    """Keeps what it is fed; answers when it is told to."""

    def __init__(self, front: Front, transport: asyncio.Transport, head: bytes) -> None:
        self.front = front
        self.transport = transport
        self.head = head
        self.fed = b""
        self.paused = False
        self.lost = False
        self.last = False

    def feed(self, data: bytes) -> None:
        self.fed += data

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def shutdown(self) -> None:
        self.last = True

    def connection_lost(self, _exc: Exception | None) -> None:
        self.lost = True

    def answer(self, body: bytes, *, persistent: bool = True) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        self.front.finish(persistent=persistent)


@pytest.fixture
def apps(scene: Scene) -> list[FakeApp]:
    """Those that were started, in their order."""
    started: list[FakeApp] = []

    def start(front: Front, transport: asyncio.Transport, head: bytes) -> FakeApp:
        started.append(FakeApp(front, transport, head))
        return started[-1]

    scene.start_app = start
    return started


async def test_requests_take_turns_between_store_and_application(scene: Scene, apps: list[FakeApp]) -> None:
    """/to/, /v1, /to/ pipelined on one connection: each to its own place, answers in order."""
    client = await scene.client()
    mine = request("X-Note: 1", target="/v1/status?a=b", auth="Bearer x")
    client.send(request() + mine + request() + request(target="/") + request())
    assert (await client.answer()).body == b"ok"
    await scene.until(lambda: len(apps) == 1)
    assert apps[0].head == mine
    assert len(scene.store.requests) == 1
    apps[0].answer(b"status")
    assert (await client.answer()).body == b"status"
    assert (await client.answer()).body == b"ok"
    await scene.until(lambda: len(apps) == 2)
    apps[1].answer(b"root")
    assert (await client.answer()).body == b"root"
    assert (await client.answer()).body == b"ok"


async def test_an_absolute_address_goes_where_its_path_goes(scene: Scene, apps: list[FakeApp]) -> None:
    """RFC 9112 §3.2.2: a server takes absolute-form, here for the application."""
    client = await scene.client()
    client.send(request(target="http://relay.example/v1/status"))
    await scene.until(lambda: apps)
    apps[0].answer(b"status")
    assert (await client.answer()).body == b"status"


@pytest.mark.parametrize(
    "target", ["to/x", "relay.example:80", "ftp://relay.example/v1", "http:///v1", "http://?x", "?x"]
)
async def test_targets_of_no_known_form_are_refused(scene: Scene, apps: list[FakeApp], target: str) -> None:
    """Neither a path nor an http address: 400."""
    client = await scene.client()
    assert (await client.ask(target=target)).status == 400
    assert not apps


async def test_an_applications_request_is_judged_like_any(scene: Scene, apps: list[FakeApp]) -> None:
    """CL and TE, no Host, TRACE: the application never sees them."""
    for data in (
        request("Content-Length: 5", "Transfer-Encoding: chunked", method="POST", target="/v1/x"),
        b"GET /v1/x HTTP/1.1\r\n\r\n",
        request(method="TRACE", target="/v1/x"),
        request("Connection: content-length", target="/v1/x"),
    ):
        client = await scene.client()
        client.send(data)
        assert (await client.answer()).status == 400
        assert await client.rest() == b""
    assert not apps


async def test_bodies_are_fed_as_they_are_framed(scene: Scene, apps: list[FakeApp]) -> None:
    """Counted or in chunks, cut or whole, to the body's end and no further."""
    client = await scene.client()
    client.send(request("Transfer-Encoding: chunked", method="POST", target="/v1/x", body=b"5;x\r\nhello\r\n"))
    await scene.until(lambda: apps and apps[0].fed)
    assert apps[0].fed == b"5\r\nhello\r\n"
    client.send(b"0\r\nX: y\r\n\r\n" + request())
    await scene.until(lambda: apps[0].fed.endswith(b"0\r\n\r\n"))
    apps[0].answer(b"first")
    assert (await client.answer()).body == b"first"
    assert (await client.answer()).body == b"ok"


async def test_an_answer_before_the_bodys_end_closes(scene: Scene, apps: list[FakeApp]) -> None:
    """What is left of the body is never taken for a request."""
    client = await scene.client()
    client.send(request("Content-Length: 1000", method="POST", target="/v1/x"))
    await scene.until(lambda: apps)
    apps[0].answer(b"early")
    client.send(request() * 5)
    assert (await client.answer()).body == b"early"
    assert await client.rest() == b""
    assert scene.store.received == b""


async def test_a_bad_body_ends_application_and_connection(scene: Scene, apps: list[FakeApp]) -> None:
    """The application hears of a lost connection, the caller gets nothing that looks whole."""
    client = await scene.client()
    client.send(request("Transfer-Encoding: chunked", method="POST", target="/v1/x"))
    await scene.until(lambda: apps)
    client.send(b"zz\r\n")
    assert await client.rest() == b""
    assert apps[0].lost


async def test_a_body_for_the_application_may_not_stall_either(scene: Scene, apps: list[FakeApp]) -> None:
    """A minute without a byte ends it."""
    client = await scene.client()
    client.send(request("Content-Length: 1000", method="POST", target="/v1/x", body=b"x"))
    await scene.until(lambda: apps)
    await scene.pass_time(60)
    assert not apps[0].lost
    await scene.pass_time(1)
    assert await client.rest() == b""
    assert apps[0].lost


async def test_a_streaming_answer_has_no_deadline(scene: Scene, apps: list[FakeApp]) -> None:
    """Live events: hours of nothing are no failure."""
    client = await scene.client()
    client.send(request(target="/v1/events"))
    await scene.until(lambda: apps)
    await scene.pass_time(7200)
    apps[0].answer(b"event")
    assert (await client.answer()).body == b"event"


async def test_a_slow_reader_pauses_the_application(scene: Scene, apps: list[FakeApp]) -> None:
    """Back-pressure reaches it, and its end of waiting too; a reader that stands still is cut."""
    client = await scene.client(limit=1024)
    client.send(request(target="/v1/x"))
    await scene.until(lambda: apps)
    apps[0].transport.write(b"x" * 2**23)
    assert apps[0].paused
    await client.reader.readexactly(2**23)
    await scene.until(lambda: not apps[0].paused)
    apps[0].transport.write(b"x" * 2**24)
    assert await scene.seconds_until(lambda: apps[0].lost) > STALL_SECONDS


async def test_a_client_that_leaves_is_told_to_the_application(scene: Scene, apps: list[FakeApp]) -> None:
    """Once."""
    client = await scene.client()
    client.send(request(target="/v1/x"))
    [front] = await fronts(scene)
    await scene.until(lambda: apps)
    client.leave()
    await scene.until(lambda: apps[0].lost)
    assert front not in scene.hall.fronts


async def echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """An ASGI application that tells what it was asked."""
    body = b""
    more = True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    told = {
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "method": scope["method"],
        "body": body.decode(),
        "client": scope["client"][0],
    }
    content = json.dumps(told).encode()
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def test_a_real_asgi_application_behind_the_front(scene: Scene) -> None:
    """uvicorn's own protocol per request: keep-alive, bodies of both kinds, and /to/ between them."""
    asgi = Asgi(echo)
    scene.start_app = lambda front, transport, head: asgi.start(
        transport, "203.0.113.7", head, lambda persistent: front.finish(persistent=persistent)
    )
    client = await scene.client()
    for body, fields in (
        (b"", []),
        (b"hello", ["Content-Length: 5"]),
        (b"5\r\nhello\r\n0\r\n\r\n", ["Transfer-Encoding: chunked"]),
    ):
        client.send(request(*fields, method="POST", target="/v1/x?a=b", body=body) + request())
        told = json.loads((await client.answer()).body)
        assert told.pop("client") == "203.0.113.7", "who asks is told from outside"
        assert told == {"path": "/v1/x", "query": "a=b", "method": "POST", "body": "hello" if body else ""}
        assert (await client.answer()).body == b"ok"
    client.send(request(target="http://relay.example/v1/y"))
    assert json.loads((await client.answer()).body)["path"] == "/v1/y"
    client.send(request("Connection: close", target="/v1/x"))
    assert (await client.answer()).value("Connection") == b"close"
    assert await client.rest() == b""


async def test_no_word_of_the_caller_changes_who_asks(scene: Scene) -> None:
    """uvicorn on its own would believe these of whoever comes from 127.0.0.1."""
    asgi = Asgi(echo)
    scene.start_app = lambda front, transport, head: asgi.start(
        transport, "127.0.0.1", head, lambda persistent: front.finish(persistent=persistent)
    )
    got = await scene.ask("X-Forwarded-For: 203.0.113.66", "X-Forwarded-Proto: https", target="/v1/x")
    assert json.loads(got.body)["client"] == "127.0.0.1"


async def test_the_application_says_close_while_the_relay_drains(scene: Scene) -> None:
    """Under way when the relay is told to stop, or begun on a kept connection after that: the answer is the last."""
    answer = asyncio.Event()

    async def slow_echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await answer.wait()
        await echo(scope, receive, send)

    asgi = Asgi(slow_echo)
    scene.start_app = lambda front, transport, head: asgi.start(
        transport, "203.0.113.7", head, lambda persistent: front.finish(persistent=persistent)
    )
    early, late = await scene.client(), await scene.client()
    early.send(request(target="/v1/early"))
    await scene.until(lambda: len(scene.hall.fronts) == 2 and any(front._app for front in scene.hall.fronts))
    scene.hall.drain()
    late.send(request(target="/v1/late"))
    await scene.until(lambda: all(front._app for front in scene.hall.fronts))
    answer.set()
    for client in (early, late):
        got = await client.answer()
        assert (got.status, got.value("Connection")) == (200, b"close")
        assert await client.rest() == b""
    async with asyncio.timeout(5):
        await scene.hall.emptied()
