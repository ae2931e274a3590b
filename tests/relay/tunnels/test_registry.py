"""Which tunnel gets the next channel, which one replaces which, and for whom requests wait."""

from __future__ import annotations

import asyncio
import time

import pytest

from agent.wire.limits import CHANNELS_PER_TUNNEL
from relay.tunnels.registry import (
    LOST_REMEMBERED,
    LOST_REMEMBERED_SECONDS,
    TUNNELS_PER_INSTANCE,
    TWIN_SECONDS,
    Registry,
)
from relay.tunnels.tunnel import WIND_UP_SECONDS, Tunnel
from tests.relay.tunnels.scene import AGENT, ONE, REPLICA, SHOP, TWO, Clock, Played


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(clock: Clock) -> Registry:
    return Registry(clock)


def picks(registry: Registry) -> Tunnel | None:
    return registry.pick(AGENT, SHOP)


async def test_the_slots_of_an_agent_stand_side_by_side(registry: Registry) -> None:
    """And replicas beside each other, whatever slots they have."""
    first, second, other = (Played(registry, *more) for more in ((), (), (REPLICA,)))
    first.claim(0)
    second.claim(1)
    other.claim(0, TWO)
    assert all(one.tunnel.usable for one in (first, second, other))


async def test_the_newest_of_a_slot_replaces_the_older(registry: Registry) -> None:
    """It gets the channels; the older one is asked whether it lives, and ended when nothing runs in it."""
    older, newer = Played(registry).claim(0), Played(registry)
    released: list[Tunnel] = []
    registry.on_retired = released.append
    assert older.tunnel.usable, "a tunnel that has not said its slot replaces nobody"
    newer.claim(0, generation=2)
    assert picks(registry) is newer.tunnel
    assert released == [older.tunnel]
    older.tunnel._opening = 1
    now = time.monotonic()
    assert older.tunnel.look(now)
    assert older.ssh.asked == 1
    await older.ssh.answer()
    assert older.tunnel.look(now + 1)
    assert not older.ssh.said, "what runs goes on"
    older.tunnel._opening = 0
    older.tunnel.look(now + 2)
    assert older.ssh.said == [(11, "replaced by a newer tunnel of the agent")]
    assert older.heard("bye")


async def test_a_retired_tunnel_is_ended_after_a_bound(registry: Registry) -> None:
    """A channel that never ends does not keep it."""
    older = Played(registry).claim(0)
    Played(registry).claim(0, generation=2)
    older.tunnel._opening = 1
    now = time.monotonic()
    older.tunnel.look(now)
    await older.ssh.answer()
    older.tunnel.look(now + WIND_UP_SECONDS - 1)
    assert not older.ssh.said
    await older.ssh.answer()
    older.tunnel.look(now + WIND_UP_SECONDS + 1)
    assert older.ssh.said


async def test_a_late_comer_of_an_older_generation_gives_way(registry: Registry) -> None:
    """What was dialled first may arrive last."""
    newer, late = Played(registry).claim(0, generation=5), Played(registry).claim(0, generation=4)
    assert newer.tunnel.usable
    assert not late.tunnel.usable


async def test_an_old_tunnels_end_does_not_touch_its_successor(registry: Registry) -> None:
    """It is not remembered as lost either."""
    older, newer = Played(registry).claim(0), Played(registry).claim(0, generation=2)
    registry.remove(older.tunnel)
    registry.remove(older.tunnel)
    assert registry.of(AGENT) == (newer.tunnel,)
    assert not registry.lost_lately(AGENT)


async def test_an_agent_without_control_channel_has_one_slot(registry: Registry) -> None:
    """Stock OpenSSH publishes stores and no control name: the newest connection replaces the older ones."""
    older, newer = Played(registry), Played(registry)
    older.tunnel.publish(SHOP)
    assert older.tunnel.slot == 0
    newer.tunnel.publish(SHOP)
    assert picks(registry) is newer.tunnel
    assert not older.tunnel.usable


async def test_the_tunnel_that_answers_best_is_taken(registry: Registry) -> None:
    """Not one in doubt, if there is another; TCP before a WebSocket, unless it is full or takes much longer."""
    tcp, web = Played(registry).claim(0), Played(registry, transport="websocket").claim(1)
    for one in (tcp, web):
        one.tunnel.probe.pulse.round_trip = 0.001
    assert picks(registry) is tcp.tunnel
    tcp.tunnel._opening = CHANNELS_PER_TUNNEL - 1
    assert picks(registry) is tcp.tunnel
    tcp.tunnel._opening = CHANNELS_PER_TUNNEL
    assert picks(registry) is web.tunnel
    tcp.tunnel._opening, tcp.tunnel.probe.pulse.round_trip = 0, 0.3
    assert picks(registry) is web.tunnel
    web.tunnel.suspect()
    assert picks(registry) is tcp.tunnel
    web.tunnel.probe.pulse.hear(time.monotonic())
    web.tunnel.probe.pulse.heard -= 60
    assert picks(registry) is tcp.tunnel, "who was not heard lately comes after who was"
    tcp.tunnel.suspect()
    assert picks(registry) is not None, "in doubt is better than none"
    assert registry.pick(AGENT, SHOP, but=[tcp.tunnel]) is web.tunnel
    assert registry.pick(AGENT, SHOP, but=[tcp.tunnel, web.tunnel]) is None


async def test_replicas_share_the_load(registry: Registry) -> None:
    """Whoever has fewer channels is next."""
    one, other = Played(registry).claim(0), Played(registry, REPLICA).claim(0, TWO)
    taken = []
    for _ in range(6):
        tunnel = picks(registry)
        assert tunnel
        tunnel._opening += 1
        taken.append(tunnel)
    assert taken.count(one.tunnel) == taken.count(other.tunnel) == 3


async def test_a_leaving_agent_gets_no_more_channels(registry: Registry) -> None:
    """It ends its tunnels itself, when it is done; the log says who left."""
    leaving = Played(registry).claim(0)
    released: list[Tunnel] = []
    registry.on_retired = released.append
    leaving.bye()
    assert picks(registry) is None
    assert released == [leaving.tunnel]
    leaving.tunnel.look(time.monotonic() + 1)
    assert not leaving.ssh.said
    assert leaving.tunnel.ending == "the agent left: shutting down"


async def test_a_dead_tunnel_is_told_through_the_other(registry: Registry) -> None:
    """Slot and generation, to the same process alone; the tunnel is cut at once."""
    dead, sibling = Played(registry).claim(0, generation=3), Played(registry).claim(1)
    strangers = [Played(registry, REPLICA).claim(1, TWO), Played(registry).claim(2, TWO)]
    now = time.monotonic()
    dead.tunnel.suspect()
    for seconds in (0.0, 1.5, 3.0):
        dead.tunnel.look(now + seconds)
    assert dead.ssh.aborted
    assert dead.tunnel.lost
    assert dead.tunnel.ending == "it did not answer any more"
    assert sibling.heard("suspect") == [{"type": "suspect", "slot": 0, "generation": 3}]
    assert [stranger.heard("suspect") for stranger in strangers] == [[], []]


async def test_an_agent_may_point_at_its_own_tunnels_alone(registry: Registry) -> None:
    """By slot, process and generation; what it points at is asked at once."""
    accused, accuser = Played(registry).claim(0, generation=3), Played(registry).claim(1)
    replica = Played(registry, REPLICA).claim(0, ONE, 3)

    def suspected() -> list[bool]:
        return [one.tunnel.probe.pulse._suspected for one in (accused, replica)]

    accuser.accuse(0, 2)
    assert suspected() == [False, False]
    accuser.accuse(0, 3)
    assert suspected() == [True, False]


async def test_clones_are_reported_and_the_later_one_is_turned_away(registry: Registry) -> None:
    """The third time: a time to wait and a plain sentence for the one, a mark for the other, a call to who listens."""
    reported: list[Tunnel] = []
    registry.on_clones = reported.append
    Played(registry).claim(0, ONE)
    original_other = Played(registry).claim(1, ONE)
    Played(registry).claim(0, TWO)
    original = Played(registry).claim(0, ONE, 2)
    assert not reported
    clone = Played(registry).claim(0, TWO, 2)
    assert reported == [original.tunnel]
    assert clone.heard("retry_after")
    assert "state directory" in clone.heard("bye")[0]["reason"]
    assert clone.tunnel.lost
    assert original.tunnel.usable
    assert original.tunnel.disputed
    assert original_other.tunnel.disputed
    assert picks(registry) in {original.tunnel, original_other.tunnel}


async def test_a_clone_may_come_when_the_other_has_gone(registry: Registry) -> None:
    """A machine that was moved: once the original is away, nobody is locked out."""
    Played(registry).claim(0, ONE)
    Played(registry).claim(0, TWO)
    original = Played(registry).claim(0, ONE, 2)
    assert Played(registry).claim(0, TWO, 2).tunnel.lost
    registry.remove(original.tunnel)
    assert Played(registry).claim(0, TWO, 3).tunnel.usable


async def test_machines_restored_from_one_snapshot_are_told_apart(registry: Registry) -> None:
    """They bear one process's name; the same dial of the same slot cannot come twice. One draws another name, and then
    the two replace each other no longer than any two."""
    reported: list[Tunnel] = []
    registry.on_clones = reported.append
    Played(registry).claim(0, ONE, 3)
    other_slot = Played(registry).claim(1, ONE, 3)
    copy = Played(registry).claim(0, ONE, 4)
    original = Played(registry).claim(0, ONE, 4)
    assert reported == [copy.tunnel]
    assert copy.tunnel.disputed
    assert copy.tunnel.usable
    assert original.heard("retry_after") == [{"type": "retry_after", "seconds": TWIN_SECONDS}]
    assert "machine" in original.heard("bye")[0]["reason"]
    assert original.tunnel.lost
    assert other_slot.tunnel.usable, "whose it is cannot be known"
    Played(registry).claim(0, TWO, 5)
    Played(registry).claim(0, ONE, 5)
    assert Played(registry).claim(0, TWO, 6).tunnel.lost
    assert len(reported) == 2


async def test_an_instance_cannot_pile_up_tunnels(registry: Registry) -> None:
    """Its oldest ones are ended."""
    tunnels = [Played(registry) for _ in range(TUNNELS_PER_INSTANCE + 3)]
    assert [one.tunnel.lost for one in tunnels] == [True] * 3 + [False] * TUNNELS_PER_INSTANCE


async def test_a_lost_agent_is_waited_for_a_while(registry: Registry, clock: Clock) -> None:
    """Not when it was ended for good."""
    lost = Played(registry).claim(0)
    registry.remove(lost.tunnel)
    assert registry.lost_lately(AGENT)
    clock.now += LOST_REMEMBERED_SECONDS
    assert not registry.lost_lately(AGENT)
    revoked = Played(registry).claim(0)
    waiting = asyncio.ensure_future(registry.change(AGENT))
    await asyncio.sleep(0)
    assert registry.cut(lambda _: True, "agent revoked", for_good=True) == 1
    registry.remove(revoked.tunnel)
    await asyncio.wait_for(waiting, 1)
    assert not registry.lost_lately(AGENT)
    assert revoked.tunnel.ending == "agent revoked"


async def test_agents_of_before_a_restart_are_waited_for(registry: Registry, clock: Clock) -> None:
    """As if they had been lost now, so many of them; one that is revoked meanwhile is forgotten."""
    registry.recall([f"agt_{n}" for n in range(LOST_REMEMBERED + 5)] + [AGENT])
    assert registry.lost_lately(AGENT)
    assert not registry.lost_lately("agt_0")
    assert len(registry._lost) == LOST_REMEMBERED
    registry.forget(AGENT)
    assert not registry.lost_lately(AGENT)


async def test_draining_is_told_to_all(registry: Registry) -> None:
    """With the seconds that are left."""
    all_of_them = [Played(registry).claim(0), Played(registry, REPLICA).claim(0)]
    registry.drain(30.0)
    assert [one.heard("drain") for one in all_of_them] == [[{"type": "drain", "seconds": 30.0}]] * 2
