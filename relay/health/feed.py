"""What has just happened on this node, for whoever looks on: kept for a while, handed to subscribers as it comes."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

KEPT = 10_000
"""Notices that can be read again: of some 300 bytes each."""
BEHIND = 1_000
"""Notices that may wait for one subscriber; one that falls further behind has missed some, and is told so."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened. `kind` is like `agent.offline`; `id` grows on this node while it runs."""

    id: int
    at: int
    """Unix seconds."""
    kind: str
    account: str | None
    """Whose it is; None: the relay's own, for operators alone."""
    agent: str | None
    connection: str | None
    details: Mapping[str, Any]


class MissedError(Exception):
    """What was asked for is not kept any more: look at everything anew."""


class Subscription:
    """Where notices wait for one reader."""

    def __init__(self) -> None:
        self._waiting: deque[Notice] = deque()
        self._came = asyncio.Event()
        self._missed = False

    def put(self, notice: Notice) -> None:
        if len(self._waiting) >= BEHIND:
            self._waiting.clear()
            self._missed = True
        self._waiting.append(notice)
        self._came.set()

    async def take(self) -> list[Notice]:
        """Wait for the next notices, oldest first. Raises MissedError once where some were dropped."""
        await self._came.wait()
        self._came.clear()
        if self._missed:
            self._missed = False
            self._came.set()
            raise MissedError
        return self.taken()

    def taken(self) -> list[Notice]:
        """What waits now, oldest first."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


class Feed:
    """`clock` is unix seconds. The ids of a node that began later are higher: they begin with its clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = self._first = int(clock()) * 1_000_000
        self._kept: deque[Notice] = deque(maxlen=KEPT)
        self._subscribers: set[Subscription] = set()
        self.counts: Counter[str] = Counter()
        """How many there were of each kind, since the node began."""

    @property
    def last(self) -> int:
        """The id of the newest notice, or where ids begin."""
        return self._last

    def publish(
        self, kind: str, *, account: str | None, agent: str | None = None, connection: str | None = None, **details: Any
    ) -> Notice:
        """Tell all subscribers. `details` are plain values, fit for JSON, without secrets."""
        self._last += 1
        notice = Notice(self._last, int(self._clock()), kind, account, agent, connection, details)
        self._kept.append(notice)
        self.counts[kind] += 1
        for subscriber in self._subscribers:
            subscriber.put(notice)
        return notice

    def since(self, id_: int) -> list[Notice]:
        """What came after that notice. Raises MissedError where this cannot be told, as after a restart."""
        oldest = self._kept[0].id if self._kept else self._last + 1
        if not max(self._first, oldest - 1) <= id_ <= self._last:
            raise MissedError
        return [notice for notice in self._kept if notice.id > id_]

    @contextmanager
    def subscription(self) -> Iterator[Subscription]:
        """Notices from now on, while the block runs."""
        subscriber = Subscription()
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)
