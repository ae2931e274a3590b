"""What the typed surface needs of the rest of the relay, and how a request reaches it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from agent.wire.enrolment import Endpoint
from relay.api.shares import Shares
from relay.database.directory import Directory
from relay.database.engine import Database
from relay.prestashop.connection_test import ConnectionTest
from relay.tunnels.authority import Authority
from relay.tunnels.registry import Registry

Readiness = Callable[[], Awaitable[Mapping[str, str]]]
"""Answers what must work before the relay is ready, by name: `ok`, or a sentence that says what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """`public_url` is spelled as `agent.wire.enrolment.relay_url` spells it; `clock` is unix seconds."""

    database: Database
    directory: Directory
    registry: Registry
    authority: Authority
    connection_test: ConnectionTest
    public_url: str
    endpoints: list[Endpoint]
    ready: Readiness
    version: str
    clock: Callable[[], float]
    started_at: float = field(default_factory=time.time)
    """When this node began, unix seconds."""
    node: str = "local"
    tunnels: int = 1
    """How many tunnels an instance is told to keep."""
    used: set[str] = field(default_factory=set)
    """Digests of the credentials that were accepted, until somebody writes them down and clears the set."""
    callers: Shares = field(default_factory=lambda: Shares(in_all=256, each=32))
    """Requests under way by account: each may hold a body of 1 MiB and waits for the database."""
    enrolments: Shares = field(default_factory=lambda: Shares(in_all=64, each=8))
    """Enrolments under way by source address; whoever sends one has proved nothing yet."""
    tests: Shares = field(default_factory=lambda: Shares(in_all=32, each=4))
    """Connection tests under way by account: each may keep a store busy for a minute."""
    tested: Shares = field(default_factory=lambda: Shares(in_all=32, each=1))
    """The same by connection."""


def parts_of(request: Request) -> Parts:
    parts = request.app.state.parts
    if not isinstance(parts, Parts):
        raise TypeError("the surface was built to be described, not to serve")
    return parts


Serving = Annotated[Parts, Depends(parts_of)]
