"""When each tunnel of a node is looked at: idle ones now and then, those with something under way again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from agent.wire.limits import KEEPALIVE_SECONDS
from relay.tunnels.tunnel import Tunnel

TICK_SECONDS = 0.25
TURNS = round(KEEPALIVE_SECONDS / TICK_SECONDS)
"""Idle tunnels have their turn in so many groups, one per tick: no moment has more work than another."""
OVERSLEPT_SECONDS = 1.0
"""A tick that comes so late was held up by ourselves, not by the agents."""

log = structlog.get_logger()


class Watch:
    """Looks at all tunnels of a node; `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._groups: list[set[Tunnel]] = [set() for _ in range(TURNS)]
        self._turn = 0
        self._attended: set[Tunnel] = set()
        self._last = clock()

    def add(self, tunnel: Tunnel) -> None:
        """From now on; it is looked at soon, and then with its group."""
        self._groups[self._turn].add(tunnel)
        self._attended.add(tunnel)

    def discard(self, tunnel: Tunnel) -> None:
        self._attended.discard(tunnel)
        for group in self._groups:
            group.discard(tunnel)

    def attend(self, tunnel: Tunnel) -> None:
        """Something is under way in it: look at each tick until it is not."""
        self._attended.add(tunnel)

    async def run(self) -> None:
        """Until cancelled."""
        self._last = self._clock()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.tick()

    def tick(self) -> None:
        now = self._clock()
        if now - self._last > TICK_SECONDS + OVERSLEPT_SECONDS:
            for tunnel in self._attended:
                tunnel.probe.pulse.oversleep(now)
        self._last = now
        self._turn = (self._turn + 1) % TURNS
        self._attended |= self._groups[self._turn]
        for tunnel in tuple(self._attended):
            if not self._look(tunnel, now):
                self._attended.discard(tunnel)

    def _look(self, tunnel: Tunnel, now: float) -> bool:
        try:
            return tunnel.look(now)
        except Exception:
            log.exception("a tunnel could not be looked at", tunnel=repr(tunnel))
            return False
