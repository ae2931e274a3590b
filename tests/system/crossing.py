"""What stands between an agent and the relay in merchants' networks: TLS ends, proxies, firewalls that know SSH."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.system.certificates import Certificates
from tests.system.programs import HOST

PART = 64 * 1024
Pass = Callable[[bytes], bytes | None]
"""What of some bytes is passed on; None: the connection is reset."""


def tls_end(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.chain, certificates.key)
    return context


@dataclass
class Firewall:
    """Passes TCP to one port; knows SSH by its first line, in whichever direction that is."""

    to_port: int
    resets: bool = False
    open: bool = False
    port: int = 0
    connections: int = 0
    caught: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await join(reader, writer, self.to_port, self._look)

    def _look(self, data: bytes) -> bytes | None:
        if self.open or b"SSH-2.0-" not in data:
            return data
        self.caught += 1
        return None if self.resets else b""


@dataclass
class Late(Firewall):
    """Lets both ends name themselves, and swallows what comes after that."""

    def _look(self, data: bytes) -> bytes | None:
        named = data.startswith(b"SSH-2.0-") and len(data) < 60
        self.caught += not named
        return data if named else b""


@dataclass
class Proxy:
    """An HTTP proxy that knows some names, by CONNECT alone."""

    to: Mapping[str, int]
    credentials: str = ""
    inspects: Certificates | None = None
    """It shows these in place of what it connects to, and reads along."""
    port: int = 0
    asked: list[str] = field(default_factory=list)
    read: bytearray = field(default_factory=bytearray)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split(" ", 2)
        self.asked.append(f"{method} {target}")
        wanted = "Basic " + base64.b64encode(self.credentials.encode()).decode()
        if self.credentials and f"Proxy-Authorization: {wanted}".lower() not in head.lower():
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=lan\r\n\r\n")
        elif method != "CONNECT" or target not in self.to:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            if self.inspects:
                await writer.start_tls(tls_end(self.inspects))
            await join(reader, writer, self.to[target], self._look)
            return
        await writer.drain()
        writer.close()

    def _look(self, data: bytes) -> bytes:
        self.read += data[: max(0, 65536 - len(self.read))]
        return data


@asynccontextmanager
async def standing(hop: Firewall | Proxy) -> AsyncIterator[None]:
    """The hop at a port of its own, with what is connected through it cut at the end."""
    async with listening(hop.serve) as port:
        hop.port = port
        yield


@asynccontextmanager
async def tls_in_front_of(port: Callable[[], int], certificates: Certificates) -> AsyncIterator[int]:
    """Ends TLS as a reverse proxy does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await join(reader, writer, port(), bytes)

    async with listening(serve, tls_end(certificates)) as at:
        yield at


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    writers: set[asyncio.StreamWriter] = set()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            await serve(reader, writer)  # type: ignore[misc]  # a coroutine function
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            writers.discard(writer)

    server = await asyncio.start_server(guarded, HOST, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in list(writers):
            writer.transport.abort()


async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, look: Pass) -> None:
    """Copy both ways between a connection and the port until one of them ends."""
    theirs, ours = await asyncio.open_connection(HOST, port)
    ways = [asyncio.ensure_future(_copy(*pair, look)) for pair in ((reader, ours), (theirs, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await way
        ours.transport.abort()
        writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Pass) -> None:
    while data := await reader.read(PART):
        passed = look(data)
        if passed is None:
            return
        writer.write(passed)
        await writer.drain()
