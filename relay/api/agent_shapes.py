"""Agents, their tokens and instances as the typed surface shows and takes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field

from relay.api.answers import ShownOnce
from relay.api.live import LiveAgent, stores_of
from relay.api.sentences import Sentence
from relay.api.shapes import Form, Name, OwnerNamed, Patch, Shown, Time, absent
from relay.api.store_shapes import StoreSeen
from relay.api.traffic_shapes import Traffic
from relay.database.agents import PLACES_MOST
from relay.database.records import InstanceRecord, NewAgent, NewAgentToken
from relay.health.agent_remedies import remedy_of
from relay.health.conditions import AgentState
from relay.tunnels.tunnel import Tunnel as Standing

Places = Annotated[int, Field(ge=1, le=PLACES_MOST, description="Instances that may be enrolled at once.")]


class AgentForm(Form):
    name: Name
    places: Places = 1
    token_expires_at: Time | None = None
    account: OwnerNamed = None


class AgentPatch(Patch):
    name: Name = absent()
    places: Places = absent()


class AgentTokenForm(Form):
    expires_at: Time | None = None


class Tunnel(BaseModel):
    """An SSH connection that stands on the node that answers."""

    instance: Annotated[str, Field(examples=["ins_q3w5e7r2t4y6u2i3"])]
    remote: Annotated[str, Field(description="The address that it came from.", examples=["203.0.113.7"])]
    node: Annotated[str, Field(description="The relay process that holds it.", examples=["local"])]
    transport: Literal["tcp", "websocket"]
    slot: Annotated[
        int | None, Field(description="Which of the instance's tunnels it is; null: it has not said so yet.")
    ]
    since: Time
    generation: Annotated[int, Field(description="Grows; a later one of the same instance and slot replaces it.")]
    round_trip_ms: Annotated[
        float | None, Field(description="How soon the agent answers, smoothed; null: not measured yet.")
    ]
    channels: Annotated[int, Field(description="TCP connections to stores, open or being opened.")]
    stores: Annotated[list[str], Field(description="What it publishes.", examples=[["shop.lan:80"]])]

    @classmethod
    def of(cls, tunnel: Standing, node: str) -> Self:
        return cls(
            instance=tunnel.identity.instance,
            node=node,
            remote=tunnel.remote,
            transport=tunnel.transport,
            slot=tunnel.slot,
            since=int(tunnel.since),
            generation=tunnel.generation,
            round_trip_ms=None if tunnel.round_trip is None else round(tunnel.round_trip * 1000, 1),
            channels=tunnel.channels,
            stores=stores_of(tunnel),
        )


class Instance(BaseModel):
    """An installed agent process with its own key pair."""

    id: Annotated[str, Field(examples=["ins_q3w5e7r2t4y6u2i3"])]
    agent: Annotated[str, Field(examples=["agt_k3v7qjx2m5w4tzab"])]
    token: Annotated[str, Field(description="The access token that it showed last.", examples=["atk_a2b3c4d5e6f7g2h3"])]
    host_name: Annotated[str, Field(examples=["shop-server"])]
    version: Annotated[str, Field(examples=["0.1.0"])]
    stores: Annotated[list[str], Field(description="As it said when it enrolled.", examples=[["http://shop.lan"]])]
    online: bool
    clone_suspected: Annotated[
        bool, Field(description="Another process with the same key has tried again and again to take its place.")
    ]
    enrolled_at: Time
    last_seen_at: Time
    revoked_at: Time | None

    @classmethod
    def of(cls, record: InstanceRecord, tunnels: Iterable[Standing]) -> Self:
        here = [tunnel for tunnel in tunnels if tunnel.identity.instance == record.id and not tunnel.lost]
        return cls(
            id=record.id,
            agent=record.agent,
            token=record.token,
            host_name=record.host_name,
            version=record.version,
            stores=list(record.stores),
            online=bool(here),
            clone_suspected=any(tunnel.disputed for tunnel in here),
            enrolled_at=record.enrolled_at,
            last_seen_at=record.last_seen_at,
            revoked_at=record.revoked_at,
        )


class Agent(BaseModel):
    """An agent, and how it is now."""

    id: Annotated[str, Field(examples=["agt_k3v7qjx2m5w4tzab"])]
    account: Annotated[str, Field(examples=["acc_b7c6d5e4f3g2h7i6"])]
    name: Name
    places: Places
    created_at: Time
    revoked_at: Time | None
    state: AgentState
    since: Annotated[Time, Field(description="Since when the state has been so, as far as is known. Unix seconds.")]
    flapping: Annotated[bool, Field(description="Its tunnels break again and again.")]
    remedy: Annotated[Sentence | None, Field(description="What to do about its state; null: nothing.")]
    last_seen_at: Time | None
    instances: list[Instance]
    tunnels: list[Tunnel]
    stores: Annotated[list[StoreSeen], Field(description="What it publishes, and how that does.")]
    traffic: Annotated[
        Traffic | None, Field(description="Of its connections, on this node; null: nothing in the last minutes.")
    ]

    @classmethod
    def of(cls, agent: LiveAgent, node: str) -> Self:
        record, advice = agent.record, remedy_of(agent.state, flapping=agent.flapping)
        return cls(
            id=record.id,
            account=record.account,
            name=record.name,
            places=record.places,
            created_at=record.created_at,
            revoked_at=record.revoked_at,
            state=agent.state,
            since=agent.since,
            flapping=agent.flapping,
            remedy=Sentence.of(advice) if advice else None,
            last_seen_at=agent.last_seen_at,
            instances=[Instance.of(instance, agent.tunnels) for instance in agent.instances],
            tunnels=[Tunnel.of(tunnel, node) for tunnel in agent.tunnels],
            stores=[StoreSeen.of(store) for store in agent.stores],
            traffic=Traffic.of(agent.traffic) if agent.traffic else None,
        )


class AgentCreated(Agent):
    """A new agent with its first access token."""

    token: Annotated[ShownOnce, Field(description="Shown once: give it to the agent, and to nobody else.")]
    token_id: Annotated[str, Field(examples=["atk_a2b3c4d5e6f7g2h3"])]

    @classmethod
    def of_new(cls, agent: LiveAgent, new: NewAgent, node: str) -> Self:
        return cls(**dict(Agent.of(agent, node)), token=new.text, token_id=new.token.id)


class AgentToken(Shown):
    """An access token, without its text: the relay keeps only the public half."""

    id: Annotated[str, Field(examples=["atk_a2b3c4d5e6f7g2h3"])]
    agent: Annotated[str, Field(examples=["agt_k3v7qjx2m5w4tzab"])]
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None


class AgentTokenCreated(AgentToken):
    token: Annotated[ShownOnce, Field(description="Shown once: give it to the agent, and to nobody else.")]

    @classmethod
    def of_new(cls, new: NewAgentToken) -> Self:
        return cls(**dict(AgentToken.of(new.token)), token=new.text)
