"""How the process hears that it is to end, or to read again: by signals."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()


async def until_told(drain: Callable[[], Awaitable[None]], reload: Callable[[], None], fault: asyncio.Event) -> None:
    """Until SIGTERM, SIGINT or a `fault`, and then until `drain` is done; whoever asks twice does not wait for that.

    SIGHUP calls `reload`.
    """
    once, twice = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        (twice if once.is_set() else once).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    loop.add_signal_handler(signal.SIGHUP, reload)
    await _first(once.wait(), fault.wait())
    log.info("draining")
    await _first(drain(), twice.wait())


async def _first(*awaited: Awaitable[object]) -> None:
    """Until one of them is done."""
    ends = [asyncio.ensure_future(each) for each in awaited]
    done, pending = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in pending:
        end.cancel()
    for end in done:
        end.result()
