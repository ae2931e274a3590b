"""How late the event loop is: whatever it does for long, everybody else waits for."""

from __future__ import annotations

import asyncio
import bisect

LOOK_SECONDS = 0.25
BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""In seconds."""


class LoopLag:
    """A histogram of how much later than asked a timer rang."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._counts = [0] * (len(BOUNDS) + 1)

    def note(self, late: float) -> None:
        self.seconds += late
        self._counts[bisect.bisect_left(BOUNDS, late)] += 1

    def within(self) -> list[int]:
        """How many were at most as late as each of BOUNDS, and how many there were."""
        counted, found = 0, []
        for number in self._counts:
            counted += number
            found.append(counted)
        return found

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(LOOK_SECONDS)
            self.note(max(0.0, loop.time() - began - LOOK_SECONDS))
