"""Who of many that wait goes next: the longest overdue, and of each account and host only so many at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable

CANDIDATES = 256
"""Of each account that are looked at, …"""
CANDIDATES_MOST = 2048
"""… and of all."""


class Share:
    """What each holder of a kind may have at once; `busy` are the holders of what is under way."""

    def __init__(self, most: int, busy: Iterable[Hashable]) -> None:
        self._most = most
        self._held = Counter(busy)

    def has_room(self, holder: Hashable) -> bool:
        return self._held[holder] < self._most

    def take(self, holder: Hashable) -> None:
        self._held[holder] += 1
