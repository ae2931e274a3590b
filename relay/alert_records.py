"""What the rooms of the relay tell each other about alerts: what is wrong, since when, and that it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class AlertKind(StrEnum):
    AGENT_OFFLINE = "agent.offline"
    AGENT_ONLINE = "agent.online"
    AGENT_FLAPPING = "agent.flapping"
    AGENT_STEADY = "agent.steady"
    AGENT_CLONE = "agent.clone"
    AGENT_VERSION_BEHIND = "agent.version_behind"
    STORE_UNREACHABLE = "store.unreachable"
    STORE_REACHABLE = "store.reachable"
    STORE_KEY_REFUSED = "store.key_refused"
    STORE_KEY_ACCEPTED = "store.key_accepted"
    CERTIFICATE_EXPIRING = "certificate.expiring"
    TOKEN_EXPIRING = "token.expiring"  # noqa: S105 - what is told, not a secret


LEFT = " left"
"""Behind an agent's id: it has said goodbye, and nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What is told once while it lasts; `kind` is the alert that told of its beginning."""

    account: str | None
    """None: the relay's own, told to the account `default`."""
    kind: AlertKind
    subject: str
    """An id, or an id, a blank and what of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What an alert tells beside its kind. `details` are plain values, fit for JSON, without secrets."""

    agent: str | None = None
    connection: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A condition holds since `since` (unix seconds)."""

    condition: Condition
    since: int
    about: About
    forget_at: int | None = None
    """Nobody will say that it is over: then it is."""
    quiet: bool = False
    """It is put on record, and nobody is told."""


@dataclass(frozen=True, slots=True)
class AllClear:
    """A condition is over; without a `kind` nobody is told."""

    condition: Condition
    at: int
    kind: AlertKind | None = None
    about: About = field(default_factory=About)


Word = Alarm | AllClear


@dataclass(frozen=True, slots=True)
class Expected:
    """An agent that was here when the relay last knew; `seen_at` is unix seconds."""

    account: str
    agent: str
    seen_at: int


@dataclass(frozen=True, slots=True)
class Ending:
    """A token or a certificate that ends at `ends_at` (unix seconds)."""

    kind: AlertKind
    account: str | None
    subject: str
    """Its id, or of what it is."""
    ends_at: int
    about: About


@dataclass(frozen=True, slots=True)
class Running:
    """An instance and the version that it enrolled with."""

    account: str
    agent: str
    instance: str
    version: str
