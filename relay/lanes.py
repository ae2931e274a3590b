"""Work that waits in the database, worked off by a bounded number of tasks of this node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

log = structlog.get_logger()

LOOK_SECONDS = 1.0
"""How often somebody looks whether there is work."""

T = TypeVar("T")


async def work_off(
    claim: Callable[[int], Awaitable[list[T]]],
    handle: Callable[[T], Awaitable[None]],
    *,
    lanes: int,
    look_seconds: float = LOOK_SECONDS,
) -> None:
    """Until cancelled: have `claim` hand out as much as there are free lanes, and `handle` it.

    Whatever they raise is logged, and does not end this. What is under way when this is cancelled is cancelled.
    """
    under_way: set[asyncio.Task[None]] = set()
    freed = asyncio.Event()

    def over(task: asyncio.Task[None]) -> None:
        under_way.discard(task)
        freed.set()

    try:
        while True:
            freed.clear()
            free = lanes - len(under_way)
            claimed = await _claimed(claim, free) if free else []
            for each in claimed:
                task = asyncio.create_task(_handled(handle, each))
                under_way.add(task)
                task.add_done_callback(over)
            if len(claimed) < free or not free:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(look_seconds):
                        await freed.wait()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _claimed(claim: Callable[[int], Awaitable[list[T]]], free: int) -> list[T]:
    try:
        return await claim(free)
    except Exception as error:  # noqa: BLE001 - the database may be away: the next look must follow
        log.warning("no work could be taken", reason=str(error))
        return []


async def _handled(handle: Callable[[T], Awaitable[None]], each: T) -> None:
    try:
        await handle(each)
    except Exception:
        log.exception("work failed in the relay")
