"""How many requests may be under way at once: in all, and for one account or source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class ShareExceededError(Exception):
    """There is no place; `everybody` says that the whole is full, not only this key's share."""

    def __init__(self, *, everybody: bool) -> None:
        super().__init__("too many requests are under way")
        self.everybody = everybody


class Shares:
    """Counts what is under way by key. Holds nothing for keys that have nothing under way."""

    def __init__(self, *, in_all: int, each: int) -> None:
        self._in_all = in_all
        self._each = each
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def one(self, key: str) -> Iterator[None]:
        """A place for one request. Raises ShareExceededError."""
        if self._under_way[key] >= self._each:
            raise ShareExceededError(everybody=False)
        if self._under_way.total() >= self._in_all:
            raise ShareExceededError(everybody=True)
        self._under_way[key] += 1
        try:
            yield
        finally:
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]
