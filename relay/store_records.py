"""What the rooms of the relay tell each other about the ways to stores, to those who look after them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgentWays:
    """An agent's account, and the connections through it: pairs of an id and the store's `host:port`."""

    account: str
    connections: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CloudWay:
    """A connection without an agent; `store` is `host:port`."""

    account: str
    connection: str
    store: str
