"""What the rooms of the relay tell each other: plain records, free of database rows, SSH and HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Literal

from pydantic import SecretStr

from agent.wire.destination import Destination


class Scope(StrEnum):
    """What an API token may do; each includes those before it."""

    STATUS = "status"
    READ = "read"
    FORWARD = "forward"
    MANAGE = "manage"
    OPERATE = "operate"

    def allows(self, wanted: Scope) -> bool:
        order = list(Scope)
        return order.index(self) >= order.index(wanted)


class Mode(StrEnum):
    ON_PREMISE = "on-premise"
    CLOUD = "cloud"


class KeyPlace(StrEnum):
    """How the store's key travels: as HTTP Basic user, or in the query where the web server drops `Authorization`."""

    BASIC = "basic"
    WS_KEY = "ws_key"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: an API token (id `tok_…`) or a connection's access key (id `key_…`)."""

    account: str
    id: str
    scope: Scope
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Where a store is: origin and base path. `host_header` is what the shop calls itself (`Host`, SNI)."""

    scheme: Literal["http", "https"]
    destination: Destination
    base_path: str = ""
    """Empty or `/prestashop`: never with a final slash, never with `/api`."""

    @property
    def host_header(self) -> str:
        default = {"http": 80, "https": 443}[self.scheme]
        return self.destination.host if self.destination.port == default else str(self.destination)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header}{self.base_path}"


@dataclass(frozen=True, slots=True)
class Trust:
    """By what an https store's certificate is verified: public roots, or the connection's own CA, or a pinned key."""

    ca_pem: str | None = None
    pinned_spki_sha256: str | None = None
    """64 hex digits: SHA-256 over the certificate's SubjectPublicKeyInfo (RFC 7469 §2.4)."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection as the hot path needs it. Equal records mean that pools and keys may be kept."""

    id: str
    account: str
    name: str
    mode: Mode
    agent: str | None
    store: StoreUrl
    api_key: SecretStr = field(repr=False)
    key_place: KeyPlace = KeyPlace.BASIC
    trust: Trust = Trust()
    access_keys: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Pairs of id (`key_…`) and SHA-256 (hex) of those that are valid."""
    concurrency: int = 64
    """Ceiling of requests at the store at once."""
    answer_timeout: int = 300
    """Seconds without a byte from the store, before its answer or within it, after which it has failed."""


@dataclass(frozen=True, slots=True)
class AgentKey:
    """A public key (id `agk_…`) that may log in as the agent."""

    id: str
    agent: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """What lets an instance open a WebSocket, until `expires_at` (unix seconds); `token` is the agent token's id."""

    agent: str
    instance: str
    token: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Change:
    """A row of `changes`: something that running nodes act on. `seq` grows; `subject` is an id."""

    seq: int
    kind: Literal["connection", "api_token", "agent", "agent_token", "agent_key", "instance", "account", "authority"]
    subject: str
    revoked: bool
    """Whether live use of the subject must end now, not only be looked up afresh."""


class Missing(Enum):
    """Told from None: a cache that has not looked yet knows nothing, not even that there is nothing."""

    MISSING = "missing"


MISSING = Missing.MISSING
