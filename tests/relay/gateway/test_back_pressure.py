"""Whoever is slow holds the other back: what the relay holds stays small, and not a byte is lost."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable

import pytest

from agent.wire.stream import Receiver, Stream
from relay.gateway.tls import TlsStream
from relay.records import Trust
from tests.relay.gateway.message import read_message
from tests.relay.gateway.scene import Client, Scene, request
from tests.relay.gateway.store import OK, Visit, answering
from tests.relay.gateway.test_tls import CA, secured

SIZE = 48 * 2**20
"""More than all socket buffers on the way take."""
PIECE = bytes(range(256)) * 256
BOUND = 2 * 2**20
"""Reads of 256 KiB, high-water marks, what is taken early, a chunk's beginning: together well below this."""


def buffered(scene: Scene) -> int:
    """All bytes that the relay holds for its connections, apart from the kernel's own buffers."""
    total = sum(stream.transport.get_write_buffer_size() for stream in scene.route.streams if not stream.is_closing())
    for front in scene.hall.fronts:
        total += len(front._unread) + front._transport.get_write_buffer_size()
        if front._exchange:
            total += len(front._exchange._early) + len(front._exchange._buffer)
    return total


@contextlib.asynccontextmanager
async def watched(scene: Scene) -> AsyncIterator[Callable[[], int]]:
    """The most that was ever held, looked at in every turn of the loop."""
    loop, most, over = asyncio.get_running_loop(), 0, False

    def look() -> None:
        nonlocal most
        most = max(most, buffered(scene))
        if not over:
            loop.call_later(0.0002, look)

    look()
    try:
        yield lambda: most
    finally:
        over = True


def pieces(*, chunked: bool) -> list[bytes]:
    """The body on the wire, in pieces."""
    if chunked:
        return [b"%x\r\n%s\r\n" % (len(PIECE), PIECE)] * (SIZE // len(PIECE)) + [b"0\r\n\r\n"]
    return [PIECE] * (SIZE // len(PIECE))


FRAMING = {True: "Transfer-Encoding: chunked", False: f"Content-Length: {SIZE}"}
EXPECTED = hashlib.sha256(PIECE * (SIZE // len(PIECE))).digest()


async def send_all(writer: asyncio.StreamWriter, parts: list[bytes]) -> None:
    for part in parts:
        writer.write(part)
        await writer.drain()


async def digest(client: Client) -> bytes:
    """Of the body of the next answer, read to its end."""
    return hashlib.sha256((await client.answer()).body).digest()


async def settled(scene: Scene, held: Callable[[], object]) -> None:
    """Until somebody is held back, and for a while after: whatever were unbounded would grow now."""
    await scene.until(held)
    for _ in range(100):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
@pytest.mark.parametrize("over_tls", [False, True], ids=["http", "https"])
async def test_a_slow_reader_holds_the_store_back(scene: Scene, *, chunked: bool, over_tls: bool) -> None:
    """48 MiB towards a caller that does not read: the relay holds little, and then all of it arrives."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.send(f"HTTP/1.1 200 OK\r\n{FRAMING[chunked]}\r\n\r\n".encode())
        await send_all(visit.writer, pieces(chunked=chunked))

    scene.store.behave = behave
    async with secured(scene, Trust(ca_pem=CA.pem)) if over_tls else contextlib.nullcontext(), watched(scene) as most:
        client = await scene.client(limit=4096)
        client.send(request())
        await scene.until(lambda: scene.hall.fronts)
        [front] = scene.hall.fronts
        await settled(scene, lambda: front._writing_paused)
        assert await digest(client) == EXPECTED
        assert most() < BOUND


@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
@pytest.mark.parametrize("over_tls", [False, True], ids=["http", "https"])
async def test_a_slow_store_holds_the_caller_back(scene: Scene, *, chunked: bool, over_tls: bool) -> None:
    """48 MiB towards a store that does not read: the relay holds little, and then all of it arrives."""
    go_on = asyncio.Event()

    async def behave(visit: Visit) -> None:
        await go_on.wait()
        await answering(OK)(visit)

    scene.store.behave = behave
    async with secured(scene, Trust(ca_pem=CA.pem)) if over_tls else contextlib.nullcontext(), watched(scene) as most:
        client = await scene.client()
        client.send(request(FRAMING[chunked], method="POST"))
        sending = asyncio.create_task(send_all(client.writer, pieces(chunked=chunked)))
        await scene.until(lambda: scene.hall.fronts)
        [front] = scene.hall.fronts
        await settled(scene, lambda: front._reading_paused)
        go_on.set()
        assert (await client.answer()).body == b"ok"
        await sending
        assert most() < BOUND
    assert hashlib.sha256(scene.store.requests[0].body).digest() == EXPECTED


async def test_an_upload_waits_for_its_line_and_then_for_its_store(scene: Scene) -> None:
    """No line yet: some 64 KiB are taken in. Then a line to a store that does not read: still little is held."""
    go_on = asyncio.Event()

    async def behave(visit: Visit) -> None:
        await go_on.wait()
        await answering(OK)(visit)

    scene.store.behave = behave
    scene.route.open_gate.clear()
    async with watched(scene) as most:
        client = await scene.client()
        client.send(request(FRAMING[False], method="POST"))
        sending = asyncio.create_task(send_all(client.writer, pieces(chunked=False)))
        await scene.until(lambda: scene.hall.fronts)
        [front] = scene.hall.fronts
        await settled(scene, lambda: front._reading_paused)
        assert most() < BOUND
        scene.route.open_gate.set()
        await scene.until(lambda: scene.route.streams)
        await settled(scene, lambda: front._reading_paused)
        assert most() < BOUND
        go_on.set()
        assert (await client.answer()).body == b"ok"
        await sending
    assert hashlib.sha256(scene.store.requests[0].body).digest() == EXPECTED


async def test_both_directions_at_once(scene: Scene) -> None:
    """A store that answers while it is being sent to, and ends last: upload and download side by side, both whole."""

    async def behave(visit: Visit) -> None:
        while b"\r\n\r\n" not in visit.received:
            await visit.some()
        held = bytearray(visit.received.partition(b"\r\n\r\n")[2])
        visit.send(f"HTTP/1.1 200 OK\r\n{FRAMING[False]}\r\n\r\n".encode())
        *most_pieces, last = pieces(chunked=False)
        sending = asyncio.create_task(send_all(visit.writer, most_pieces))
        whole = await read_message(
            visit.some, bytearray(b"POST / HTTP/1.1\r\n" + FRAMING[False].encode() + b"\r\n\r\n" + held)
        )
        assert whole
        arrived.append(hashlib.sha256(whole.body).digest())
        await sending
        visit.send(last)

    arrived: list[bytes] = []
    scene.store.behave = behave
    async with watched(scene) as most:
        client = await scene.client()
        client.send(request(FRAMING[False], method="POST"))
        sending = asyncio.create_task(send_all(client.writer, pieces(chunked=False)))
        assert await digest(client) == EXPECTED
        await sending
        await scene.until(lambda: arrived)
        assert most() < BOUND
    assert arrived == [EXPECTED]


class Congested:
    """A stream that is full from the beginning, as one in a full tunnel is, or from the first write on."""

    def __init__(self, *, full: bool = True) -> None:
        self.written = b""
        self.full = full
        self.receiver: Receiver | None = None

    def attach(self, receiver: Receiver) -> None:
        self.receiver = receiver
        if self.full:
            receiver.pause_writing()

    def write(self, data: bytes) -> None:
        self.written += data
        if self.receiver and not self.full:
            self.full = True
            self.receiver.pause_writing()

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize("full", [True, False], ids=["from the beginning", "from the first write on"])
async def test_a_line_that_is_full_holds_the_caller_back(scene: Scene, *, full: bool) -> None:
    """Whether it says so before there is a request to hold back, or while the first bytes are written."""
    congested = Congested(full=full)

    async def wrap(_stream: Stream, _connection: object) -> Stream:
        return congested

    scene.route.wrap = wrap
    scene.route.open_gate.clear()
    client = await scene.client()
    client.send(request(FRAMING[False], method="POST", body=PIECE * 2))
    await scene.until(lambda: scene.hall.fronts and next(iter(scene.hall.fronts))._reading_paused)
    scene.route.open_gate.set()
    await scene.until(lambda: congested.written)
    [front] = scene.hall.fronts
    assert front._reading_paused
    assert congested.receiver
    congested.receiver.resume_writing()
    assert not front._reading_paused


async def test_tls_passes_on_that_its_stream_is_full() -> None:
    """A pause that comes before there is a receiver is told to it when it comes."""
    stream = TlsStream(Congested(), "shop.example", Trust(ca_pem=CA.pem))
    stream.pause_writing()
    line = Paused()
    stream.attach(line)
    assert line.paused
    stream.resume_writing()
    assert not line.paused


class Paused:
    """A receiver that tells whether it may write."""

    paused = False

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
