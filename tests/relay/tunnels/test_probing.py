"""When tunnels are looked at: all of them in turn, busy ones all the time."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from agent.wire.limits import KEEPALIVE_SECONDS
from relay.tunnels.probing import TICK_SECONDS, TURNS, Watch
from tests.relay.tunnels.scene import Clock


class Seen:
    """A tunnel that notes when it was looked at."""

    def __init__(self) -> None:
        self.looks: list[float] = []
        self.busy = False
        self.overslept: list[float] = []
        self.probe = SimpleNamespace(pulse=SimpleNamespace(oversleep=self.overslept.append))
        self.breaks = False

    def look(self, now: float) -> bool:
        self.looks.append(now)
        if self.breaks:
            raise RuntimeError("a tunnel that cannot be looked at")
        return self.busy


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> Watch:
    return Watch(clock)


def pass_time(watch: Watch, clock: Clock, seconds: float) -> None:
    for _ in range(round(seconds / TICK_SECONDS)):
        clock.now += TICK_SECONDS
        watch.tick()


def added(watch: Watch) -> Any:
    tunnel: Any = Seen()
    watch.add(tunnel)
    return tunnel


def test_a_new_tunnel_is_looked_at_soon_and_then_now_and_then(watch: Watch, clock: Clock) -> None:
    """Once per keepalive interval while it is idle."""
    pass_time(watch, clock, 1.75)
    tunnel = added(watch)
    pass_time(watch, clock, 4 * KEEPALIVE_SECONDS)
    first, *rest = tunnel.looks
    assert first == 1002.0
    assert len(rest) == 4
    assert {later - before for before, later in itertools.pairwise(rest)} == {float(KEEPALIVE_SECONDS)}


def test_a_busy_tunnel_is_looked_at_each_tick(watch: Watch, clock: Clock) -> None:
    """From when something begins until it says that nothing is under way any more."""
    tunnel = added(watch)
    pass_time(watch, clock, 1)
    tunnel.looks.clear()
    tunnel.busy = True
    watch.attend(tunnel)
    pass_time(watch, clock, 1)
    assert len(tunnel.looks) == 4
    tunnel.busy = False
    pass_time(watch, clock, 1)
    assert len(tunnel.looks) == 5


def test_the_work_is_spread_over_the_ticks(watch: Watch, clock: Clock) -> None:
    """No moment has more idle tunnels than another, if they came at any time."""
    tunnels = []
    for _ in range(TURNS):
        tunnels.append(added(watch))
        pass_time(watch, clock, TICK_SECONDS)
    looks = [sum(len(tunnel.looks) for tunnel in tunnels)]
    for _ in range(TURNS):
        pass_time(watch, clock, TICK_SECONDS)
        looks.append(sum(len(tunnel.looks) for tunnel in tunnels))
    assert {later - before for before, later in itertools.pairwise(looks)} == {1}


def test_a_tunnel_that_is_gone_is_not_looked_at(watch: Watch, clock: Clock) -> None:
    """Idle or busy."""
    tunnel = added(watch)
    tunnel.busy = True
    pass_time(watch, clock, 1)
    watch.discard(tunnel)
    tunnel.looks.clear()
    pass_time(watch, clock, 2 * KEEPALIVE_SECONDS)
    assert tunnel.looks == []


def test_one_that_cannot_be_looked_at_does_not_stop_the_others(watch: Watch, clock: Clock) -> None:
    """The watch goes on, whatever a tunnel does."""
    broken, well = added(watch), added(watch)
    broken.breaks = True
    pass_time(watch, clock, 2 * KEEPALIVE_SECONDS)
    assert len(broken.looks) >= 2
    assert len(well.looks) >= 2


def test_a_relay_that_slept_does_not_blame_the_agents(watch: Watch, clock: Clock) -> None:
    """What was waited for may lie unread: it is asked afresh."""
    asked, idle = added(watch), added(watch)
    asked.busy = True
    pass_time(watch, clock, 1)
    clock.now += 60
    watch.tick()
    assert asked.overslept == [clock.now]
    assert idle.overslept == []
    pass_time(watch, clock, 1)
    assert len(asked.overslept) == 1
