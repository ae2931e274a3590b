"""Looks after the agents whose tunnels stand, or stood, on this node, and tells the feed how they do."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import structlog

from relay.health.conditions import AgentState, Condition, Standing
from relay.health.feed import Feed
from relay.records import Change
from relay.tunnels.registry import Registry
from relay.tunnels.tunnel import Tunnel

log = structlog.get_logger()

LOOK_SECONDS = 0.5
"""How often those are looked at whose state may change with time alone."""
TOGETHER_SECONDS = 0.1
"""What happens so soon after another thing is told together with the next: a fleet comes all at once."""
AT_ONCE = 1_000
"""So many are looked at for one question; a larger crowd was looked at within the last moments."""
ROUND = 10
"""Of the others, one in so many is looked at each time: a tunnel falls into doubt without a word."""
FORGET_SECONDS = 900.0
"""What was seen of an agent that is gone: longer than an unsteady line is remembered."""
WAITING = 20_000
"""Tunnels that came and went and were not told of yet: a whole fleet's, twice."""
AGAIN_SECONDS = 1.0

FindAccounts = Callable[[Collection[str]], Awaitable[Mapping[str, str]]]
"""The accounts of agents, connections and their like, by id; it may fail while the database is away."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How an agent does. `since` is unix seconds."""

    state: AgentState
    since: int
    flapping: bool


@dataclass(frozen=True, slots=True)
class _Happening:
    kind: str
    subject: str
    """The id of what it belongs to: an agent or a connection."""
    details: dict[str, Any]


class Watching:
    """`wanted` is how many tunnels an instance is told to keep; `clock` is monotonic seconds."""

    def __init__(
        self,
        registry: Registry,
        feed: Feed,
        find: FindAccounts,
        *,
        wanted: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._feed = feed
        self._find = find
        self._wanted = wanted
        self._clock = clock
        self._agents: dict[str, Condition] = {}
        self._touched: set[str] = set()
        self._unsettled: set[str] = set()
        self._looked = 0.0
        self._rest: list[str] = []
        self._accounts: dict[str, str] = {}
        self._waiting: deque[_Happening] = deque(maxlen=WAITING)
        self._stirred = asyncio.Event()
        registry.on_came, registry.on_gone = self._came, self._gone

    def of(self, agent: str) -> Seen | None:
        """How it does at this moment; None: nothing of it was seen on this node lately."""
        condition = self._agents.get(agent)
        if condition is None and not self._registry.of(agent):
            return None
        condition = self._look(agent)
        return Seen(condition.state, int(time.time() - (self._clock() - condition.since)), condition.flapping)

    def in_state(self, state: AgentState) -> list[str]:
        """The agents that are in that state, as it was seen within the last seconds."""
        for agent in islice(chain(tuple(self._touched), tuple(self._unsettled)), AT_ONCE):
            self._look(agent)
        return [agent for agent, condition in self._agents.items() if condition.state is state]

    def changed(self, changes: Iterable[Change]) -> None:
        """Records have changed: whoever shows them looks at them anew."""
        for change in changes:
            details = {"subject": change.subject, "record": change.kind, "revoked": change.revoked}
            self._waiting.append(_Happening("changed", change.subject, details))
        self._stirred.set()

    def cloned(self, tunnel: Tunnel) -> None:
        """Another process with the tunnel's key was turned away."""
        self._note("agent.clone", tunnel)
        self._stirred.set()

    def unwell(self) -> list[str]:
        """Agents that are degraded or whose line is unsteady, or that were lost lately without a word."""
        return [agent for agent, seen in self._agents.items() if _unwell(seen)]

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._stirred.clear()
            try:
                for agent in self._turn():
                    self._look(agent)
                await self._tell()
            except Exception as error:  # noqa: BLE001 - the database may be away: what waits is told later
                log.warning("notices wait", reason=str(error), waiting=len(self._waiting))
                await asyncio.sleep(AGAIN_SECONDS)
            await asyncio.sleep(TOGETHER_SECONDS)
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._stirred.wait()
            except TimeoutError:
                continue

    def _came(self, tunnel: Tunnel) -> None:
        self._note("tunnel.up", tunnel)
        self._touched.add(tunnel.identity.agent)
        self._stirred.set()

    def _gone(self, tunnel: Tunnel) -> None:
        agent = tunnel.identity.agent
        if not tunnel.replaced:
            self._condition(agent).gone(self._clock(), planned=tunnel.planned)
        self._note("tunnel.down", tunnel, reason=tunnel.ending, planned=tunnel.planned)
        self._touched.add(agent)
        self._stirred.set()

    def _note(self, kind: str, tunnel: Tunnel, **details: Any) -> None:
        told = {"instance": tunnel.identity.instance, "transport": tunnel.transport, "remote": tunnel.remote}
        self._waiting.append(_Happening(kind, tunnel.identity.agent, told | details))

    def _condition(self, agent: str) -> Condition:
        condition = self._agents.get(agent)
        if condition is None:
            condition = self._agents[agent] = Condition(self._clock())
        return condition

    def _turn(self) -> list[str]:
        """Whom to look at now: whose tunnels came or went; when it is time, all that may change with time as well, and
        the next part of the others.
        """
        touched, self._touched = self._touched, set()
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return [*touched]
        self._looked = now
        if not self._rest:
            self._forget()
            self._rest = list(self._agents)
        number = len(self._agents) // ROUND + 1
        part, self._rest = self._rest[:number], self._rest[number:]
        return [*touched, *self._unsettled, *part]

    def _look(self, agent: str) -> Condition:
        condition, now = self._condition(agent), self._clock()
        before, steady = condition.state, not condition.flapping
        if condition.look(now, self._standing(agent)):
            if condition.state is not before:
                lost = {"planned": condition.planned} if condition.state is AgentState.OFFLINE else {}
                self._waiting.append(_Happening(f"agent.{condition.state}", agent, lost))
            if condition.flapping is steady:
                self._waiting.append(_Happening("agent.flapping" if steady else "agent.steady", agent, {}))
            self._stirred.set()
        if condition.settled:
            self._unsettled.discard(agent)
        else:
            self._unsettled.add(agent)
        return condition

    def _standing(self, agent: str) -> Standing:
        by_instance: dict[str, tuple[int, int]] = {}
        tunnels = proved = 0
        for tunnel in self._registry.of(agent):
            if tunnel.lost:
                continue
            good = int(tunnel.usable and not tunnel.doubtful)
            have, want = by_instance.get(tunnel.identity.instance, (0, 1))
            by_instance[tunnel.identity.instance] = have + good, max(want, self._wanted if tunnel.keeps_several else 1)
            tunnels, proved = tunnels + 1, proved + good
        return Standing(tunnels, proved, any(have < want for have, want in by_instance.values()))

    async def _tell(self) -> None:
        """Publish what waits, in its order, for the accounts that it belongs to. Raises what `find` raises."""
        unknown = {each.subject for each in self._waiting} - self._accounts.keys()
        found = self._accounts | dict(await self._find(unknown)) if unknown else self._accounts
        while self._waiting and (self._waiting[0].subject in found or self._waiting[0].subject in unknown):
            each = self._waiting.popleft()
            self._publish(each, found.get(each.subject))
        self._accounts.update({agent: found[agent] for agent in self._agents if agent in found})

    def _publish(self, each: _Happening, account: str | None) -> None:
        """What belongs to nobody any more is told to operators alone."""
        agent = each.subject if each.subject.startswith("agt_") else None
        connection = each.subject if each.subject.startswith("con_") else None
        self._feed.publish(each.kind, account=account, agent=agent, connection=connection, **each.details)

    def _forget(self) -> None:
        now = self._clock()
        for agent in [agent for agent, seen in self._agents.items() if _over(seen, now)]:
            del self._agents[agent]
            self._accounts.pop(agent, None)


def _unwell(condition: Condition) -> bool:
    lost = condition.state is AgentState.OFFLINE and not condition.planned
    return condition.state is AgentState.DEGRADED or condition.flapping or lost


def _over(condition: Condition, now: float) -> bool:
    return condition.state is AgentState.OFFLINE and condition.settled and now - condition.since > FORGET_SECONDS
