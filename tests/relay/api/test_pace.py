"""How many may pass in a second, with a clock that is moved by hand."""

from __future__ import annotations

from relay.api.pace import COME_BACK_MOST, Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_so_many_at_once_then_so_many_a_second() -> None:
    """A burst passes, then one for each part of a second that goes by; what was not used is not saved up for ever."""
    clock = Clock()
    pace = Pace(clock, a_second=2, at_once=3)
    assert [pace.come() > 0 for _ in range(4)] == [False, False, False, True]
    clock.now += 0.5
    assert [pace.come() > 0 for _ in range(2)] == [False, True]
    clock.now += 3600
    assert [pace.come() > 0 for _ in range(4)] == [False, False, False, True]


def test_the_rest_come_back_one_after_the_other() -> None:
    """Each is told a time of its own, at the pace; nobody is sent away for more than a minute."""
    pace = Pace(Clock(), a_second=1, at_once=1)
    assert pace.come() == 0
    assert [pace.come() for _ in range(3)] == [1, 2, 3]
    assert max(pace.come() for _ in range(1000)) == COME_BACK_MOST


def test_all_of_a_fleet_pass_in_the_end() -> None:
    """2,000 that do as they are told pass in little more than the time that they need at that pace."""
    clock = Clock()
    pace = Pace(clock, a_second=50, at_once=100)
    due, began = [clock.now] * 2000, clock.now
    while due:
        due.sort()
        clock.now = max(clock.now, due.pop(0))
        if seconds := pace.come():
            due.append(clock.now + seconds)
    assert clock.now - began < 2 * 2000 / 50
