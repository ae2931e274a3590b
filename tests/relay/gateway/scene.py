"""The real front and gateway between raw clients and a raw store: no SSH, a directory in memory, a clock to turn."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

from pydantic import SecretStr

from agent.wire.destination import Destination
from agent.wire.stream import Receiver, Stream
from relay.gateway.errors import GatewayError
from relay.gateway.front import Front
from relay.gateway.gateway import Gateway
from relay.gateway.hall import App, Hall
from relay.gateway.way import DirectWay, Way
from relay.records import MISSING, Caller, Connection, Missing, Mode, Scope, StoreUrl
from tests.relay.gateway.message import Message, read_message
from tests.relay.gateway.store import Store, reset

ID = "con_aaaaaaaaaaaaaaaa"
ACCESS_KEY = "ACCESSKEYOFTHECONNECTION23456789"
STORE_KEY = "STOREKEYSTOREKEYSTOREKEYSTOREKEY"
API = f"/to/{ID}/api"
DEADLINE = 10
"""Seconds after which a wait of a test has failed."""


def basic(user: str, password: str = "") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def request(
    *fields: str, method: str = "GET", target: str = f"{API}/products", auth: str | None = basic(ACCESS_KEY),
    version: str = "1.1", body: bytes = b"",
) -> bytes:  # fmt: skip
    """A request that is let through unless its test makes it bad."""
    lines = [f"{method} {target} HTTP/{version}", "Host: relay.example"]
    lines += [f"Authorization: {auth}"] if auth else []
    return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1") + body


class Clock:
    """Monotonic seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


class Directory:
    """Connections and callers. What is in `unremembered` must be asked for, and waits for `open`."""

    def __init__(self) -> None:
        self.connections: dict[str, Connection] = {}
        self.callers: dict[str, Caller] = {}
        self.remembers = True
        self.open = asyncio.Event()
        self.open.set()
        self.fault: Exception | None = None
        self.asked = 0

    def peek_connection(self, id_: str) -> Connection | Missing | None:
        return self.connections.get(id_) if self.remembers else MISSING

    async def connection(self, id_: str) -> Connection | None:
        await self._look()
        return self.connections.get(id_)

    def peek_caller(self, digest: str) -> Caller | Missing | None:
        return self.callers.get(digest) if self.remembers else MISSING

    async def caller(self, digest: str) -> Caller | None:
        await self._look()
        return self.callers.get(digest)

    def admit(self, token: str, scope: Scope, account: str = "acc_one") -> str:
        """An API token, as an Authorization value."""
        self.callers[sha256(token)] = Caller(account, f"tok_{token}", scope)
        return f"Bearer {token}"

    async def _look(self) -> None:
        self.asked += 1
        if not self.remembers:
            await self.open.wait()
        if self.fault:
            raise self.fault


class TcpStream(asyncio.Protocol):
    """A TCP connection to the store as a Stream."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._receiver: Receiver | None = None
        self.aborted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.pause_reading()

    def attach(self, receiver: Receiver) -> None:
        first, self._receiver = self._receiver is None, receiver
        if first:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._receiver:
            self._receiver.data_received(data)

    def eof_received(self) -> bool:
        if self._receiver:
            self._receiver.eof_received()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._receiver:
            self._receiver.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._receiver:
            self._receiver.pause_writing()

    def resume_writing(self) -> None:
        if self._receiver:
            self._receiver.resume_writing()

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def write_eof(self) -> None:
        self.transport.write_eof()

    def pause_reading(self) -> None:
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        self.transport.resume_reading()

    def close(self) -> None:
        self.transport.close()

    def abort(self) -> None:
        self.aborted = True
        self.transport.abort()

    def is_closing(self) -> bool:
        return self.transport.is_closing()


class Direct(DirectWay):
    """The route: TCP to the store's port on this machine, or what a test puts in its place; and the way as well."""

    def __init__(self) -> None:
        self.streams: list[TcpStream] = []
        self.open_gate = asyncio.Event()
        self.open_gate.set()
        self.waiting = 0
        self.fault: GatewayError | None = None
        self.is_away = False
        self.lost_code = "store_closed_early"
        self.port: int | None = None
        self.wrap: Callable[[Stream, Connection], Awaitable[Stream]] | None = None

    def away(self, _connection: Connection) -> bool:
        return self.is_away

    async def open(self, connection: Connection) -> tuple[Stream, Way]:
        self.waiting += 1
        try:
            await self.open_gate.wait()
        finally:
            self.waiting -= 1
        if self.fault:
            raise self.fault
        port = self.port or connection.store.destination.port
        _, stream = await asyncio.get_running_loop().create_connection(TcpStream, "127.0.0.1", port)
        self.streams.append(stream)
        secured = await self.wrap(stream, connection) if self.wrap else stream
        return secured, self


class Recorder(asyncio.Transport):
    """A transport to nobody: keeps what is written, and whether it is read from."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.ended = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Client:
    """A connector's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._held = bytearray()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def half_close(self) -> None:
        self.writer.write_eof()

    async def answer(self, *, head_only: bool = False) -> Message:
        """The next answer. Raises CutError, or AssertionError if there is none."""
        async with asyncio.timeout(DEADLINE):
            message = await read_message(self._some, self._held, head_only=head_only)
        assert message, "the connection ended without an answer"
        return message

    async def ask(self, *fields: str, **how: Any) -> Message:
        """Send one request and read its answer."""
        self.send(request(*fields, **how))
        return await self.answer(head_only=how.get("method") == "HEAD")

    async def rest(self) -> bytes:
        """All that still comes, to the end of the connection."""
        async with asyncio.timeout(DEADLINE):
            while data := await self._some():
                self._held += data
        rest = bytes(self._held)
        self._held.clear()
        return rest

    def leave(self) -> None:
        """Go away without a word: a reset."""
        reset(self.writer)

    async def _some(self) -> bytes:
        try:
            return await self.reader.read(65536)
        except ConnectionError:
            return b""


AppFactory = Callable[[Front, asyncio.Transport, bytes], App]


class Scene:
    """All parts of one test, wired."""

    def __init__(self, port: int, store: Store) -> None:
        self.store = store
        self.clock = Clock()
        self.directory = Directory()
        self.route = Direct()
        self.gateway = Gateway(self.directory, self.route, self.clock)
        self.hall = Hall(self.gateway, self._start_app, connections=100)
        self.start_app: AppFactory | None = None
        self.clients: list[Client] = []
        self.port = 0
        self.faults: list[dict[str, Any]] = []
        """What the loop had to catch: exceptions in callbacks and tasks that nobody saw."""
        self.put(
            Connection(
                id=ID,
                account="acc_one",
                name="the shop",
                mode=Mode.ON_PREMISE,
                agent="agt_one",
                store=StoreUrl("http", Destination("shop.example", port)),
                api_key=SecretStr(STORE_KEY),
                access_keys=(("key_one", sha256(ACCESS_KEY)),),
            )
        )

    @property
    def connection(self) -> Connection:
        return self.directory.connections[ID]

    def put(self, connection: Connection) -> None:
        self.directory.connections[connection.id] = connection

    def change(self, **changes: Any) -> Connection:
        """The connection's record with these values instead."""
        changed = dataclasses.replace(self.connection, **changes)
        self.put(changed)
        return changed

    async def client(self, *, limit: int = 2**16) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=limit)
        client = Client(reader, writer)
        self.clients.append(client)
        return client

    async def ask(self, *fields: str, **how: Any) -> Message:
        """One request on a connection of its own."""
        client = await self.client()
        try:
            return await client.ask(*fields, **how)
        finally:
            client.writer.close()

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop run until the condition holds."""
        async with asyncio.timeout(DEADLINE):
            while not condition():  # noqa: ASYNC110 - what is waited for is inside the code under test
                await asyncio.sleep(0.001)

    async def pass_time(self, seconds: float) -> None:
        """Turn the clock and let everyone look at it, second by second as the relay does."""
        for _ in range(int(seconds)):
            self.clock.forward(1)
            self.hall.sweep()
            self.gateway.sweep()
            await asyncio.sleep(0)

    async def seconds_until(self, condition: Callable[[], object], *, limit: float = 1000) -> float:
        """Turn the clock until the condition holds; the seconds that it took. They pass slowly enough for buffers."""
        began = self.clock()
        while not condition():
            assert self.clock() - began < limit
            await self.pass_time(1)
            await asyncio.sleep(0.0005)
        return self.clock() - began

    def held(self) -> dict[str, int]:
        """What is still held; empty when every turn, share and task has been given back."""
        pools = self.gateway._pools.values()
        counts = {
            "exchanges": len(self.gateway),
            "tasks": len(self.gateway._tasks),
            "turns": sum(pool.active for pool in pools),
            "waiting": sum(pool.waiting for pool in pools),
            **{account: n for account, n in self.gateway._accounts.items() if n},
        }
        return {name: count for name, count in counts.items() if count}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Scene]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: self.faults.append(context))
        server = await loop.create_server(lambda: Front(self.hall), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for client in self.clients:
                client.leave()
            for front in tuple(self.hall.fronts):
                front.abort()
            for stream in self.route.streams:
                stream.transport.abort()
            self.route.open_gate.set()
            self.directory.open.set()
            await self.until(lambda: not self.hall.fronts)

    def _start_app(self, front: Front, transport: asyncio.Transport, head: bytes) -> App:
        assert self.start_app, "nothing is handed over in this test"
        return self.start_app(front, transport, head)
