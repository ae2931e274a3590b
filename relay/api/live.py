"""What is known of agents at this moment: the database's rows beside the tunnels that stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.wire.destination import CONTROL
from relay.api.parts import Parts
from relay.database import overview
from relay.database.agent_search import Search
from relay.database.records import Accounts, AgentRecord, InstanceRecord
from relay.gateway.traffic import Summary
from relay.health.conditions import AgentState
from relay.health.store_states import StoreState
from relay.health.watching import Seen
from relay.tunnels.tunnel import Tunnel


@dataclass(frozen=True, slots=True)
class LiveAgent:
    """An agent with what is known of it now. Times are unix seconds."""

    record: AgentRecord
    instances: tuple[InstanceRecord, ...]
    tunnels: tuple[Tunnel, ...]
    seen: Seen | None
    """What this node has seen of it lately."""
    stores: tuple[StoreState, ...]
    traffic: Summary | None
    now: int

    @property
    def state(self) -> AgentState:
        if self.record.revoked_at is not None:
            return AgentState.REVOKED
        if self.tunnels and self.seen:
            return self.seen.state
        return AgentState.OFFLINE if self.instances else AgentState.NEVER

    @property
    def flapping(self) -> bool:
        return self.seen is not None and self.seen.flapping

    @property
    def since(self) -> int:
        """Since when the state has been so, as far as it is known."""
        match self.state:
            case AgentState.REVOKED:
                return self.record.revoked_at or self.now
            case AgentState.NEVER:
                return self.record.created_at
            case AgentState.OFFLINE if not self.seen:
                return self.last_seen_at or self.record.created_at
        return self.seen.since if self.seen else self.now

    @property
    def last_seen_at(self) -> int | None:
        if self.tunnels:
            return self.now
        return max((instance.last_seen_at for instance in self.instances), default=None)


def stores_of(tunnel: Tunnel) -> list[str]:
    """What the tunnel publishes, without the reserved name."""
    return [str(destination) for destination in sorted(tunnel.published) if destination != CONTROL]


async def look(parts: Parts, accounts: Accounts, records: Sequence[AgentRecord]) -> list[LiveAgent]:
    """The agents in the order given. Raises DatabaseUnavailable."""
    enrolled: dict[str, list[InstanceRecord]] = {record.id: [] for record in records}
    for instance in await overview.instances_of(parts.database, accounts, list(enrolled)):
        enrolled[instance.agent].append(instance)
    now = int(parts.clock())
    return [_now(parts, record, tuple(enrolled[record.id]), now) for record in records]


def standing(parts: Parts, agent: str) -> tuple[Tunnel, ...]:
    """The agent's tunnels on this node, newest first."""
    return tuple(tunnel for tunnel in parts.registry.of(agent) if not tunnel.lost)


def searched(parts: Parts, state: AgentState | None, words: str | None, version: str | None) -> Search:
    """What to ask the database for, so that the agents it finds are in that state now."""
    match state:
        case None:
            return Search(words=words, version=version)
        case AgentState.REVOKED:
            return Search(words=words, version=version, revoked=True)
        case AgentState.ONLINE | AgentState.DEGRADED:
            among = frozenset(parts.watching.in_state(state))
            return Search(words=words, version=version, revoked=False, among=among)
    here = frozenset(tunnel.identity.agent for tunnel in parts.registry if not tunnel.lost)
    enrolled = state is AgentState.OFFLINE
    return Search(words=words, version=version, revoked=False, enrolled=enrolled, but=here)


def _now(parts: Parts, record: AgentRecord, enrolled: tuple[InstanceRecord, ...], now: int) -> LiveAgent:
    tunnels = standing(parts, record.id)
    known = parts.stores.of_agent(record.id)
    published = dict.fromkeys(name for tunnel in tunnels for name in stores_of(tunnel))
    stores = tuple(known.get(name) or StoreState(name) for name in sorted(published | dict.fromkeys(known)))
    seen, traffic = parts.watching.of(record.id), parts.traffic.agent(record.id)
    return LiveAgent(record, enrolled, tunnels, seen, stores, traffic, now)
