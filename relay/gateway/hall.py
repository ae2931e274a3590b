"""What the connections of an HTTP listener share: how many there may be, their deadlines, and how they end together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from relay.gateway.gateway import Gateway

if TYPE_CHECKING:
    from relay.gateway.front import Front


class App(Protocol):
    """One request handed to FastAPI."""

    def feed(self, data: bytes, /) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def connection_lost(self, exc: Exception | None, /) -> None: ...


class Hall:
    """What the connections of a listener share. `start_app` hands a request's head over to FastAPI."""

    def __init__(
        self, gateway: Gateway, start_app: Callable[[Front, asyncio.Transport, bytes], App], *, connections: int
    ) -> None:
        self.gateway = gateway
        self.start_app = start_app
        self.limit = connections
        self.fronts: set[Front] = set()
        self.draining = False
        self._empty = asyncio.Event()

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
