"""What the connections of an HTTP listener share: how many there may be, their deadlines, and how they end together."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from agent.wire.websocket import PATH as TUNNEL_PATH
from relay.gateway.gateway import Gateway
from relay.gateway.http1 import RequestHead

if TYPE_CHECKING:
    from relay.gateway.front import Front


Knock = Callable[[asyncio.Transport, bytes, bytes], None]
"""Gets a transport, the head that asked for the tunnel (with its empty line), and what came behind it."""

_TUNNEL = re.compile(rb"(?:(?i:https?)://[^/?#]+)?" + TUNNEL_PATH.encode() + rb"(?:\?.*)?")


class App(Protocol):
    """One request handed to FastAPI."""

    def feed(self, data: bytes, /) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def shutdown(self) -> None:
        """Say in the answer that it is the connection's last."""

    def connection_lost(self, exc: Exception | None, /) -> None: ...


class Hall:
    """What the connections of a listener share. `start_app` hands a request's head over to FastAPI."""

    def __init__(
        self,
        gateway: Gateway,
        start_app: Callable[[Front, asyncio.Transport, bytes], App],
        *,
        connections: int,
        knock: Knock | None = None,
    ) -> None:
        """`knock` takes over the connections of agents that ask for a tunnel; None: there are none here."""
        self.gateway = gateway
        self._knock = knock
        self.start_app = start_app
        self.limit = connections
        self.fronts: set[Front] = set()
        self.draining = False
        self._empty = asyncio.Event()

    def is_tunnel(self, request: RequestHead) -> bool:
        """Whether the request leaves HTTP: an agent asks for its WebSocket."""
        asked = request.method == b"GET" and not request.has_body
        return asked and self._knock is not None and _TUNNEL.fullmatch(request.target) is not None

    def let_through(self, front: Front, transport: asyncio.Transport, head: bytes, rest: bytes) -> None:
        """Part with the connection: it is a tunnel's from now on, and nothing of it comes to its front any more."""
        self.leave(front)
        if self._knock:
            self._knock(transport, head, rest)

    def sweep(self) -> None:
        """Enforce the deadlines of all connections; called once a second."""
        now = self.gateway.clock()
        for front in tuple(self.fronts):
            front.sweep(now)

    def drain(self) -> None:
        """Take no further request on any connection; those under way go on to their end."""
        self.draining = self.gateway.draining = True
        for front in tuple(self.fronts):
            front.drain()
        self._note_empty()

    async def emptied(self) -> None:
        """Wait until the last connection of a draining hall is gone."""
        await self._empty.wait()

    def leave(self, front: Front) -> None:
        self.fronts.discard(front)
        self._note_empty()

    def _note_empty(self) -> None:
        if self.draining and not self.fronts:
            self._empty.set()
