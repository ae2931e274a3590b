"""How one TCP hop delays, limits, swallows, stalls and cuts the connections that go through it."""

import asyncio
import collections
import contextlib
import random
import socket
import struct
from collections.abc import Coroutine
from typing import Any

Address = tuple[str, int]

CHUNK = 1 << 18  # bytes asked for in one read
COALESCE_BELOW = 1 << 16  # bytes: smaller pieces that are due are written together
COALESCE_PIECES = 64
BYTES_PER_MBIT = 125_000
RATE_BUFFER_S = 0.25  # what a limited line holds before it stops reading, as a router's queue would
RATE_GRAIN_S = 0.005  # a limited line passes on pieces of this length, not lumps
SOFT_CLOSE_S = 2.0  # how long a softly cut end may go on sending before its socket is closed
DESCRIPTORS_SPENT_S = 0.05  # wait before accepting again when the process has no descriptor left


class Proxy:
    """The hop: a listener, the connections through it, and the troubles set on the line."""

    def __init__(
        self,
        listen: Address,
        to: Address,
        *,
        delay_ms: float = 0,
        jitter_ms: float = 0,
        rate_mbit: float = 0,
        window_mb: float = 64,
    ) -> None:
        self.listen_at, self.to = listen, to
        self.delay_ms, self.jitter_ms, self.rate_mbit = delay_ms, jitter_ms, rate_mbit
        self.window = int(window_mb * 2**20)
        self.connections: set[Connection] = set()
        self.accepted = self.passed = self.swallowed = 0
        self.flowing, self.through = asyncio.Event(), asyncio.Event()  # cleared by stall, by blackhole
        self.flowing.set()
        self.through.set()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()

    def listen(self) -> None:
        if self._listener:
            return
        listener = socket.socket(_family(self.listen_at))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self.listen_at)
        listener.listen(1024)
        listener.setblocking(False)
        self.listen_at = listener.getsockname()[:2]
        self._listener, self._accepting = listener, self.spawn(self._accept(listener))

    def refuse(self) -> None:
        if self._listener and self._accepting:
            self._accepting.cancel()
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        self.refuse()
        self.cut()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = await asyncio.get_running_loop().sock_accept(listener)
            except OSError:
                await asyncio.sleep(DESCRIPTORS_SPENT_S)
                continue
            self.accepted += 1
            self.spawn(self._connect(client))

    async def _connect(self, client: socket.socket) -> None:
        client.setblocking(False)
        await asyncio.sleep(2 * self.delay_ms / 1e3)
        await self.through.wait()
        server = socket.socket(_family(self.to))
        server.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(server, self.to)
        except OSError:
            server.close()
            _reset(client)
            return
        for end in client, server:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections.add(Connection(self, client, server))

    def blackhole(self) -> None:
        self.through.clear()
        self.blackhole_old()

    def blackhole_old(self) -> None:
        for connection in self.connections:
            connection.hole = True

    def resume(self) -> None:
        self.through.set()
        self.flowing.set()
        for connection in list(self.connections):
            connection.hole = False
            if connection.lost:
                connection.cut()

    def stall(self) -> None:
        self.flowing.clear()

    def cut(self) -> None:
        for connection in list(self.connections):
            connection.cut()

    def cut_soft(self) -> None:
        for connection in list(self.connections):
            connection.cut_softly()

    def stats(self) -> dict[str, Any]:
        return {
            "connections": len(self.connections),
            "accepted": self.accepted,
            "bytes": self.passed,
            "swallowed": self.swallowed,
            "queued": sum(way.size for connection in self.connections for way in connection.ways),
            "delay_ms": self.delay_ms,
            "jitter_ms": self.jitter_ms,
            "rate_mbit": self.rate_mbit,
            "blackhole": not self.through.is_set(),
            "stalled": not self.flowing.is_set(),
            "listening": self._listener is not None,
        }


class Connection:
    """One client's connection through the hop: two sockets, two ways."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy, self.ends = proxy, (client, server)
        self.hole, self.lost = not proxy.through.is_set(), False
        self.ways = Way(self, client, server), Way(self, server, client)
        self.over = False
        self._halves_closed = 0
        self._tasks = [asyncio.create_task(step()) for way in self.ways for step in (way.read, way.write)]

    def half_closed(self) -> None:
        self._halves_closed += 1
        if self._halves_closed == 2 and self._release():
            for end in self.ends:
                end.close()

    def cut(self) -> None:
        if self._release():
            for end in self.ends:
                _reset(end)

    def cut_softly(self) -> None:
        if self._release():
            for end in self.ends:
                self.proxy.spawn(_finish(end))

    def _release(self) -> bool:
        """Stop working on the sockets; False if that was done before."""
        if self.over:
            return False
        self.over = True
        self.proxy.connections.discard(self)
        loop = asyncio.get_running_loop()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        for end in self.ends:
            loop.remove_reader(end.fileno())
            loop.remove_writer(end.fileno())
        return True


class Way:
    """One direction of a connection: read, hold until due, write. A piece b"" is a FIN, None a RST."""

    def __init__(self, connection: Connection, source: socket.socket, target: socket.socket) -> None:
        self.size = 0  # bytes held
        self._connection, self._proxy, self._source, self._target = connection, connection.proxy, source, target
        self._queue: collections.deque[tuple[float, bytes | None]] = collections.deque()  # (due, piece)
        self._line_free = self._last_due = 0.0
        self._filled, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()

    async def read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._proxy.flowing.wait()
            if self.size > self._limit():
                self._room.clear()
            await self._room.wait()
            piece: bytes | None = None
            with contextlib.suppress(OSError):
                piece = await loop.sock_recv(self._source, self._chunk())
            if self._connection.hole:
                self._swallow(piece)
            else:
                self._put(piece, loop.time())
            if not piece:
                return

    async def write(self) -> None:
        while True:
            piece = await self._next_due()
            await self._proxy.flowing.wait()
            if self._connection.hole:
                self._swallow(piece)
                self._leave(piece)
            elif piece is None:
                self._connection.cut()
            elif not piece:
                self._half_close()
            else:
                await self._pass_on(piece)
            if not piece or self._connection.over:
                return

    def _limit(self) -> float:
        rate, window = self._proxy.rate_mbit, self._proxy.window
        return min(window, rate * BYTES_PER_MBIT * RATE_BUFFER_S + COALESCE_BELOW) if rate else window

    def _chunk(self) -> int:
        rate = self._proxy.rate_mbit
        return min(CHUNK, max(1500, int(rate * BYTES_PER_MBIT * RATE_GRAIN_S))) if rate else CHUNK

    def _put(self, piece: bytes | None, now: float) -> None:
        if self._proxy.rate_mbit and piece:
            self._line_free = max(now, self._line_free) + len(piece) / (self._proxy.rate_mbit * BYTES_PER_MBIT)
            now = self._line_free
        jitter = random.random() * self._proxy.jitter_ms  # noqa: S311  # a line's jitter is no secret
        self._last_due = max(now + (self._proxy.delay_ms + jitter) / 1e3, self._last_due)  # order is kept
        self._queue.append((self._last_due, piece))
        self.size += len(piece or b"")
        self._filled.set()

    async def _next_due(self) -> bytes | None:
        loop = asyncio.get_running_loop()
        while not self._queue:
            self._filled.clear()
            await self._filled.wait()
        due, piece = self._queue.popleft()
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        return piece

    async def _pass_on(self, piece: bytes) -> None:
        loop = asyncio.get_running_loop()
        if not self._proxy.rate_mbit:
            piece = self._coalesce(piece, loop.time())
        try:
            await loop.sock_sendall(self._target, piece)
        except OSError:
            self._connection.cut()
            return
        self._proxy.passed += len(piece)
        self._leave(piece)

    def _coalesce(self, piece: bytes, now: float) -> bytes:
        if len(piece) >= COALESCE_BELOW:
            return piece
        pieces = [piece]
        while self._queue and len(pieces) < COALESCE_PIECES:
            due, more = self._queue[0]
            if due > now or not more:
                break
            pieces.append(more)
            self._queue.popleft()
        return b"".join(pieces)

    def _swallow(self, piece: bytes | None) -> None:
        self._proxy.swallowed += len(piece or b"")
        self._connection.lost = True

    def _leave(self, piece: bytes | None) -> None:
        self.size -= len(piece or b"")
        self._room.set()

    def _half_close(self) -> None:
        with contextlib.suppress(OSError):
            self._target.shutdown(socket.SHUT_WR)
        self._connection.half_closed()


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def _reset(sock: socket.socket) -> None:
    """Close with RST."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def _finish(sock: socket.socket) -> None:
    """Close with FIN, also where the peer is still sending."""
    with contextlib.suppress(OSError, TimeoutError):
        sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(SOFT_CLOSE_S):
            while await asyncio.get_running_loop().sock_recv(sock, CHUNK):
                pass
    sock.close()
