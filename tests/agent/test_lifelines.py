"""The recovery timers that the watchdog looks at."""

from __future__ import annotations

import asyncio

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
