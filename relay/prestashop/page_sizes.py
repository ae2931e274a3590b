"""How many rows of a list a store bears at once: more while it is quick, fewer where it is slow or lacks memory."""

from __future__ import annotations

import math
from collections.abc import Callable

from relay.prestashop.query import FULL, Query
from relay.records import Connection

PAGE_ROWS = 50
"""Real shops with many languages and modules need seconds for more."""
PAGE_ROWS_MOST = 250
QUICK_SECONDS = 0.75
"""A page that took less may have twice the rows."""
PAGE_SECONDS = 1.5
SLOW_SECONDS = 3.0
"""After a page that took more, the next ones are made to take PAGE_SECONDS; proxies before shops cut at 30 s."""
EXACT_PART = 8
"""What failed and what did not are brought together to this part: each try may cost the merchant a line in a log."""
BAD_SECONDS = 3600.0
"""How long a size that failed is not tried again; it may have been the hour, and not the rows."""
KEPT = 4096
"""Lists whose sizes are remembered, some 300 bytes each."""


class PageSize:
    """Pure: of one list. `ask`, then one of `answered`, `failed`, `dropped` with what was asked for."""

    __slots__ = ("_bad", "_bad_until", "_first", "_good", "_scout", "_seconds")

    def __init__(self, first: int = PAGE_ROWS + 1) -> None:
        self._first = first
        self._good = 0
        """The most rows that have come at once."""
        self._seconds = 0.0
        """That they took."""
        self._bad: float = math.inf
        self._bad_until = 0.0
        self._scout = 0
        """The larger size that is being tried; one at a time, so that not all pages fail together."""

    def ask(self, wanted: int, now: float) -> int:
        """Rows to ask for, at most `wanted`."""
        if now >= self._bad_until:
            self._bad = math.inf
        larger = min(self._larger(), wanted)
        if larger > self._good and not self._scout:
            self._scout = larger
            return larger
        return min(self._good or max(1, larger // 2), wanted)

    def answered(self, asked: int, got: int, seconds: float) -> None:
        """The store has given `got` rows in so many seconds of its own."""
        self.dropped(asked)
        if seconds > SLOW_SECONDS and got > 1:
            self._good = min(self._good or got, int(got * max(0.5, PAGE_SECONDS / seconds)))
            self._seconds = PAGE_SECONDS
        elif got >= self._good:
            self._good, self._seconds = got, seconds

    def failed(self, asked: int, now: float) -> None:
        """The store ran out of memory or time over so many rows."""
        self.dropped(asked)
        if asked < self._bad:
            self._bad, self._bad_until = asked, now + BAD_SECONDS
        if asked <= self._good:
            self._good, self._seconds = asked // 2, 0.0

    def dropped(self, asked: int) -> None:
        """Nothing was learnt of it."""
        if asked == self._scout:
            self._scout = 0

    def _larger(self) -> int:
        """The next size to try, or the one that is good."""
        if not self._good:
            return self._first if self._bad == math.inf else max(1, int(self._bad) // 2)
        if self._seconds > QUICK_SECONDS:
            return self._good
        if self._bad == math.inf:
            return min(max(2 * self._good, self._first), PAGE_ROWS_MOST + 1)
        middle = (self._good + int(self._bad)) // 2
        return middle if (middle - self._good) * EXACT_PART > self._good else self._good


class PageSizes:
    """Those of all lists that were read lately. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._sizes: dict[tuple[str, ...], PageSize] = {}

    def of(self, connection: Connection, query: Query) -> PageSize:
        """The last asked for stand last, and the first make room."""
        key = (connection.account, connection.id, str(connection.store), query.resource, query.display)
        size = self._sizes.pop(key, None) or PageSize(_first(query.display))
        while len(self._sizes) >= KEPT:
            self._sizes.pop(next(iter(self._sizes)))
        self._sizes[key] = size
        return size


def _first(display: str) -> int:
    """What to begin with: plain fields of 2,000 products came in a second where all their fields took five."""
    whole = display == FULL or "[" in display[1:]
    return (PAGE_ROWS if whole else PAGE_ROWS_MOST) + 1
