"""A store made of raw sockets: it records every byte that reaches it and answers exactly what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from tests.relay.gateway.message import CutError, Message, read_message

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(eq=False)
class Visit:
    """One connection that the relay made to the store."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    received: bytearray = field(default_factory=bytearray)
    requests: list[Message] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """The relay will send no more: it has closed or broken the connection."""

    async def some(self, limit: int = 65536) -> bytes:
        """The next bytes as they came, empty at the end."""
        data = b""
        with contextlib.suppress(ConnectionError):
            data = await self.reader.read(limit)
        self.received += data
        if not data:
            self.ended.set()
        return data

    async def request(self) -> Message | None:
        """The next whole request, None if there is none."""
        message = await read_message(self.some, self._pushed)
        if message:
            self.requests.append(message)
        return message

    async def drained(self) -> None:
        """Read until the relay ends the connection."""
        while await self.some():
            pass

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def end(self) -> None:
        """Send no more, in an orderly way."""
        self.writer.close()

    def abort(self) -> None:
        """Break the connection, with a reset."""
        reset(self.writer)

    _pushed: bytearray = field(default_factory=bytearray)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees a reset, not an end."""
    if not writer.transport.is_closing():
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


Behaviour = Callable[[Visit], Awaitable[None]]


def answering(answer: bytes) -> Behaviour:
    """Answers each whole request with the same bytes."""

    async def behave(visit: Visit) -> None:
        while await visit.request():
            visit.send(answer)

    return behave


def once(answer: bytes) -> Behaviour:
    """Answers the first request, closes, and takes no more."""

    async def behave(visit: Visit) -> None:
        if await visit.request():
            visit.send(answer)
            visit.end()

    return behave


async def silent(visit: Visit) -> None:
    """Reads and never answers."""
    await visit.drained()


class Store:
    """A listening store; `behave` may be changed at any time and holds for the connections made from then on."""

    def __init__(self) -> None:
        self.behave: Behaviour = answering(OK)
        self.visits: list[Visit] = []
        self._came = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def requests(self) -> list[Message]:
        """Every whole request, those of the first connection first."""
        return [request for visit in self.visits for request in visit.requests]

    @property
    def received(self) -> bytes:
        return b"".join(bytes(visit.received) for visit in self.visits)

    async def visit(self, index: int = 0) -> Visit:
        """The connection with this number, waited for."""
        async with asyncio.timeout(5), self._came:
            await self._came.wait_for(lambda: len(self.visits) > index)
        return self.visits[index]

    @contextlib.asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        """The port that it listens on."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for visit in self.visits:
                visit.writer.transport.abort()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        visit = Visit(reader, writer)
        async with self._came:
            self.visits.append(visit)
            self._came.notify_all()
        with contextlib.suppress(ConnectionError, CutError, asyncio.CancelledError):  # the store's end is no fault
            await self.behave(visit)
