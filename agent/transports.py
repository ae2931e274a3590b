"""The ways out to the relay: for each kind of endpoint a dialer that gives SSH a transport."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

from agent.dialling import attempts, connect
from agent.reconnect import ALONE_SECONDS
from agent.resolver import LOOKUP_SECONDS, Address, Resolver
from agent.wire.carrier import Carrier, Dialled
from agent.wire.enrolment import Endpoint
from agent.wire.limits import DIAL_SECONDS

IMPATIENT_LOOKUP_SECONDS = 2.0
"""How long a lookup is waited for where an earlier answer is remembered."""
REMEMBERED = 64
"""Names whose addresses are remembered."""


class Dialer(Protocol):
    """One way to reach an endpoint, such as plain TCP or a WebSocket through a proxy."""

    async def dial(self, endpoint: Endpoint) -> Dialled:
        """Connect within DIAL_SECONDS. Raises OSError (TimeoutError included)."""


class TcpDialer:
    """Plain TCP, over both families. A name that no longer resolves is dialled where it was found before."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._found: dict[tuple[str, int], list[Address]] = {}

    async def dial(self, endpoint: Endpoint) -> Dialled:
        addresses = await self._resolve(endpoint.host, endpoint.port)
        rounds = int(DIAL_SECONDS / ALONE_SECONDS)
        sock = await connect(attempts(addresses, rounds=rounds, pause=ALONE_SECONDS), DIAL_SECONDS)
        return over(sock)

    async def _resolve(self, host: str, port: int) -> list[Address]:
        before = self._found.get((host, port))
        try:
            found = await self._resolver.resolve(host, port, IMPATIENT_LOOKUP_SECONDS if before else LOOKUP_SECONDS)
        except OSError:
            if before:
                return before
            raise
        if len(self._found) >= REMEMBERED:
            self._found.clear()
        self._found[host, port] = found
        return found


def over(sock: socket.socket) -> Dialled:
    """A connected socket as SSH takes it."""

    async def start(carrier: Carrier) -> asyncio.BaseTransport:
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: carrier, sock=sock)
        return transport

    return Dialled(start)
