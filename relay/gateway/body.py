"""Where a message body ends: counters and a strict reader of chunks (RFC 9112 §6, §7), bytes passed on as they came."""

from __future__ import annotations

import re
from typing import Protocol

from relay.gateway.http1 import MalformedError, RequestHead

CHUNK_LINE_BYTES = 300
TRAILER_BYTES = 8 * 1024

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[^\x00-\x08\x0a-\x1f\x7f]{0,256})?\r\n")
_CHUNK_LINE_BEGUN = re.compile(rb"(?:[0-9A-Fa-f]{1,15}(?:;[^\x00-\x08\x0a-\x1f\x7f]{0,256})?\r?)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n")


class Body(Protocol):
    """Is fed what follows a head, until it has `ended`."""

    ended: bool

    def take(self, data: bytes, /) -> tuple[bytes, bytes]:
        """(bytes of the body to pass on, bytes that follow it). Raises MalformedError."""


def body_of(request: RequestHead) -> Body | None:
    """The body that follows a request's head, if there is one."""
    if request.fields.chunked:
        return Chunked()
    return Counted(request.fields.length) if request.fields.length else None


class Counted:
    """A body of known length."""

    __slots__ = ("_left", "ended")

    def __init__(self, length: int) -> None:
        self._left = length
        self.ended = length == 0

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        if len(data) < self._left:
            self._left -= len(data)
            return data, b""
        end, self._left, self.ended = self._left, 0, True
        return (data, b"") if len(data) == end else (data[:end], data[end:])


class UntilClose:
    """A body that lasts until its sender closes."""

    __slots__ = ("ended",)

    def __init__(self) -> None:
        self.ended = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""


class Chunked:
    """Chunks, passed on with their sizes as they came (`plain`: only their data, for HTTP/1.0).

    Extensions and trailers end here (RFC 9112 §7.1.1, RFC 9110 §6.5.1). The last chunk is passed on only when the
    whole body has come, so that what was cut never looks complete.
    """

    __slots__ = ("_held", "_left", "_plain", "_step", "_trailer_bytes", "ended")

    def __init__(self, *, plain: bool = False) -> None:
        self.ended = False
        self._plain = plain
        self._held = b""
        self._left = 0
        self._trailer_bytes = 0
        self._step = self._size

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        data = self._held + data if self._held else data
        passed: list[bytes] = []
        position = 0
        while not self.ended:
            reached = self._step(data, position, passed)
            if reached is None:
                break
            position = reached
        rest = data[position:]
        self._held = b"" if self.ended else rest
        return b"".join(passed), rest if self.ended else b""

    def _size(self, data: bytes, position: int, passed: list[bytes]) -> int | None:
        match = _CHUNK_LINE.match(data, position)
        if not match:
            _expect_more(data[position:])
            return None
        self._left = int(match[1], 16)
        if self._left:
            self._step = self._data
            if not self._plain:
                passed.append(match[1] + b"\r\n")
        else:
            self._step = self._trailer
        return match.end()

    def _data(self, data: bytes, position: int, passed: list[bytes]) -> int | None:
        piece = data[position : position + self._left]
        if not piece:
            return None
        passed.append(piece)
        self._left -= len(piece)
        if not self._left:
            self._step = self._data_end
        return position + len(piece)

    def _data_end(self, data: bytes, position: int, passed: list[bytes]) -> int | None:
        end = data[position : position + 2]
        if not b"\r\n".startswith(end):
            raise MalformedError("chunk data is not followed by CRLF")
        if len(end) < 2:
            return None
        if not self._plain:
            passed.append(end)
        self._step = self._size
        return position + 2

    def _trailer(self, data: bytes, position: int, passed: list[bytes]) -> int | None:
        if data.startswith(b"\r\n", position):
            if not self._plain:
                passed.append(b"0\r\n\r\n")
            self.ended = True
            return position + 2
        match = _TRAILER.match(data, position)
        if not match and b"\n" in data[position:]:
            raise MalformedError("a trailer line is not `name: value` ending in CRLF")
        if not match and len(data) - position > TRAILER_BYTES:
            raise MalformedError("the trailer section is too long", 431)
        if not match:
            return None
        self._trailer_bytes += match.end() - position
        if self._trailer_bytes > TRAILER_BYTES:
            raise MalformedError("the trailer section is too long", 431)
        return match.end()


def _expect_more(rest: bytes) -> None:
    """Tell a size line that has not all come from one that is wrong, as early as can be told."""
    if len(rest) > CHUNK_LINE_BYTES or not _CHUNK_LINE_BEGUN.fullmatch(rest):
        raise MalformedError("a chunk's size line is not `hex[;extension]` ending in CRLF (RFC 9112 §7.1)")
