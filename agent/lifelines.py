"""Some timer always leads back: each wait of a recovery loop has a deadline, and the watchdog sees that it is armed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

SLACK_SECONDS = 10.0
"""How late a deadline may be noticed on a busy machine before its loop counts as stuck."""


class Lifelines:
    """The recovery loops by name, each with the moment by which it will have been heard of again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}

    @asynccontextmanager
    async def within(self, name: str, seconds: float) -> AsyncIterator[None]:
        """A wait of the loop `name`, ended by TimeoutError after `seconds`."""
        self._due[name] = self._clock() + seconds + SLACK_SECONDS
        try:
            async with asyncio.timeout(seconds):
                yield
        finally:
            self._due[name] = self._clock() + SLACK_SECONDS

    async def rest(self, name: str, seconds: float, *waits: asyncio.Future[Any]) -> None:
        """A wait of the loop `name` until one of these is done or the time is over; then they are cancelled.

        Nothing is raised by a machine that was suspended meanwhile: the time is over, and then some.
        """
        self._due[name] = self._clock() + seconds + SLACK_SECONDS
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            self._due[name] = self._clock() + SLACK_SECONDS

    def end(self, name: str) -> None:
        """The loop is over, as it should be."""
        self._due.pop(name, None)

    def overdue(self) -> list[str]:
        """The loops that should have been heard of by now."""
        now = self._clock()
        return [name for name, due in self._due.items() if due < now]
