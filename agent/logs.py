"""How the agent speaks while it runs: readable on a terminal, JSON elsewhere; text from outside cut and escaped."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

REPEAT_SECONDS = 60.0
"""The same trouble is told once in this time."""
TROUBLES = 256
"""Troubles remembered at once; the oldest is forgotten first."""


def printable(text: str, limit: int = 120) -> str:
    """Text from outside as it may stand in a log or a message: cut, and nothing in it that a terminal would obey."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cut)


class Sparingly:
    """Decides whether a trouble that repeats itself is told again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[Hashable, float] = {}

    def __call__(self, trouble: Hashable) -> bool:
        now = self._clock()
        if now - self._told.get(trouble, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        self._told.pop(trouble, None)
        if len(self._told) >= TROUBLES:
            del self._told[next(iter(self._told))]
        self._told[trouble] = now
        return True
