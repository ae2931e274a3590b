"""What the typed surface needs of the rest of the relay, and how a request reaches it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from agent.wire.enrolment import Endpoint
from relay.access_log import AccessLog
from relay.api.pace import Pace
from relay.api.shares import Shares
from relay.database.directory import Directory
from relay.database.engine import Database
from relay.gateway.traffic import Ledger
from relay.health.feed import Feed
from relay.health.store_health import StoreHealth
from relay.health.watching import Watching
from relay.metrics.exposition import Exposition
from relay.metrics.surface_tally import SurfaceTally
from relay.prestashop.connection_test import ConnectionTest
from relay.prestashop.pictures import Pictures
from relay.prestashop.shops import Shops
from relay.tunnels.admission import Admission
from relay.tunnels.authority import Authority
from relay.tunnels.registry import Registry
from relay.webhooks.sending import Guard

Readiness = Callable[[], Awaitable[Mapping[str, str]]]
"""Answers what must work before the relay is ready, by name: `ok`, or a sentence that says what is wrong."""

TUNNELS = 2
"""How many tunnels an instance is told to keep."""


def _staying() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Parts:
    """`public_url` is spelled as `agent.wire.enrolment.relay_url` spells it; `clock` is unix seconds."""

    database: Database
    directory: Directory
    registry: Registry
    authority: Authority
    connection_test: ConnectionTest
    shops: Shops
    public_url: str
    endpoints: list[Endpoint]
    ready: Readiness
    version: str
    clock: Callable[[], float]
    feed: Feed = field(default_factory=lambda: Feed(time.time))
    stores: StoreHealth = field(default_factory=lambda: StoreHealth(Feed(time.time), time.time))
    """What is known of the stores that agents publish and connections lead to."""
    watching: Watching
    """How the agents do whose tunnels stand, or stood, on this node."""
    traffic: Ledger = field(default_factory=lambda: Ledger(time.monotonic))
    guard: Guard = field(default_factory=Guard)
    """Which endpoints triggers may send to."""
    leaving: Callable[[], bool] = _staying
    """Whether this node is about to be gone."""
    started_at: float = field(default_factory=time.time)
    """When this node began, unix seconds."""
    node: str = "local"
    tunnels: int = TUNNELS
    used: set[str] = field(default_factory=set)
    """Digests of the credentials that were accepted, until somebody writes them down and clears the set."""
    callers: Shares = field(default_factory=lambda: Shares(in_all=256, each=32))
    """Requests under way by account: each may hold a body of 1 MiB and waits for the database."""
    enrolments: Shares = field(default_factory=lambda: Shares(in_all=64, each=8))
    """Enrolments under way by source address; whoever sends one has proved nothing yet."""
    known_enrolments: Shares = field(default_factory=lambda: Shares(in_all=64, each=16))
    """The same for sources that agents came from lately: strangers cannot crowd them out."""
    proved_enrolments: Shares = field(default_factory=lambda: Shares(in_all=64, each=16))
    """By account, of those whose signatures were good: they wait for the database's one writer."""
    enrolment_pace: Pace = field(default_factory=lambda: Pace(time.monotonic, a_second=50, at_once=100))
    """Of these as well: some 10 ms of CPU each, so that a fleet that comes at once leaves half of the core."""
    admission: Admission = field(default_factory=lambda: Admission(time.monotonic))
    """Of the SSH listeners: it hears who has enrolled."""
    tests: Shares = field(default_factory=lambda: Shares(in_all=32, each=4))
    """Connection tests under way by account: each may keep a store busy for a minute."""
    tested: Shares = field(default_factory=lambda: Shares(in_all=32, each=1))
    """The same by connection."""
    pictures: Pictures = field(default_factory=lambda: Pictures(time.monotonic))
    """Of all connections, by account."""
    access_log: AccessLog = field(default_factory=lambda: AccessLog("none", str))
    surface: SurfaceTally = field(default_factory=SurfaceTally)
    """What this surface has answered."""
    enrolled: Counter[str] = field(default_factory=Counter)
    """What came of enrolments."""
    metrics: Exposition = field(default_factory=Exposition)
    listeners: Shares = field(default_factory=lambda: Shares(in_all=512, each=32))
    """Who follows the events, by account."""
    streams: Shares = field(default_factory=lambda: Shares(in_all=128, each=8))
    """Lists being streamed by account: each holds a few pages, and may go on for hours."""


def parts_of(request: Request) -> Parts:
    parts = request.app.state.parts
    if not isinstance(parts, Parts):
        raise TypeError("the surface was built to be described, not to serve")
    return parts


Serving = Annotated[Parts, Depends(parts_of)]
