"""Some timer always leads back: each wait of a recovery loop has a deadline, and the watchdog sees that it is armed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

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
        async with asyncio.timeout(seconds):
            yield
        self._due[name] = self._clock() + SLACK_SECONDS

    def end(self, name: str) -> None:
        """The loop is over, as it should be."""
        self._due.pop(name, None)

    def overdue(self) -> list[str]:
        """The loops that should have been heard of by now."""
        now = self._clock()
        return [name for name, due in self._due.items() if due < now]
