"""A TLS client that shows what libraries hide: half-closes, ends without close_notify, and bytes it does not read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

from tests.relay.gateway.message import Message, read_message
from tests.relay.gateway.scene import DEADLINE, request
from tests.relay.listening.conftest import NAME


class RaggedEndError(Exception):
    """The connection ended without close_notify; what came before is in `got`."""

    def __init__(self, got: bytes) -> None:
        super().__init__(f"{len(got)} bytes, and no orderly end")
        self.got = got


class TlsClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
        self.reader, self.writer = reader, writer
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=NAME)
        self._held = bytearray()

    async def shake_hands(self) -> None:
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    self.tls.do_handshake()
                except ssl.SSLWantReadError:
                    self._flush()
                    await self._more()
                else:
                    self._flush()
                    return

    @property
    def certificate(self) -> bytes:
        return self.tls.getpeercert(binary_form=True) or b""

    def send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self.tls.write(rest) :]
        self._flush()

    def half_close(self) -> None:
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        self._flush()

    async def some(self) -> bytes:
        """The next bytes; empty at an orderly end. Raises RaggedEndError."""
        while True:
            try:
                return self.tls.read(1 << 20)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                if not await self._more():
                    raise RaggedEndError(b"") from None

    async def answer(self) -> Message:
        async with asyncio.timeout(DEADLINE):
            message = await read_message(self.some, self._held)
        assert message, "the connection ended without an answer"
        return message

    async def ask(self, *fields: str, **how: str | bytes) -> Message:
        self.send(request(*fields, **how))  # type: ignore[arg-type]  # as request has them
        return await self.answer()

    async def rest(self) -> bytes:
        """All up to an orderly end. Raises RaggedEndError."""
        got = bytes(self._held)
        self._held.clear()
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    data = await self.some()
                except RaggedEndError:
                    raise RaggedEndError(got) from None
                if not data:
                    return got
                got += data

    async def _more(self) -> bool:
        try:
            data = await self.reader.read(1 << 16)
        except ConnectionError:
            data = b""
        self._in.write(data)
        return bool(data)

    def _flush(self) -> None:
        self.writer.write(self._out.read())


@contextlib.asynccontextmanager
async def dialled(
    port: int, context: ssl.SSLContext, *, before: bytes = b"", receive_buffer: int | None = None
) -> AsyncIterator[TlsClient]:
    """A client that has not shaken hands yet; `before` goes out ahead of TLS."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 16)
    writer.write(before)
    try:
        yield TlsClient(reader, writer, context)
    finally:
        writer.transport.abort()
