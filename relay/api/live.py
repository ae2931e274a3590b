"""What is known of agents at this moment: the database's rows beside the tunnels that stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.wire.destination import CONTROL
from relay.api.parts import Parts
from relay.database import overview
from relay.database.records import Accounts, AgentRecord, InstanceRecord
from relay.tunnels.tunnel import Tunnel


class AgentState(StrEnum):
    ONLINE = "online"
    """At least one tunnel stands."""
    OFFLINE = "offline"
    """It has enrolled, and no tunnel stands."""
    NEVER = "never"
    """No instance has enrolled yet."""
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class LiveAgent:
    """An agent with what is known of it now. Times are unix seconds."""

    record: AgentRecord
    instances: tuple[InstanceRecord, ...]
    tunnels: tuple[Tunnel, ...]
    now: int

    @property
    def state(self) -> AgentState:
        if self.record.revoked_at is not None:
            return AgentState.REVOKED
        if self.tunnels:
            return AgentState.ONLINE
        return AgentState.OFFLINE if self.instances else AgentState.NEVER

    @property
    def since(self) -> int:
        """Since when the state has been so, as far as it is known."""
        match self.state:
            case AgentState.REVOKED:
                return self.record.revoked_at or self.now
            case AgentState.ONLINE:
                return int(min(tunnel.since for tunnel in self.tunnels))
            case AgentState.OFFLINE:
                return self.last_seen_at or self.record.created_at
            case AgentState.NEVER:
                return self.record.created_at

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
    return [LiveAgent(record, tuple(enrolled[record.id]), standing(parts, record.id), now) for record in records]


def standing(parts: Parts, agent: str) -> tuple[Tunnel, ...]:
    """The agent's tunnels on this node, newest first."""
    return tuple(tunnel for tunnel in parts.registry.of(agent) if not tunnel.lost)
