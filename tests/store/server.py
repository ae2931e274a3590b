"""The HTTP/1.1 server of the stand-in: connections, keep-alive, and the bytes of an answer as Apache sends them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING, Protocol

from tests.store.apache import error_page
from tests.store.messages import CLOSING, REASONS, Answer, RawAnswer, Request, Seen
from tests.store.wire import ANY_LENGTH, HEAD_BUFFER, BadRequest, Head, read_body, read_head, request_of, seen_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from tests.store.knobs import Knobs

SERVER = "Apache/2.4.71 (Debian)"
WRITE_SECONDS = 300.0  # Apache's Timeout: how long a client may refuse to read
OUTPUT_CHUNK = 8192  # bytes per chunk of a chunked answer
COOKIE_BELOW = 4096  # PHP's output_buffering: a longer answer is out before the cookie is written
COOKIE_SECONDS = 20 * 86400
FIRST_SECONDS = 20.0  # a new connection may be silent for as long as a head may take
LINGER_SECONDS = (
    2.0  # Apache's lingering close: what still arrives is read and dropped, so that no reset kills the answer
)


class Site(Protocol):
    """What answers the requests."""

    knobs: Knobs

    def record(self, seen: Seen) -> None: ...

    def body_limit(self, head: Head) -> int: ...

    async def answer(self, request: Request) -> Answer | RawAnswer: ...


class Server:
    """Listens, and runs one task per connection until `close`."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.accepted = 0  # connections so far
        self.body_bytes = 0  # of answers that were made whole, so far
        self._cookie = f"PrestaShop-{secrets.token_hex(16)}={secrets.token_hex(200)}"
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open_connections(self) -> int:
        return len(self._tasks)

    @property
    def port(self) -> int:
        assert self._listener is not None
        return int(self._listener.sockets[0].getsockname()[1])

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._listener = await asyncio.start_server(
            self._accept, host, port, ssl=tls, limit=HEAD_BUFFER, backlog=1024, reuse_address=True
        )

    async def close(self) -> None:
        """Stop listening and cut what is open."""
        if self._listener:
            self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop_connections(self) -> None:
        """Cut every open connection, as a restart of the web server does."""
        for task in list(self._tasks):
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            await self._converse(reader, writer, self.accepted)
        except (asyncio.CancelledError, ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        idle, served, going_on = FIRST_SECONDS, 0, True
        while going_on:
            head: Head | None = None
            try:
                head = await read_head(reader, idle)
                if head is None:
                    return
                served += 1
                going_on = await self._exchange(reader, writer, head, number, served)
            except BadRequest as bad:
                if head is None:
                    self.site.record(Seen(time(), number, bad.line, [], status=bad.status))
                await self._send(writer, error_page(bad.status), head, keep=False)
                await _linger(reader, writer)
                return
            idle = self.site.knobs.keepalive_timeout

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Head, number: int, served: int
    ) -> bool:
        """Serve one request; True when the connection goes on."""
        seen = seen_of(head, number)
        self.site.record(seen)
        request = request_of(head, seen)
        if self.site.knobs.early_answer:
            keep = await self._answer(reader, writer, head, request, served)
            return keep and await _dropped(reader, head, seen)

        async def say_continue() -> None:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await writer.drain()

        request.body = await read_body(reader, head, seen, keep=self.site.body_limit(head), say_continue=say_continue)
        return await self._answer(reader, writer, head, request, served)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Head, request: Request, served: int
    ) -> bool:
        answer = await self.site.answer(request)
        if isinstance(answer, RawAnswer):
            return await self._send_raw(reader, writer, answer)
        request.seen.status = answer.status
        knobs = self.site.knobs
        last = bool(knobs.keepalive_max) and served >= knobs.keepalive_max
        keep = not (head.wants_close() or answer.status in CLOSING or last)
        keep = await self._send(writer, answer, head, keep=keep)
        return keep and knobs.hang_up != "after_answer"

    async def _send_raw(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: RawAnswer) -> bool:
        writer.write(answer.data)
        if answer.then == "reset":
            writer.transport.abort()
            return False
        await _drained(writer)
        if answer.then == "hold":
            await reader.read()
        return answer.then == "keep"

    async def _send(self, writer: asyncio.StreamWriter, answer: Answer, head: Head | None, *, keep: bool) -> bool:
        """Write an answer; False when the connection has to be closed behind it."""
        bare = (head is not None and head.method == "HEAD") or answer.status == 304
        framing = self._framing(answer, head, bare)
        keep = keep and framing != "until close"
        lines = self._head_lines(answer, head, framing, keep=keep)
        data = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        if bare:
            writer.write(data)
        elif isinstance(answer.body, bytes):
            self.body_bytes += len(answer.body)
            if self.site.knobs.transfer == "cut" and answer.body:
                return await _cut(writer, data, answer.body, framing)
            body = _chunks(answer.body) if framing == "chunked" else answer.body
            writer.write(data + body)
        else:
            writer.write(data)
            await _stream(writer, answer.body, chunked=framing == "chunked")
        await _drained(writer)
        return keep

    def _framing(self, answer: Answer, head: Head | None, bare: bool) -> str:
        if bare:
            return "none"
        if isinstance(answer.body, bytes):
            if answer.framing == "length" or not answer.body or self.site.knobs.transfer == "length":
                return f"Content-Length: {len(answer.body)}"
        elif answer.framing == "length":
            return "none"  # its own Content-Length is among the headers
        return "until close" if head and head.version == "1.0" else "chunked"

    def _head_lines(self, answer: Answer, head: Head | None, framing: str, *, keep: bool) -> list[str]:
        lines = [f"Date: {formatdate(usegmt=True)}", f"Server: {SERVER}"]
        lines += [f"{name}: {value}" for name, value in answer.program]
        if answer.cookie and len(answer.body if isinstance(answer.body, bytes) else b"") < COOKIE_BELOW:
            lines.append(f"Set-Cookie: {self._cookie}; {_cookie_attributes()}")
        if answer.cookie or answer.status in (301, 302):
            lines += ["Vary: Authorization"] if head and head.values(b"authorization") else []
        lines += [f"{name}: {value}" for name, value in answer.server]
        if framing.startswith("Content-Length"):
            lines.append(framing)
        if not keep:
            lines.append("Connection: close")
        elif head and head.asks_keepalive():
            knobs = self.site.knobs
            lines.append(f"Keep-Alive: timeout={knobs.keepalive_timeout:g}, max={knobs.keepalive_max}")
            lines.append("Connection: Keep-Alive")
        if framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        if answer.content_type is not None:
            lines.append(f"Content-Type: {answer.content_type}")
        if self.site.knobs.header_case == "lower":
            lines = [name.lower() + colon + value for name, colon, value in (line.partition(":") for line in lines)]
        return [f"HTTP/1.1 {answer.status} {answer.reason or REASONS.get(answer.status, 'Unknown')}", *lines]


def _cookie_attributes() -> str:
    expires = formatdate(time() + COOKIE_SECONDS, usegmt=True)
    return f"expires={expires}; Max-Age={COOKIE_SECONDS}; path=/; HttpOnly; SameSite=Lax"


def _chunks(body: bytes) -> bytes:
    if len(body) <= OUTPUT_CHUNK:
        return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    pieces = [body[at : at + OUTPUT_CHUNK] for at in range(0, len(body), OUTPUT_CHUNK)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def _stream(writer: asyncio.StreamWriter, pieces: AsyncIterator[bytes], *, chunked: bool) -> None:
    async for piece in pieces:
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        await _drained(writer)
    if chunked:
        writer.write(b"0\r\n\r\n")


async def _cut(writer: asyncio.StreamWriter, data: bytes, body: bytes, framing: str) -> bool:
    """Half of the body under framing that promises all of it, then nothing more."""
    framed = _chunks(body) if framing == "chunked" else body
    writer.write(data + framed[: len(framed) // 2])
    await _drained(writer)
    return False


async def _dropped(reader: asyncio.StreamReader, head: Head, seen: Seen) -> bool:
    """Read the body of a request that has its answer; False when the client waits for a 100 that will not come."""
    if head.values(b"expect"):
        return False

    async def nothing() -> None: ...

    await read_body(reader, head, seen, keep=ANY_LENGTH, say_continue=nothing)
    return True


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if writer.can_write_eof():
        writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while await reader.read(1 << 16):
                pass


async def _drained(writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(WRITE_SECONDS):
        await writer.drain()
