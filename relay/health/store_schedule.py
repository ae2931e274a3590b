"""When the relay looks at a store: spread out, sooner where something fails, never more than so many a second.

Pure: times are monotonic seconds, `chance` a number between 0 and 1.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

BARE_SECONDS = 60.0
"""Between two looks without the key."""
KEYED_SECONDS = 900.0
"""Between two with it."""
CONFIRM_SECONDS = 10.0
"""After the first look that failed: one failure is no news."""
BROKEN_SECONDS = 30.0
"""While a store fails: who mends it wants to see that it is mended."""
REFUSED_SECONDS = 120.0
"""While a key is refused, in the same way."""
AGENT_SECONDS = 6.0
"""An agent's stores share ten looks a minute."""
FIRST_SECONDS = 1.0
SPREAD = 0.2
"""By so much waits vary, so that stores which came together are not looked at together."""
A_SECOND = 50.0
"""Looks of this node; with more stores than this leaves time for, all wait longer."""

T = TypeVar("T", bound=Hashable)


class Schedule(Generic[T]):
    """What is due next, each thing at one time alone."""

    def __init__(self, now: float) -> None:
        self._at: dict[T, float] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = itertools.count()
        self._allowed = 0.0
        self._asked_at = now

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._at))

    def __contains__(self, thing: T) -> bool:
        return thing in self._at

    def __len__(self) -> int:
        return len(self._at)

    def put(self, thing: T, at: float) -> None:
        """Now it is due then, whatever was said before."""
        self._at[thing] = at
        heapq.heappush(self._heap, (at, next(self._numbers), thing))
        if len(self._heap) > 4 * len(self._at) + 64:
            self._heap = [(at, next(self._numbers), each) for each, at in self._at.items()]
            heapq.heapify(self._heap)

    def drop(self, thing: T) -> None:
        self._at.pop(thing, None)

    def take(self, now: float, most: int) -> list[T]:
        """What is due, the longest overdue first: at most so many, and so many a second. It must be put back."""
        self._allowed = min(A_SECOND, self._allowed + (now - self._asked_at) * A_SECOND)
        self._asked_at = now
        taken: list[T] = []
        while self._heap and self._heap[0][0] <= now and len(taken) < min(most, int(self._allowed)):
            at, _, thing = heapq.heappop(self._heap)
            if self._at.get(thing) == at:
                del self._at[thing]
                taken.append(thing)
        self._allowed -= len(taken)
        return taken


def varied(seconds: float, chance: Callable[[], float]) -> float:
    return seconds * (1 - SPREAD + 2 * SPREAD * chance())


def bare_wait(failures: int, siblings: int) -> float:
    """Seconds to the next look at a store of an agent with so many, after so many failures in a row."""
    wanted = {0: BARE_SECONDS, 1: CONFIRM_SECONDS}.get(failures, BROKEN_SECONDS)
    return max(wanted, AGENT_SECONDS * siblings if failures != 1 else 0.0)
