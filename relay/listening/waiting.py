"""Connections that were accepted and have not come through yet: before a PROXY header, or in a TLS handshake."""

from __future__ import annotations

import asyncio


class Waiting:
    """Who is in one may leave at any moment; each has a deadline of its own."""

    def __init__(self) -> None:
        self._who: set[object] = set()
        self._left = asyncio.Event()

    def __len__(self) -> int:
        return len(self._who)

    def add(self, one: object) -> None:
        self._who.add(one)

    def discard(self, one: object) -> None:
        self._who.discard(one)
        self._left.set()

    async def emptied(self) -> None:
        """Wait until nobody is left."""
        while self._who:
            self._left.clear()
            await self._left.wait()
