"""Who may begin a handshake next, and when: the order of those who wait, and how much of the core is theirs."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from enum import IntEnum
from typing import Generic, TypeVar

LAST_TURN = 16
"""Every so many turns it is the last rank's: a flood of first tunnels cannot keep second ones out for good."""
FEWEST = 20
"""Handshakes that must have ended for a measurement."""
HANDSHAKE_SECONDS = 0.003
"""CPU of the core for one handshake, before it has been measured: 2.7 ms on the machine of the bench."""
CHEAPEST_SECONDS, DEAREST_SECONDS = 0.001, 0.020
"""Between these a measurement is believed."""
SHARE = 0.25
"""Part of the core that handshakes may take from the rest."""
BUSY = 0.8
"""What the rest leaves idle is theirs as well, up to this much of the core in all."""
BURST_SECONDS = 0.05
"""CPU that may be spent at once: small requests wait no longer than that for a turn."""
UNDER_WAY = 512
"""Handshakes at once: what a core can do in a second, since each waits for six round trips of perhaps 200 ms."""
STALLED_SECONDS = 1.0
"""One that takes longer does not count as under way any more: nobody can keep others out by standing still."""
PAUSE_SECONDS = 0.005
MEASURE_SECONDS = 1.0
"""Long enough that those which began in it are mostly those which ended in it."""

T = TypeVar("T")


class Rank(IntEnum):
    """The first tunnel of an agent goes before its second, and where both want one, who is known before strangers."""

    KNOWN_FIRST = 0
    FIRST = 1
    KNOWN_SECOND = 2
    SECOND = 3
    """Also whoever does not say what it wants."""


class Line(Generic[T]):
    """Those who wait, by rank; within a rank each source has its turn, however many of its own it sends."""

    def __init__(self) -> None:
        self._ranks: dict[Rank, OrderedDict[str, deque[T]]] = {rank: OrderedDict() for rank in Rank}
        self._turns = 0

    def __bool__(self) -> bool:
        return any(self._ranks.values())

    def join(self, who: T, source: str, rank: Rank) -> None:
        self._ranks[rank].setdefault(source, deque()).append(who)

    def drop(self, who: T, source: str, rank: Rank) -> None:
        """It has gone, and will not be called; nothing happens if it was called already."""
        waiting = self._ranks[rank].get(source)
        if waiting and who in waiting:
            waiting.remove(who)
            if not waiting:
                del self._ranks[rank][source]

    def call(self) -> T | None:
        """The next one; None: nobody waits."""
        self._turns += 1
        order = [sources for sources in self._ranks.values() if sources]
        if not order:
            return None
        sources = order[-1] if self._turns % LAST_TURN == 0 else order[0]
        source, waiting = next(iter(sources.items()))
        who = waiting.popleft()
        if waiting:
            sources.move_to_end(source)
        else:
            del sources[source]
        return who


class Budget:
    """How many handshakes may begin now. `clock` is monotonic seconds, `cpu` the seconds that the core has worked.

    What a handshake costs is measured: what the core works for those that end, less what it worked while there were
    none.
    """

    def __init__(self, clock: Callable[[], float], cpu: Callable[[], float]) -> None:
        self._clock = clock
        self._cpu = cpu
        self.cost = HANDSHAKE_SECONDS
        self._rest = 0.0
        self._share = BUSY
        self._saved = BURST_SECONDS
        self._filled_at = self._measured_at = clock()
        self._worked = cpu()
        self._ended = 0
        self._under_way: deque[float] = deque()

    def take(self) -> bool:
        """Whether one may begin now; then `end` must follow, once."""
        now = self._clock()
        while self._under_way and now - self._under_way[0] > STALLED_SECONDS:
            self._under_way.popleft()
        if now - self._measured_at >= MEASURE_SECONDS:
            self._measure(now)
        self._saved = min(BURST_SECONDS, self._saved + (now - self._filled_at) * self._share)
        self._filled_at = now
        if self._saved < self.cost or len(self._under_way) >= UNDER_WAY:
            return False
        self._saved -= self.cost
        self._under_way.append(now)
        return True

    def end(self, began: float) -> None:
        """One that began then has ended, with a login or without."""
        self._ended += 1
        if self._under_way and began >= self._under_way[0]:
            self._under_way.popleft()

    @property
    def pause(self) -> float:
        """Seconds until the next one may begin, if none of those under way ends before."""
        return max(0.0, self.cost - self._saved) / self._share or PAUSE_SECONDS

    def _measure(self, now: float) -> None:
        worked, passed = self._cpu() - self._worked, now - self._measured_at
        others = max(0.0, worked - self._ended * self.cost) / passed
        if self._ended >= FEWEST:
            each = (worked - self._rest * passed) / self._ended
            self.cost += (min(max(each, CHEAPEST_SECONDS), DEAREST_SECONDS) - self.cost) * 0.3
        elif not self._under_way:
            self._rest += (others - self._rest) * 0.5
        self._share = min(BUSY, max(SHARE, BUSY - others))
        self._worked, self._measured_at, self._ended = self._cpu(), now, 0
