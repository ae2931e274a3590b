"""Connections while they are being made: through proxies, into TLS, until it is known which protocol gets the bytes."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from agent.dialling import PathError, attempts, connect
from agent.failure import said
from agent.logs import printable
from agent.proxy import HEAD_BYTES, Proxies, Proxy, ProxyError
from agent.resolver import LOOKUP_SECONDS, Address, Resolver
from agent.wire.limits import DIAL_SECONDS
from agent.wire.websocket import CLOSE_SECONDS

IMPATIENT_LOOKUP_SECONDS = 2.0
"""How long a lookup is waited for where an earlier answer is remembered."""
REMEMBERED = 64
"""Names whose addresses are remembered."""
WAITING_BYTES = 64 * 1024
"""What may arrive before somebody takes it."""

_HOST = re.compile(r"[A-Za-z0-9._:%-]+")


class Opening(asyncio.Protocol):
    """A connection that nobody owns yet: what arrives waits here, so much of it."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._waiting = b""
        self._ended = False
        self._failure: Exception | None = None
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) > WAITING_BYTES:
            self.transport.pause_reading()
        self._news.set()

    def eof_received(self) -> None:
        self._ended = True
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._failure = exc
        self._news.set()

    @property
    def waiting(self) -> bytes:
        """What has arrived and was not taken."""
        return self._waiting

    async def see(self, enough: Callable[[bytes], bool]) -> bytes:
        """What waits, once it is enough; nothing is taken. Raises ConnectionError if the other end has gone."""
        while not enough(self._waiting):
            if self._ended:
                raise self._failure or ConnectionResetError("the connection was closed")
            self._news.clear()
            await self._news.wait()
        return self._waiting

    async def take_head(self, limit: int = HEAD_BYTES) -> bytes | None:
        """An HTTP message's head with its empty line, taken; None: what comes is none, or longer."""
        shown = await self.see(
            lambda data: b"\r\n\r\n" in data or len(data) > limit or not b"HTTP/".startswith(data[:5])
        )
        end = shown.find(b"\r\n\r\n") + 4
        if not shown.startswith(b"HTTP/") or not 4 <= end <= limit:
            return None
        self._waiting = shown[end:]
        return shown[:end]

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Raises ssl.SSLError and other OSErrors."""
        transport = await asyncio.get_running_loop().start_tls(
            self.transport,
            self,
            context,
            server_hostname=name,
            ssl_handshake_timeout=DIAL_SECONDS,
            ssl_shutdown_timeout=CLOSE_SECONDS,
        )
        if transport is None:
            raise ConnectionResetError("the connection was closed")
        self.transport = transport

    def hand_over(self) -> bytes:
        """Before somebody else becomes the transport's protocol: what it must be given. Raises ConnectionError."""
        if self._ended:
            raise self._failure or ConnectionResetError("the connection was closed")
        self.transport.resume_reading()
        return self._waiting

    def abort(self) -> None:
        self.transport.abort()


class Ways:
    """The ways out of this network: which proxy for which host, and where names that no longer resolve were found."""

    def __init__(self, resolver: Resolver, proxies: Proxies, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: whom to believe, where a proxy itself is spoken to by TLS."""
        self._resolver = resolver
        self._proxies = proxies
        self._tls = tls
        self._found: dict[tuple[str, int], list[Address]] = {}

    def proxy(self, host: str, port: int) -> Proxy | None:
        return self._proxies.to(host, port)

    async def open(self, host: str, port: int, ends: float) -> Opening:
        """A TCP connection to the host, by both families or through its proxy; `ends` is the loop's time.

        Raises OSError: PathError with a sentence of its own, or the system's.
        """
        proxy = self._proxies.to(host, port)
        if proxy is None:
            async with within(ends, f"{host}:{port} does not answer: does the firewall let this machine out to it?"):
                return await self._connect(host, port, ends)
        opening = await self._open_proxy(proxy, ends)
        try:
            await self._ask(proxy, opening, host, port, ends)
        except BaseException:
            opening.abort()
            raise
        return opening

    async def _connect(self, host: str, port: int, ends: float) -> Opening:
        addresses = await self._resolve(host, port)
        loop = asyncio.get_running_loop()
        sock = await connect(attempts(addresses), ends - loop.time())
        _, opening = await loop.create_connection(Opening, sock=sock)
        return opening

    async def _open_proxy(self, proxy: Proxy, ends: float) -> Opening:
        try:
            async with within(ends, "it does not answer"):
                opening = await self._connect(proxy.host, proxy.port, ends)
        except socket.gaierror as error:
            raise ProxyError(f"the name of the proxy {proxy} is not found: {said(error)}") from None
        except OSError as error:
            raise ProxyError(f"the proxy {proxy} cannot be reached: {said(error)}") from None
        if proxy.scheme == "http":
            return opening
        try:
            async with within(ends, "it does not answer"):
                await opening.start_tls(self._tls or ssl.create_default_context(), proxy.host)
        except OSError as error:
            opening.abort()
            why = printable(getattr(error, "verify_message", None) or getattr(error, "reason", None) or str(error))
            raise ProxyError(f"no TLS with the proxy {proxy}: {why}") from None
        except BaseException:
            opening.abort()
            raise
        return opening

    async def _ask(self, proxy: Proxy, opening: Opening, host: str, port: int, ends: float) -> None:
        if not _HOST.fullmatch(host):
            raise ProxyError(f"{printable(host)!r} is no name that a proxy could be asked for")
        opening.transport.write(proxy.request(host, port))
        try:
            async with within(ends, f"the proxy {proxy} does not answer when asked for {host}:{port}"):
                head = await opening.take_head()
        except PathError:
            raise
        except OSError:
            raise ProxyError(f"the proxy {proxy} closed the connection when asked for {host}:{port}") from None
        proxy.judge(head or b"", host, port)

    async def _resolve(self, host: str, port: int) -> list[Address]:
        before = self._found.get((host, port))
        try:
            found = await self._resolver.resolve(host, port, IMPATIENT_LOOKUP_SECONDS if before else LOOKUP_SECONDS)
        except OSError as error:
            if before:
                return before
            if isinstance(error, TimeoutError):
                raise PathError(f"the name {host} could not be looked up: the name server does not answer") from None
            raise
        except UnicodeError:
            raise PathError(f"{printable(host)!r} is no name that could be looked up") from None
        if len(self._found) >= REMEMBERED:
            self._found.clear()
        self._found[host, port] = found
        return found


@asynccontextmanager
async def within(ends: float, otherwise: str) -> AsyncIterator[None]:
    """A deadline (the loop's time) for one step; a PathError with this sentence if it passes."""
    try:
        async with asyncio.timeout_at(ends):
            yield
    except TimeoutError:
        raise PathError(otherwise) from None
