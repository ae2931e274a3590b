"""`/v1/status`: everything at a glance."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from relay.api.authentication import AccountNamed, StatusCaller, account_router, narrowed
from relay.api.live import AgentState
from relay.api.openapi import refusals
from relay.api.parts import Parts, Serving
from relay.api.shapes import Time
from relay.database import overview
from relay.tunnels.tunnel import Tunnel

router = account_router("/v1/status", "status")


class NodeStatus(BaseModel):
    """The relay process that answers."""

    name: str
    version: Annotated[str, Field(examples=["0.1.0"])]
    started_at: Time
    uptime_seconds: int
    tunnels: Annotated[int, Field(description="That stand on this node and belong to the accounts looked at.")]
    channels: Annotated[int, Field(description="TCP connections to stores in these tunnels.")]


class Status(BaseModel):
    time: Time
    agents: Annotated[dict[AgentState, int], Field(examples=[{"online": 3, "offline": 1, "never": 0, "revoked": 0}])]
    connections: int
    node: NodeStatus


@router.get("", summary="Show everything at a glance", responses=refusals("not_found"))
async def get_status(parts: Serving, asking: StatusCaller, account: AccountNamed = None) -> Status:
    """Agents by state, connections, and the node that answers; an operator sees all accounts at once."""
    accounts = narrowed(asking, account)
    tunnels = [tunnel for tunnel in parts.registry if not tunnel.lost]
    counts = await overview.count(parts.database, accounts, tunnelled={tunnel.identity.agent for tunnel in tunnels})
    now = int(parts.clock())
    return Status(
        time=now,
        agents={
            AgentState.ONLINE: len(counts.online),
            AgentState.OFFLINE: counts.offline,
            AgentState.NEVER: counts.never,
            AgentState.REVOKED: counts.revoked,
        },
        connections=counts.connections,
        node=_node(parts, [tunnel for tunnel in tunnels if tunnel.identity.agent in counts.online], now),
    )


def _node(parts: Parts, tunnels: list[Tunnel], now: int) -> NodeStatus:
    return NodeStatus(
        name=parts.node,
        version=parts.version,
        started_at=int(parts.started_at),
        uptime_seconds=max(0, now - int(parts.started_at)),
        tunnels=len(tunnels),
        channels=sum(tunnel.channels for tunnel in tunnels),
    )
