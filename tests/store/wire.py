"""How requests are read off a connection: Apache's limits on heads, and the two framings of bodies."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.store.messages import Request, Seen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

REQUEST_LINE = 8190  # bytes, Apache's LimitRequestLine
FIELD_LINE = 8190  # bytes, LimitRequestFieldSize
FIELDS = 100  # LimitRequestFields
HEAD_BUFFER = 1 << 20  # bytes: 100 fields of 8,190 and the line fit
HEAD_SECONDS = 20.0  # mod_reqtimeout, header=20
BODY_SECONDS = 60.0  # without a byte of the body
ANY_LENGTH = -1  # of a body that is hashed and dropped

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST = re.compile(rb"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ ]+) HTTP/(1\.[01])")


class BadRequest(Exception):  # noqa: N818 - the name of the answer
    """The head cannot be served; `status` is Apache's answer."""

    def __init__(self, status: int, line: bytes = b"") -> None:
        super().__init__(status)
        self.status = status
        self.line = line


@dataclass(slots=True)
class Head:
    """A request line with its header fields."""

    method: str
    target: str
    version: Literal["1.0", "1.1"]
    fields: list[tuple[bytes, bytes]]
    line: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name]

    def wants_close(self) -> bool:
        options = b",".join(self.values(b"connection")).lower()
        return b"close" in options or (self.version == "1.0" and b"keep-alive" not in options)

    def asks_keepalive(self) -> bool:
        return b"keep-alive" in b",".join(self.values(b"connection")).lower()


async def read_head(reader: asyncio.StreamReader, idle_seconds: float) -> Head | None:
    """The next head; None when the client has gone or kept silent for `idle_seconds`."""
    try:
        async with asyncio.timeout(idle_seconds):
            first = await reader.read(1)
            while first in (b"\r", b"\n"):
                first = await reader.read(1)
        if not first:
            return None
        async with asyncio.timeout(HEAD_SECONDS):
            rest = await reader.readuntil(b"\r\n\r\n")
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        return None
    except asyncio.LimitOverrunError:
        raise BadRequest(414) from None
    return parse_head((first + rest)[:-4])


def parse_head(data: bytes) -> Head:
    """Split a head; BadRequest 414 for a long request line, 400 for anything malformed."""
    line, *lines = data.split(b"\r\n")
    if len(line) > REQUEST_LINE:
        raise BadRequest(414, line)
    found = _LINE.fullmatch(line)
    if not found or b"\n" in data.replace(b"\r\n", b"") or len(lines) > FIELDS:
        raise BadRequest(400, line)
    fields = [_field(text, line) for text in lines]
    head = Head(found[1].decode(), found[2].decode("latin-1"), "1.1" if found[3] == b"1.1" else "1.0", fields, line)
    hosts = head.values(b"host")
    if len(hosts) != 1 and (head.version == "1.1" or hosts):
        raise BadRequest(400, line)
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise BadRequest(400, line)
    return head


def _field(text: bytes, line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(b":")
    if not colon or len(text) > FIELD_LINE or not _TOKEN.fullmatch(name):
        raise BadRequest(400, line)
    return name, value.strip(b" \t")


async def read_body(
    reader: asyncio.StreamReader,
    head: Head,
    seen: Seen,
    *,
    keep: int,
    say_continue: Callable[[], Awaitable[None]],
) -> bytes:
    """Read the body to its end, up to `keep` bytes of it into memory; its length and hash go into `seen`.

    BadRequest 413 when a body that must be kept is longer; 400 for impossible framing. `keep` may
    be ANY_LENGTH: nothing is kept.
    """
    length = _declared_length(head)
    if length is None:
        pieces = _chunked(reader)
    else:
        if 0 <= keep < length:
            raise BadRequest(413, head.line)
        pieces = _counted(reader, length)
    if length != 0 and b"100-continue" in b",".join(head.values(b"expect")).lower():
        await say_continue()
    digest, kept, total = hashlib.sha256(), bytearray(), 0
    async for piece in pieces:
        digest.update(piece)
        total += len(piece)
        if 0 <= keep < total:
            raise BadRequest(413, head.line)
        if keep >= 0:
            kept += piece
    seen.body_length, seen.body_sha256 = total, digest.hexdigest()
    return bytes(kept)


def request_of(head: Head, seen: Seen) -> Request:
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in head.fields}
    return Request(head.method, head.target, head.version, headers, seen)


def seen_of(head: Head, connection: int) -> Seen:
    return Seen(time.time(), connection, head.line, head.fields)


def _declared_length(head: Head) -> int | None:
    """The number of bytes, or None for a chunked body."""
    codings, lengths = head.values(b"transfer-encoding"), head.values(b"content-length")
    if codings:
        if lengths or b",".join(codings).strip().lower() != b"chunked":
            raise BadRequest(400, head.line)
        return None
    if not lengths:
        return 0
    if len(set(lengths)) != 1 or not lengths[0].isdigit() or len(lengths[0]) > 18:
        raise BadRequest(400, head.line)
    return int(lengths[0])


async def _counted(reader: asyncio.StreamReader, length: int) -> AsyncIterator[bytes]:
    while length:
        async with asyncio.timeout(BODY_SECONDS):
            piece = await reader.read(min(length, 1 << 16))
        if not piece:
            raise asyncio.IncompleteReadError(b"", length)
        length -= len(piece)
        yield piece


async def _chunked(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        size = await _chunk_size(reader)
        if size == 0:
            break
        async for piece in _counted(reader, size):
            yield piece
        if await reader.readexactly(2) != b"\r\n":
            raise BadRequest(400)
    while await _line(reader):
        pass


async def _chunk_size(reader: asyncio.StreamReader) -> int:
    text = (await _line(reader)).partition(b";")[0].strip()
    if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", text):
        raise BadRequest(400)
    return int(text, 16)


async def _line(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(BODY_SECONDS):
        return (await reader.readuntil(b"\r\n"))[:-2]
