"""How late the event loop is said to be."""

from __future__ import annotations

import asyncio
import time

from relay.metrics.loop_lag import BOUNDS, LOOK_SECONDS, LoopLag


def test_each_delay_is_counted_once_where_it_belongs() -> None:
    """Cumulatively, a bound belonging to what it bounds; the last count is of all."""
    lag = LoopLag()
    for late in (0.0, 0.001, 0.003, 60.0):
        lag.note(late)
    assert lag.within() == [2, 2, *[3] * (len(BOUNDS) - 2), 4]
    assert lag.seconds == 60.004


async def test_a_loop_that_is_held_up_is_seen() -> None:
    """Whoever blocks it for a while stands in the histogram."""
    lag = LoopLag()
    watching = asyncio.create_task(lag.run())
    await asyncio.sleep(LOOK_SECONDS / 2)
    time.sleep(LOOK_SECONDS + 0.3)  # noqa: ASYNC251 - the very thing that must not happen
    async with asyncio.timeout(5):
        while not lag.within()[-1]:  # noqa: ASYNC110 - what is waited for is inside the code under test
            await asyncio.sleep(0.01)
    watching.cancel()
    assert lag.seconds > 0.2
