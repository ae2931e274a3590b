"""An SSH byte stream as WebSocket messages (RFC 6455): frames, pings, the closing handshake, pressure both ways."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Opcode
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

PATH = "/v1/agent/tunnel"
SUBPROTOCOL = Subprotocol("postern.ssh.v1")
MESSAGE_BYTES = 64 * 1024
"""Longest message, either way; a message that comes in fragments is as long as they are together."""
CLOSE_SECONDS = 2.0
"""How long the other end may take for its part of the closing handshake, what is still unsent included."""
PINGS_PER_SECOND = 16
"""Whoever sends more is cut: a ping costs its sender six bytes, and us a frame read and one written."""
SLICE_BYTES = 16 * 1024
"""What is parsed at once: some 3,000 frames, were they all empty."""

_log = logging.getLogger("postern.websocket")
_log.setLevel(logging.ERROR)  # the library tells of every connection


def server_frames() -> ServerProtocol:
    """The relay's side of a connection that has sent nothing yet."""
    return ServerProtocol(subprotocols=[SUBPROTOCOL], max_size=MESSAGE_BYTES, logger=_log)


def client_frames(url: str) -> ClientProtocol:
    """The agent's side. Raises websockets.exceptions.InvalidURI."""
    return ClientProtocol(parse_uri(url), subprotocols=[SUBPROTOCOL], max_size=MESSAGE_BYTES, logger=_log)


class WebSocket(asyncio.Transport, asyncio.Protocol):
    """The transport that SSH writes to, and the protocol of the transport `below`, once both ends have agreed.

    Holds nothing back but the frame that is not whole yet: what is unsent lies in the transport below, which says so
    to the protocol above by `pause_writing`.
    """

    def __init__(self, frames: Protocol, below: asyncio.Transport, extra: Mapping[str, object] | None = None) -> None:
        super().__init__(dict(extra or {}))
        self._frames = frames
        self._below = below
        self._loop = asyncio.get_running_loop()
        self._above: asyncio.Protocol = asyncio.Protocol()
        self._closing = False
        self._full = False
        self._pong: bytes | None = None
        self._second = 0.0
        self._pings = 0
        self._deadline: asyncio.TimerHandle | None = None

    def begin(self, waiting: bytes = b"") -> None:
        """Listen, once the protocol above is set; `waiting` has arrived after the upgrade already."""
        self._below.set_protocol(self)
        if waiting:
            self.data_received(waiting)

    # what the protocol above calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        if len(data) <= MESSAGE_BYTES:
            self._frames.send_binary(data)
        else:
            view = memoryview(data)
            for start in range(0, len(view), MESSAGE_BYTES):
                self._frames.send_binary(view[start : start + MESSAGE_BYTES])
        self._send()

    def close(self) -> None:
        """Send what is unsent and part by the closing handshake, within CLOSE_SECONDS."""
        if self._closing:
            return
        if self._frames.state is State.OPEN:
            self._frames.send_close(CloseCode.NORMAL_CLOSURE)
        self._part()

    def abort(self) -> None:
        self._closing = True
        self._below.abort()

    def is_closing(self) -> bool:
        return self._closing or self._below.is_closing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        if not isinstance(protocol, asyncio.Protocol):
            raise TypeError("a WebSocket carries a stream")
        self._above = protocol

    def get_protocol(self) -> asyncio.Protocol:
        return self._above

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        own = super().get_extra_info(name)
        return self._below.get_extra_info(name, default) if own is None else own

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._below.set_write_buffer_limits(high=high, low=low)

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size()

    def pause_reading(self) -> None:
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._below.resume_reading()

    def is_reading(self) -> bool:
        return self._below.is_reading()

    def can_write_eof(self) -> bool:
        """A WebSocket ends in both directions at once (RFC 6455 §7.1)."""
        return False

    # what the transport below calls

    def data_received(self, data: bytes) -> None:
        if len(data) <= SLICE_BYTES:
            self._take(data)
            return
        for start in range(0, len(data), SLICE_BYTES):
            self._take(data[start : start + SLICE_BYTES])

    def eof_received(self) -> None:
        """The other end has gone without a closing handshake."""
        self._frames.receive_eof()
        if not self._closing:
            self._closing = True
            self._above.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        if self._deadline:
            self._deadline.cancel()
        self._above.connection_lost(exc)

    def pause_writing(self) -> None:
        self._full = True
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._full = False
        pong, self._pong = self._pong, None
        if pong and not self._closing:
            self._below.write(pong)
        self._above.resume_writing()

    def _take(self, data: bytes) -> None:
        if self._frames.reader.eof:
            return
        self._frames.receive_data(data)
        for frame in self._frames.events_received():
            if self._closing:
                break
            self._hear(frame)
        if self._frames.close_expected() and not self._closing:
            self._part()
            self._above.eof_received()
        else:
            self._answer()

    def _hear(self, frame: Any) -> None:
        if frame.opcode is Opcode.BINARY or frame.opcode is Opcode.CONT:
            if frame.data:
                self._above.data_received(frame.data)
        elif frame.opcode is Opcode.TEXT:
            self._fail(CloseCode.UNSUPPORTED_DATA, "binary messages only")
        elif frame.opcode is Opcode.PING and self._too_many_pings():
            self._fail(CloseCode.POLICY_VIOLATION, "too many pings")

    def _too_many_pings(self) -> bool:
        now = self._loop.time()
        if now - self._second >= 1:
            self._second, self._pings = now, 0
        self._pings += 1
        return self._pings > PINGS_PER_SECOND

    def _fail(self, code: CloseCode, reason: str) -> None:
        self._frames.data_to_send()  # pongs, which nobody waits for any more
        self._frames.fail(code, reason)
        self._part()
        self._above.eof_received()

    def _answer(self) -> None:
        """Send the pongs; of those for which there is no room only the last (RFC 6455 §5.5.3)."""
        if self._full and not self._closing:
            self._pong = next(iter(self._frames.data_to_send()[-1:]), self._pong)
        else:
            self._send()

    def _part(self) -> None:
        self._closing = True
        self._deadline = self._deadline or self._loop.call_later(CLOSE_SECONDS, self._below.abort)
        self._send()

    def _send(self) -> None:
        """Write what the frames have made. They end with nothing where the connection is to be closed (§7.1.1)."""
        for part in self._frames.data_to_send():
            if part:
                self._below.write(part)
            elif self._frames.side is Side.SERVER or self._frames.state is State.CLOSED:
                self._below.close()
