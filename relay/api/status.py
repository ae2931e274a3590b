"""`/v1/status`: everything at a glance."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, Field

from relay.api.authentication import AccountNamed, StatusCaller, account_router, narrowed
from relay.api.live import LiveAgent, look
from relay.api.openapi import refusals
from relay.api.parts import Parts, Serving
from relay.api.sentences import Sentence
from relay.api.shapes import Name, Time
from relay.api.traffic_shapes import Traffic
from relay.database import agents, overview
from relay.database.agent_search import Search
from relay.database.overview import Counts
from relay.database.records import Accounts
from relay.health.agent_remedies import remedy_of
from relay.health.conditions import AgentState
from relay.health.versions import is_older
from relay.tunnels.tunnel import Tunnel

WORST = 10
"""Agents that are named; whoever has more in trouble asks for the list."""
CANDIDATES = 500
"""Agents with something amiss that are looked at for that."""

router = account_router("/v1/status", "status")


class NodeStatus(BaseModel):
    """The relay process that answers."""

    name: str
    version: Annotated[str, Field(examples=["0.1.0"])]
    started_at: Time
    uptime_seconds: int
    tunnels: Annotated[int, Field(description="That stand on this node and belong to the accounts looked at.")]
    channels: Annotated[int, Field(description="TCP connections to stores in these tunnels.")]


class Worst(BaseModel):
    """An agent with something amiss."""

    id: Annotated[str, Field(examples=["agt_k3v7qjx2m5w4tzab"])]
    name: Name
    account: str
    state: AgentState
    since: Time
    flapping: bool
    errors: Annotated[int, Field(description="Requests of the last five minutes that failed.")]
    remedy: Sentence | None

    @classmethod
    def of(cls, agent: LiveAgent) -> Self:
        advice = remedy_of(agent.state, flapping=agent.flapping)
        return cls(
            id=agent.record.id,
            name=agent.record.name,
            account=agent.record.account,
            state=agent.state,
            since=agent.since,
            flapping=agent.flapping,
            errors=_errors(agent),
            remedy=Sentence.of(advice) if advice else None,
        )


class Status(BaseModel):
    time: Time
    agents: Annotated[
        dict[AgentState, int],
        Field(examples=[{"online": 3, "degraded": 0, "offline": 1, "never": 0, "revoked": 0}]),
    ]
    connections: int
    versions: Annotated[dict[str, int], Field(description="Instances by the agent's version.", examples=[{"0.1.0": 4}])]
    versions_behind: Annotated[int, Field(description="Instances with an older version than this relay.")]
    worst: Annotated[
        list[Worst],
        Field(description=f"Up to {WORST} agents: degraded, unsteady, lost lately without a word, or with failures."),
    ]
    traffic: Annotated[Traffic | None, Field(description="Through these agents; null: nothing in the last minutes.")]
    node: NodeStatus


@router.get("", summary="Show everything at a glance", responses=refusals("not_found"))
async def get_status(parts: Serving, asking: StatusCaller, account: AccountNamed = None) -> Status:
    """Agents by state, connections, who is worst off, and the node that answers; an operator sees all accounts."""
    accounts = narrowed(asking, account)
    tunnels = [tunnel for tunnel in parts.registry if not tunnel.lost]
    counts = await overview.count(parts.database, accounts, tunnelled={tunnel.identity.agent for tunnel in tunnels})
    versions = await overview.versions(parts.database, accounts)
    now, told = int(parts.clock()), parts.traffic.agents(counts.online)
    return Status(
        time=now,
        agents=_by_state(parts, counts),
        connections=counts.connections,
        versions=versions,
        versions_behind=sum(number for each, number in versions.items() if is_older(each, parts.version)),
        worst=await _worst(parts, accounts),
        traffic=Traffic.of(told) if told else None,
        node=_node(parts, [tunnel for tunnel in tunnels if tunnel.identity.agent in counts.online], now),
    )


def _by_state(parts: Parts, counts: Counts) -> dict[AgentState, int]:
    degraded = sum(agent in counts.online for agent in parts.watching.in_state(AgentState.DEGRADED))
    return {
        AgentState.ONLINE: len(counts.online) - degraded,
        AgentState.DEGRADED: degraded,
        AgentState.OFFLINE: counts.offline,
        AgentState.NEVER: counts.never,
        AgentState.REVOKED: counts.revoked,
    }


async def _worst(parts: Parts, accounts: Accounts) -> list[Worst]:
    amiss = [*parts.traffic.failing(), *parts.watching.unwell()]
    search = Search(revoked=False, among=frozenset(amiss[:CANDIDATES]))
    page = await agents.page(parts.database, accounts, limit=CANDIDATES, search=search)
    found = await look(parts, accounts, page.items)
    found.sort(key=lambda agent: (_ORDER[agent.state], not agent.flapping, -_errors(agent), agent.since))
    return [Worst.of(agent) for agent in found[:WORST]]


_ORDER = {state: place for place, state in enumerate((AgentState.OFFLINE, AgentState.DEGRADED, AgentState.ONLINE,
                                                     AgentState.NEVER, AgentState.REVOKED))}  # fmt: skip


def _errors(agent: LiveAgent) -> int:
    return sum(agent.traffic.errors.values()) if agent.traffic else 0


def _node(parts: Parts, tunnels: list[Tunnel], now: int) -> NodeStatus:
    return NodeStatus(
        name=parts.node,
        version=parts.version,
        started_at=int(parts.started_at),
        uptime_seconds=max(0, now - int(parts.started_at)),
        tunnels=len(tunnels),
        channels=sum(tunnel.channels for tunnel in tunnels),
    )
