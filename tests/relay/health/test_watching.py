"""What is told of agents as their tunnels come and go: to the right account, in order, and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay.database.errors import DatabaseUnavailable
from relay.health import watching
from relay.health.conditions import SHORT_SECONDS, AgentState
from relay.health.feed import Feed, Notice
from relay.health.watching import Watching
from relay.records import Change
from relay.tunnels.authority import Identity
from relay.tunnels.registry import Registry
from relay.tunnels.tunnel import Claim, Retirement
from tests.relay.api.scene import SaidTunnel

AGENT, OTHER = "agt_aaaaaaaaaaaaaaaa", "agt_bbbbbbbbbbbbbbbb"
SECONDS = 10


class Scene:
    """A registry, its watching, and what the feed was told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.registry = Registry(lambda: self.now)
        self.feed = Feed(lambda: self.now)
        self.owners: dict[str, str] = {AGENT: "acc_one", OTHER: "acc_two"}
        self.away = False
        self.asked: list[Collection[str]] = []
        self.watching = Watching(self.registry, self.feed, self.find, wanted=2, clock=lambda: self.now)
        self.began = self.feed.last

    async def find(self, ids: Collection[str]) -> Mapping[str, str]:
        if self.away:
            raise DatabaseUnavailable("the database does not answer")
        self.asked.append(ids)
        return {id_: self.owners[id_] for id_ in ids if id_ in self.owners}

    def tunnel(self, agent: str = AGENT, slot: int = 0, instance: str = "ins_aaaaaaaaaaaaaaaa") -> SaidTunnel:
        tunnel = SaidTunnel(Identity(agent, instance, "atk_aaaaaaaaaaaaaaaa", 1, 2**31))
        tunnel.claim = Claim(slot, "5e1f" * 4, 1)
        self.registry.add(tunnel)
        return tunnel

    def lose(self, tunnel: SaidTunnel, *, said: bool = False) -> None:
        if said:
            tunnel._retired = Retirement("the agent left", 0.0, by_agent=True)
        tunnel.gone = True
        self.registry.remove(tunnel)

    def told(self) -> list[Notice]:
        return self.feed.since(self.began)

    async def until(self, kinds: list[str]) -> list[Notice]:
        """Wait until notices of these kinds, and no others, were told."""
        await self.settled(lambda: len(self.told()) >= len(kinds))
        assert [notice.kind for notice in self.told()] == kinds
        return self.told()

    async def settled(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.01)


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(watching, "TOGETHER_SECONDS", 0.01)
    monkeypatch.setattr(watching, "AGAIN_SECONDS", 0.02)
    scene = Scene()
    async with running(scene.watching):
        yield scene


@asynccontextmanager
async def running(watched: Watching) -> AsyncIterator[None]:
    task = asyncio.create_task(watched.run())
    yield
    task.cancel()
    await asyncio.wait({task}, timeout=SECONDS)
    assert task.cancelled()


async def test_an_agent_comes_and_goes(scene: Scene) -> None:
    """Its tunnels and its state, for its account; that it was not announced; its account is looked up once."""
    first = scene.tunnel()
    scene.tunnel(OTHER)
    notices = await scene.until(["tunnel.up", "tunnel.up", "agent.online", "agent.online"])
    assert {(notice.agent, notice.account) for notice in notices} == {(AGENT, "acc_one"), (OTHER, "acc_two")}
    scene.lose(first)
    *_, down, offline = await scene.until([*(notice.kind for notice in notices), "tunnel.down", "agent.offline"])
    assert (down.details["planned"], offline.details["planned"], offline.agent) == (False, False, AGENT)
    assert [sorted(ids) for ids in scene.asked] == [[AGENT, OTHER]]


async def test_what_was_announced_is_told_as_planned(scene: Scene) -> None:
    """The agent has said that it goes."""
    tunnel = scene.tunnel()
    await scene.until(["tunnel.up", "agent.online"])
    scene.lose(tunnel, said=True)
    *_, offline = await scene.until(["tunnel.up", "agent.online", "tunnel.down", "agent.offline"])
    assert offline.details["planned"] is True


async def test_a_replaced_tunnel_says_nothing_about_its_agent(scene: Scene) -> None:
    """However often it happens: an agent that renews its tunnels is steady."""
    kinds = ["tunnel.up", "agent.online"]
    scene.tunnel()
    await scene.until(kinds)
    for _ in range(5):
        old = scene.tunnel(slot=1)
        await scene.until(kinds := [*kinds, "tunnel.up"])
        old._retired = Retirement("replaced by a newer tunnel of the agent", 0.0, by_agent=False)
        scene.lose(old)
        await scene.until(kinds := [*kinds, "tunnel.down"])
    seen = scene.watching.of(AGENT)
    assert seen
    assert not seen.flapping


async def test_one_tunnel_of_two_for_long_is_degraded(scene: Scene) -> None:
    """And online again with the second; a stock client has one and wants no more."""
    scene.tunnel()
    scene.tunnel(OTHER).claim = Claim(0, "", 1)
    kinds = ["tunnel.up", "tunnel.up", "agent.online", "agent.online"]
    await scene.until(kinds)
    scene.now += SHORT_SECONDS
    *_, degraded = await scene.until([*kinds, "agent.degraded"])
    assert degraded.agent == AGENT
    assert scene.watching.in_state(AgentState.ONLINE) == [OTHER]
    assert scene.watching.unwell() == [AGENT]
    scene.tunnel(slot=1)
    *_, online = await scene.until([*kinds, "agent.degraded", "tunnel.up", "agent.online"])
    assert online.agent == AGENT


async def test_a_tunnel_that_falls_silent_is_seen(scene: Scene) -> None:
    """Without anything coming or going: everybody is looked at in turn."""
    tunnels = [scene.tunnel(slot=slot) for slot in range(2)]
    await scene.until(["tunnel.up", "tunnel.up", "agent.online"])
    for tunnel in tunnels:
        tunnel.silent = True
    await scene.until(["tunnel.up", "tunnel.up", "agent.online", "agent.degraded"])


async def test_an_unsteady_line_is_told_once(scene: Scene) -> None:
    """When it begins, and when it has been steady for five minutes."""
    scene.tunnel(slot=0)
    kinds = ["tunnel.up", "agent.online"]
    await scene.until(kinds)
    for loss in range(3):
        tunnel = scene.tunnel(slot=1)
        await scene.until(kinds := [*kinds, "tunnel.up"])
        scene.now += 10
        scene.lose(tunnel)
        kinds += ["tunnel.down"] + (["agent.degraded", "agent.flapping"] if loss == 2 else [])
        await scene.until(kinds)
    scene.tunnel(slot=1)
    await scene.until(kinds := [*kinds, "tunnel.up"])
    scene.now += 300
    await scene.until([*kinds, "agent.online", "agent.steady"])


async def test_while_the_database_is_away_notices_wait(scene: Scene) -> None:
    """They are told in their order when it is back."""
    scene.away = True
    tunnel = scene.tunnel()
    await asyncio.sleep(0.1)
    scene.lose(tunnel)
    await asyncio.sleep(0.1)
    assert scene.told() == []
    scene.away = False
    await scene.until(["tunnel.up", "agent.online", "tunnel.down", "agent.offline"])


async def test_changes_are_told_to_whom_they_concern(scene: Scene) -> None:
    """What belongs to nobody any more is told to operators alone."""
    changes: list[dict[str, Any]] = [
        {"seq": 1, "kind": "agent", "subject": AGENT, "revoked": False},
        {"seq": 2, "kind": "connection", "subject": "con_cccccccccccccccc", "revoked": True},
    ]
    scene.watching.changed(Change(**change) for change in changes)
    mine, gone = await scene.until(["changed", "changed"])
    assert (mine.account, mine.agent, mine.details["subject"]) == ("acc_one", AGENT, AGENT)
    assert (gone.account, gone.connection, gone.details["revoked"]) == (None, "con_cccccccccccccccc", True)


async def test_what_is_long_gone_is_forgotten(scene: Scene) -> None:
    """A fleet that comes once costs nothing for ever."""
    scene.lose(scene.tunnel())
    assert scene.watching.of(AGENT)
    scene.now += watching.FORGET_SECONDS + 1
    await scene.settled(lambda: not scene.watching._agents)
    assert scene.watching.of(AGENT) is None
