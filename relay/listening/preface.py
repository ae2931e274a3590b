"""Before a connection's protocol: the PROXY header that a trusted proxy may send, and the address that then counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from relay.listening.caller import Trusted, spelled
from relay.listening.proxy_protocol import NO_HEADER, BadHeaderError, read_header
from relay.listening.waiting import Waiting

REMOTE = "postern_remote"
"""Extra info of a transport: the peer's address as it counts, where that is not the socket's."""
PATIENCE_SECONDS = 3.0
"""For a header, from the connection's beginning: a proxy sends it at once. Silence is no header: some clients of SSH
wait for the server's first word."""

Protocols = Callable[[], asyncio.Protocol]


class Prefaces:
    """Makes the protocol of each new connection of a listener. In `waiting` are those that may still show a header."""

    def __init__(self, trusted: Trusted, waiting: Waiting) -> None:
        self.trusted = trusted
        self.waiting = waiting
        self.refused = 0
        """Headers that were none."""

    def before(self, inner: Protocols) -> Protocols:
        """`inner`, after what a trusted proxy has to say."""
        return (lambda: Preface(self, inner)) if self.trusted else inner


class Preface(asyncio.Protocol):
    """One connection's first bytes. From anybody but a trusted proxy they are not looked at."""

    def __init__(self, prefaces: Prefaces, inner: Protocols) -> None:
        self._prefaces = prefaces
        self._inner = inner
        self._said = b""
        self._alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        peer = transport.get_extra_info("peername")
        if not peer or not self._prefaces.trusted.holds(str(peer[0])):
            self._enter(NO_HEADER.remote)
            return
        self._prefaces.waiting.add(self)
        self._alarm = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._late)

    def data_received(self, data: bytes) -> None:
        self._said += data
        try:
            header = read_header(self._said)
        except BadHeaderError:
            self._prefaces.refused += 1
            self._transport.abort()
            return
        if header:
            self._said = self._said[header.size :]
            self._enter(header.remote)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._end()

    def _late(self) -> None:
        if self._said:
            self._prefaces.refused += 1
            self._transport.abort()
        else:
            self._enter(NO_HEADER.remote)

    def _enter(self, remote: str | None) -> None:
        self._end()
        protocol = self._inner()
        self._transport.set_protocol(protocol)
        seen = cast("asyncio.Transport", _SpokenFor(self._transport, remote)) if remote else self._transport
        protocol.connection_made(seen)
        if self._said and not self._transport.is_closing():
            protocol.data_received(self._said)

    def _end(self) -> None:
        self._prefaces.waiting.discard(self)
        if self._alarm:
            self._alarm.cancel()


class _SpokenFor:
    """A transport whose peer has another address than its socket; all else is the transport's own."""

    def __init__(self, below: asyncio.Transport, remote: str) -> None:
        self._below = below
        self._remote = spelled(remote)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._remote if name == REMOTE else self._below.get_extra_info(name, default)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)
