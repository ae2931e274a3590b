"""TLS on a connection that was accepted: a transport for the protocol above it, no less than TCP's own.

asyncio's own layer cannot half-close, so that an early answer dies with the upload that it refuses; it keeps up to half
a megabyte of each slow reader beside what TCP keeps, and does not see the bytes that a PROXY header left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, cast

import structlog

from relay.listening.waiting import Waiting

log = structlog.get_logger()

HANDSHAKE_SECONDS = 10.0
RECORD_BYTES = 16 * 1024
"""Largest record (RFC 8446 §5.1); OpenSSL takes no more at once."""
TOLD_SECONDS = 60.0
"""How often the log says how many handshakes have failed."""
_HANDSHAKE_RECORD = 0x16
_NOT_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 38\r\n\r\n"
    b"This port speaks HTTPS: use https://.\n"
)


class Handshakes:
    """Those under way on a node, and how many of them failed. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float], waiting: Waiting, *, most: int) -> None:
        self.failed = 0
        self._waiting = waiting
        self._clock = clock
        self._most = most
        self._untold = 0
        self._told_at = clock()
        self._reason = ""

    def begin(self, one: TlsTransport) -> bool:
        """Whether there is a place; then `end` must follow."""
        if len(self._waiting) >= self._most:
            self.fail("too many at once")
            return False
        self._waiting.add(one)
        return True

    def end(self, one: TlsTransport) -> None:
        self._waiting.discard(one)

    def fail(self, reason: str) -> None:
        self.failed += 1
        self._untold += 1
        self._reason = reason

    def sweep(self) -> None:
        """Say what has failed, if something has and it was not said lately."""
        if self._untold and self._clock() - self._told_at > TOLD_SECONDS:
            log.info("TLS handshakes failed", count=self._untold, last=self._reason)
            self._untold, self._told_at = 0, self._clock()


class TlsTransport(asyncio.Protocol, asyncio.Transport):
    """Below it a TCP connection; above it a protocol, made when the handshake is done.

    The write buffer is TCP's own: what is written is encrypted at once. `write_eof` sends close_notify and TCP's end;
    what still comes after it is read away. An end without close_notify is an end in the middle (RFC 8446 §6.1).
    """

    def __init__(self, context: ssl.SSLContext, handshakes: Handshakes, inner: Callable[[], asyncio.Protocol]) -> None:
        super().__init__()
        self._context = context
        self._handshakes = handshakes
        self._inner = inner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._protocol: asyncio.Protocol | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._full = False
        self._closing = False
        self._wrote_end = False
        self._read_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        if self._handshakes.begin(self):
            self._deadline = asyncio.get_running_loop().call_later(HANDSHAKE_SECONDS, self._late)
        else:
            self._below.abort()

    def data_received(self, data: bytes) -> None:
        if self._wrote_end or self._read_end or self._closing:
            return
        if self._tls is None:
            if data[0] != _HANDSHAKE_RECORD:
                self._refuse_plain()
                return
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(data)
        if self._protocol is None:
            self._shake_hands(self._tls)
        if self._protocol is not None:
            self._read(self._tls, self._protocol)

    def eof_received(self) -> bool:
        return self._read_end or self._wrote_end

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_handshake()
        if self._protocol is not None:
            self._protocol.connection_lost(exc)
        elif self._tls is not None and not self._closing:
            self._handshakes.fail("the client left")
        self._closing = True

    def pause_writing(self) -> None:
        self._full = True
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._full = False
        if self._protocol is not None:
            self._protocol.resume_writing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._tls is None or self._closing or self._wrote_end:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.write(rest[:RECORD_BYTES]) :]
        except ssl.SSLError:
            self.abort()
        else:
            self._flush()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._say_end()
        self._below.write_eof()

    def close(self) -> None:
        """The client's own close_notify is not waited for; it need not be (RFC 8446 §6.1)."""
        if not self._closing:
            self._say_end()
            self._closing = True
            self._below.close()

    def abort(self) -> None:
        self._closing = True
        self._below.abort()

    def is_closing(self) -> bool:
        return self._closing or self._below.is_closing()

    def pause_reading(self) -> None:
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._below.resume_reading()

    def is_reading(self) -> bool:
        return self._below.is_reading()

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._below.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._below.set_write_buffer_limits(high, low)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol or self

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        match name:
            case "sslcontext":
                return self._context
            case "ssl_object":
                return self._tls
            case _:
                return self._below.get_extra_info(name, default)

    def _shake_hands(self, tls: ssl.SSLObject) -> None:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._flush()  # the alert that says why
            self._end_handshake()
            self._handshakes.fail(error.reason or "not TLS")
            self._closing = True
            self._below.close()
        else:
            self._flush()
            self._end_handshake()
            self._protocol = self._inner()
            self._protocol.connection_made(self)
            if self._full:
                self._protocol.pause_writing()

    def _read(self, tls: ssl.SSLObject, protocol: asyncio.Protocol) -> None:
        """Decrypt all that has come, and pass it on as one."""
        pieces: list[bytes] = []
        try:
            while piece := tls.read(RECORD_BYTES):
                pieces.append(piece)
            self._read_end = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.abort()
            return
        self._answer_of_tls()
        if pieces and not self._closing:
            protocol.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if self._read_end and not self._closing and not protocol.eof_received():
            self.close()

    def _answer_of_tls(self) -> None:
        """What TLS itself has to say, such as to an update of keys; nobody may ask for that without reading it."""
        if self._outgoing.pending and self._full:
            self.abort()
        else:
            self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._below.write(data)

    def _say_end(self) -> None:
        if self._tls is None or self._protocol is None or self._wrote_end or self._closing:
            return
        self._wrote_end = True
        with contextlib.suppress(ssl.SSLError):  # it wants the client's close_notify, which is not waited for
            self._tls.unwrap()
        self._flush()

    def _refuse_plain(self) -> None:
        self._handshakes.fail("the client does not speak TLS")
        self._closing = True
        self._below.write(_NOT_TLS)
        self._below.close()

    def _late(self) -> None:
        self._handshakes.fail("the client took too long")
        self.abort()

    def _end_handshake(self) -> None:
        self._handshakes.end(self)
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
