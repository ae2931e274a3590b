"""When stores are looked at: order, spread, and a ceiling on all together."""

from __future__ import annotations

import pytest

from relay.health.store_schedule import (
    A_SECOND,
    AGENT_SECONDS,
    BARE_SECONDS,
    BROKEN_SECONDS,
    CONFIRM_SECONDS,
    SPREAD,
    Schedule,
    bare_wait,
    varied,
)


def test_the_longest_overdue_comes_first() -> None:
    """And nothing before its time, nor twice."""
    schedule: Schedule[str] = Schedule(0.0)
    for thing, at in (("late", 5.0), ("later", 9.0), ("early", 1.0)):
        schedule.put(thing, at)
    assert schedule.take(6.0, 10) == ["early", "late"]
    assert schedule.take(6.0, 10) == []
    assert list(schedule) == ["later"]


def test_the_last_word_on_a_thing_counts() -> None:
    """Put off, brought forward, or given up."""
    schedule: Schedule[str] = Schedule(0.0)
    schedule.put("a", 1.0)
    schedule.put("a", 5.0)
    schedule.put("b", 1.0)
    schedule.drop("b")
    assert schedule.take(2.0, 10) == []
    schedule.put("a", 2.0)
    assert schedule.take(3.0, 10) == ["a"]
    assert len(schedule) == 0


def test_no_more_than_so_many_a_second() -> None:
    """Ten thousand stores at once are gone through at a steady pace, each in its turn."""
    schedule: Schedule[int] = Schedule(0.0)
    for store in range(10_000):
        schedule.put(store, 0.0)
    taken: list[int] = []
    ticks = 0
    while len(schedule):
        ticks += 1
        part = schedule.take(ticks * 0.25, 1000)
        assert len(part) <= A_SECOND * 0.25 + 1
        taken += part
    assert taken == list(range(10_000))
    assert abs(ticks * 0.25 - 10_000 / A_SECOND) <= 1


def test_idle_time_is_not_saved_up() -> None:
    """After an hour without anything due, a second's worth comes at once."""
    schedule: Schedule[int] = Schedule(0.0)
    for store in range(1000):
        schedule.put(store, 3600.0)
    assert len(schedule.take(3600.0, 1000)) == A_SECOND


def test_a_thing_put_off_again_and_again_takes_no_more_room() -> None:
    """What was said of it before is dropped."""
    schedule: Schedule[str] = Schedule(0.0)
    for at in range(10_000):
        schedule.put("a", float(at))
    assert len(schedule._heap) < 200


def test_waits() -> None:
    """One failure is confirmed soon, more are looked after often; an agent's many stores share what one may cost."""
    assert bare_wait(0, 1) == BARE_SECONDS
    assert bare_wait(1, 1) == bare_wait(1, 64) == CONFIRM_SECONDS
    assert bare_wait(2, 1) == bare_wait(9, 1) == BROKEN_SECONDS
    assert bare_wait(0, 64) == bare_wait(5, 64) == 64 * AGENT_SECONDS
    chances = iter((0.0, 0.5, 1.0))
    spread = [varied(100.0, lambda: next(chances)) for _ in range(3)]
    assert spread == pytest.approx([100 * (1 - SPREAD), 100, 100 * (1 + SPREAD)])
