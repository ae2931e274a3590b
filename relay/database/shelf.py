"""A bounded memory of what was looked up, absences included: one lookup per key at a time, however many wait for it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from relay.database.errors import DatabaseUnavailable
from relay.records import MISSING, Missing

LOOKUPS = 64
"""Lookups under way at once: unknown ids from outside must not queue up before the database."""

V = TypeVar("V")


class Shelf(Generic[V]):
    """Values by key. Absences have room of their own, so that guessed keys push no real ones out."""

    def __init__(self, look_up: Callable[[str], Awaitable[V | None]], *, present: int, absent: int) -> None:
        self._look_up = look_up
        self._present: OrderedDict[str, V] = OrderedDict()
        self._absent: OrderedDict[str, None] = OrderedDict()
        self._most_present = present
        self._most_absent = absent
        self._under_way: dict[str, asyncio.Task[V | None]] = {}

    def peek(self, key: str) -> V | Missing | None:
        """What is remembered: the value, None for a remembered absence, MISSING for nothing."""
        value = self._present.get(key)
        if value is not None:
            self._present.move_to_end(key)
            return value
        if key in self._absent:
            self._absent.move_to_end(key)
            return None
        return MISSING

    async def look_up(self, key: str) -> V | None:
        """Ask anew, or join those who are asking. Raises what the lookup raises, and DatabaseUnavailable in a flood."""
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= LOOKUPS:
                raise DatabaseUnavailable("too many lookups are under way: try again in a moment")
            task = asyncio.create_task(self._look_up_and_keep(key))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # retrieved, even if all left
            self._under_way[key] = task
        return await asyncio.shield(task)

    def drop(self, key: str) -> None:
        """Forget the key; a lookup under way may have seen the past, so it is not kept."""
        self._under_way.pop(key, None)
        self._present.pop(key, None)
        self._absent.pop(key, None)

    def drop_where(self, untrue: Callable[[V], bool]) -> None:
        """Forget such values, and every absence and lookup under way: nobody knows whom those concern."""
        self._under_way.clear()
        self._absent.clear()
        for key in [key for key, value in self._present.items() if untrue(value)]:
            del self._present[key]

    async def _look_up_and_keep(self, key: str) -> V | None:
        try:
            value = await self._look_up(key)
            if self._under_way.get(key) is asyncio.current_task():
                self._keep(key, value)
            return value
        finally:
            if self._under_way.get(key) is asyncio.current_task():
                del self._under_way[key]

    def _keep(self, key: str, value: V | None) -> None:
        self._present.pop(key, None)
        self._absent.pop(key, None)
        if value is None:
            self._absent[key] = None
            if len(self._absent) > self._most_absent:
                self._absent.popitem(last=False)
        else:
            self._present[key] = value
            if len(self._present) > self._most_present:
                self._present.popitem(last=False)
