"""How many may pass in a second, and when those are to come back who are too many."""

from __future__ import annotations

import math
from collections.abc import Callable

COME_BACK_MOST = 60
"""Longest time that anybody is told to stay away, in seconds: whoever waits longer is forgotten by its merchant."""


class Pace:
    """So many a second, so many at once. Pure; `clock` is monotonic seconds.

    The rest are given different times to come back at, one after the other at the same pace, so that the second rush is
    none.
    """

    def __init__(self, clock: Callable[[], float], *, a_second: float, at_once: int) -> None:
        self._clock = clock
        self._apart = 1 / a_second
        self._at_once = at_once
        self._paid_until = self._told_until = clock()

    def come(self) -> int:
        """0: pass. Otherwise seconds after which to come back."""
        now = self._clock()
        self._paid_until = max(self._paid_until, now)
        if self._paid_until - now <= self._apart * (self._at_once - 1):
            self._paid_until += self._apart
            return 0
        self._told_until = max(self._told_until, now) + self._apart
        return min(COME_BACK_MOST, math.ceil(self._told_until - now))
