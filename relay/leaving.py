"""How the process hears that it is to end, or to read again: by signals."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()


async def until_told(drain: Callable[[], Awaitable[None]], reload: Callable[[], None]) -> None:
    """Until SIGTERM or SIGINT, and then until `drain` is done; whoever asks twice does not wait for that.

    SIGHUP calls `reload`.
    """
    once, twice = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        (twice if once.is_set() else once).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    loop.add_signal_handler(signal.SIGHUP, reload)
    await once.wait()
    log.info("draining")
    ends = [asyncio.ensure_future(drain()), asyncio.ensure_future(twice.wait())]
    done, pending = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in pending:
        end.cancel()
    for end in done:
        end.result()
