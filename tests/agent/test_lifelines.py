"""The recovery timers that the watchdog looks at."""

from __future__ import annotations

import asyncio
import time

import pytest

from agent.lifelines import SLACK_SECONDS, Lifelines


async def test_a_loop_that_is_not_heard_of_in_time_is_overdue() -> None:
    """While it waits within its deadline it is not; after it, it is, until it is heard of again or ends."""
    now = 0.0
    lines = Lifelines(lambda: now)
    async with lines.within("slot 0", 30):
        now = 30 + SLACK_SECONDS
        assert lines.overdue() == []
        now += 1
        assert lines.overdue() == ["slot 0"]
    assert lines.overdue() == []
    now += SLACK_SECONDS + 1
    assert lines.overdue() == ["slot 0"]
    lines.end("slot 0")
    assert lines.overdue() == []


async def test_each_wait_is_ended_by_its_deadline() -> None:
    """Nothing waits for ever."""
    with pytest.raises(TimeoutError):
        async with Lifelines().within("slot 0", 0.01):
            await asyncio.Event().wait()


async def test_a_rest_ends_with_what_it_waits_for() -> None:
    """Or with its time; what it waited for is given up, and the loop has been heard of."""
    now = 0.0
    lines = Lifelines(lambda: now)
    done, other = asyncio.ensure_future(asyncio.sleep(0)), asyncio.ensure_future(asyncio.Event().wait())
    await lines.rest("slot 0", 30, done, other)
    await asyncio.sleep(0)
    assert other.cancelled()
    now = SLACK_SECONDS
    assert lines.overdue() == []
    await lines.rest("slot 0", 0.01, asyncio.ensure_future(asyncio.Event().wait()))


async def test_a_machine_that_was_suspended_has_rested() -> None:
    """All timers of a process that stood still are over at once: a rest is no failure because of that."""
    lines = Lifelines()
    rest = asyncio.ensure_future(lines.rest("slot 0", 0.05, asyncio.ensure_future(asyncio.Event().wait())))
    await asyncio.sleep(0)
    time.sleep(1.5)  # noqa: ASYNC251 - the whole process stands still
    await rest
    assert lines.overdue() == []
