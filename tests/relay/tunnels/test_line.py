"""Whose handshake is next, and how many a second: the order, the turns, the budget of the core."""

from __future__ import annotations

import random
from collections import deque

import pytest

from relay.tunnels.line import (
    BURST_SECONDS,
    BUSY,
    CHEAPEST_SECONDS,
    DEAREST_SECONDS,
    HANDSHAKE_SECONDS,
    LAST_TURN,
    SHARE,
    UNDER_WAY,
    Budget,
    Line,
    Rank,
)


def called(line: Line[str], times: int) -> list[str | None]:
    return [line.call() for _ in range(times)]


def test_first_tunnels_go_before_second_ones() -> None:
    """And among first ones, known agents before strangers; within a rank, in the order of arrival."""
    line: Line[str] = Line()
    for name, rank in (("d", Rank.SECOND), ("c", Rank.KNOWN_SECOND), ("b", Rank.FIRST), ("a", Rank.KNOWN_FIRST)):
        line.join(name, f"{name}1", rank)
        line.join(name.upper(), f"{name}2", rank)
    assert called(line, 9) == ["a", "A", "b", "B", "c", "C", "d", "D", None]
    assert not line


def test_one_source_cannot_fill_a_rank() -> None:
    """Whoever sends a hundred is called as often as whoever sends one."""
    line: Line[str] = Line()
    for number in range(100):
        line.join(f"flood-{number}", "flood", Rank.FIRST)
    line.join("agent", "agent", Rank.FIRST)
    assert called(line, 3) == ["flood-0", "agent", "flood-1"]


def test_the_last_rank_has_a_turn_now_and_then() -> None:
    """A flood of first tunnels without end does not keep a second one out for good."""
    line: Line[str] = Line()
    line.join("second", "agent", Rank.KNOWN_SECOND)
    for number in range(2 * LAST_TURN):
        line.join("first", f"source-{number}", Rank.FIRST)
    assert "second" in called(line, LAST_TURN)


def test_who_leaves_is_not_called() -> None:
    """Nor does it matter whether it had been called before."""
    line: Line[str] = Line()
    for name in ("a", "b", "c"):
        line.join(name, "here", Rank.FIRST)
    line.drop("b", "here", Rank.FIRST)
    assert called(line, 2) == ["a", "c"]
    line.drop("a", "here", Rank.FIRST)
    line.drop("nobody", "nowhere", Rank.SECOND)
    assert line.call() is None


class Core:
    """A core that does handshakes at a cost, beside other work that wants a part of it."""

    def __init__(self, cost: float, others: float) -> None:
        self.cost, self.others, self.time_left = cost, others, 0.0
        self.now = self.worked = 0.0
        self.waiting: deque[float] = deque()
        self.budget = Budget(lambda: self.now, lambda: self.worked)

    def run(self, seconds: float, step: float = 0.001, *, every: float = 0.0) -> int:
        """Begin as many handshakes as are allowed, or one after so many seconds; how many that were."""
        begun, until, due = 0, self.now + seconds, self.now
        while self.now < until:
            while self.now >= due and self.budget.take():
                begun += 1
                self.waiting.append(self.now)
                due = self.now + every
            self.now += step
            self.worked += step * self.others
            self.work(step * (1 - self.others))
        return begun

    def work(self, seconds: float) -> None:
        """Do what has begun, as far as the time allows."""
        self.time_left = min(self.time_left, 0.0) + seconds
        while self.waiting and self.time_left > 0:
            self.time_left -= self.cost
            self.worked += self.cost
            self.budget.end(self.waiting.popleft())


def test_an_idle_core_is_used() -> None:
    """Nobody else wants it: handshakes get most of it."""
    core = Core(HANDSHAKE_SECONDS, 0.0)
    core.run(2)
    assert core.run(10) * HANDSHAKE_SECONDS == pytest.approx(10 * BUSY, rel=0.1)


def test_a_busy_core_gives_a_quarter() -> None:
    """However much the rest works, handshakes have their share, and no more than that."""
    core = Core(HANDSHAKE_SECONDS, 0.75)
    core.run(10, every=1.0)
    assert core.run(10) * HANDSHAKE_SECONDS == pytest.approx(10 * SHARE, rel=0.15)


@pytest.mark.parametrize("cost", [0.0015, 0.006])
def test_what_a_handshake_costs_is_measured(cost: float) -> None:
    """On a machine that is faster or slower than ours, the share of the core is the same."""
    core = Core(cost, 0.0)
    core.run(30)
    assert core.budget.cost == pytest.approx(cost, rel=0.2)
    assert core.run(10) * cost == pytest.approx(10 * BUSY, rel=0.2)


def test_handshakes_that_end_in_bursts_are_measured_all_the_same() -> None:
    """A loop that is held up, and round trips of a quarter of a second: what is under way is not taken for the rest."""
    core, cost = Core(0.002, 0.3), 0.002
    core.run(10, every=1.0)
    for _ in range(120):
        core.work(0.0)
        begun = [core.now for _ in range(1000) if core.budget.take()]
        core.now += 0.25
        core.worked += 0.25 * core.others + len(begun) * cost
        for began in begun:
            core.budget.end(began)
    assert core.budget.cost == pytest.approx(cost, rel=0.3)


def test_no_measurement_is_believed_beyond_reason() -> None:
    """Whatever the clocks say, some handshakes may begin, and not without end."""
    seed = random.Random(7)  # noqa: S311 - a sequence to repeat
    core = Core(0.003, 0.5)
    for _ in range(500):
        core.worked += seed.choice([0.0, 5.0])
        core.now += seed.choice([0.0, 0.001, 5.0])
        core.run(0.01)
        assert CHEAPEST_SECONDS <= core.budget.cost <= DEAREST_SECONDS
    assert core.run(1) > 0


def test_those_who_stand_still_keep_nobody_out() -> None:
    """Handshakes that begin and never end hold their places for a second, then others may begin."""
    core = Core(0.003, 0.0)
    core.budget.cost = CHEAPEST_SECONDS
    begun = 0
    for _ in range(4000):
        core.now += 0.001
        begun += core.budget.take()
    assert 3 * UNDER_WAY < begun <= 5 * UNDER_WAY
    assert core.budget.pause > 0


def test_few_begin_at_once() -> None:
    """After any rest, no more than a burst; and the pause says when the next one may."""
    core = Core(HANDSHAKE_SECONDS, 0.0)
    core.now += 3600
    begun = 0
    while core.budget.take():
        begun += 1
    assert begun <= BURST_SECONDS / HANDSHAKE_SECONDS + 1
    assert core.budget.pause > 0
    core.now += core.budget.pause + 0.0001
    assert core.budget.take()
