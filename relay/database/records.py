"""What the database tells the command line and the API: records without secrets. Times are unix seconds UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from pydantic import SecretStr

from relay.alert_records import AlertKind
from relay.records import KeyPlace, Mode, Scope, Trust
from relay.trigger_records import Delivery, Fault, TriggerKind

T = TypeVar("T")


class Everywhere(Enum):
    EVERY_ACCOUNT = "every account"


EVERY_ACCOUNT: Final = Everywhere.EVERY_ACCOUNT
"""In place of an account's id, for an operator: said out loud, so that no forgotten value means it."""

Accounts = str | Everywhere
"""The id of the one account whose rows are seen, or EVERY_ACCOUNT."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something and from where: a caller's id or `cli:<os user>`, and an address or `local`."""

    id: str
    source: str = "local"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list; `next` is the cursor of the part after it, None at the end."""

    items: tuple[T, ...]
    next: str | None = None


def any_state(_record: object) -> None:
    """The default of `expect`, which sees a record as it stands, inside the transaction that would change it.

    Whoever must not undo another's change gives a function that raises when it is not the record that was read.
    """


@dataclass(frozen=True, slots=True)
class AccountRecord:
    id: str
    name: str
    created_at: int


@dataclass(frozen=True, slots=True)
class AgentRecord:
    id: str
    account: str
    name: str
    places: int
    """How many instances may be enrolled at once."""
    created_at: int
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class AgentTokenRecord:
    id: str
    account: str
    agent: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class AgentKeyRecord:
    """A public key with which stock OpenSSH logs in as the agent."""

    id: str
    account: str
    agent: str
    public_key: str
    fingerprint: str
    """As `ssh-keygen -l` shows it."""
    comment: str
    created_at: int


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """`last_seen_at` is the last enrolment, or the last `instances.seen`, whichever is later."""

    id: str
    account: str
    agent: str
    token: str
    """The agent token that it showed last."""
    public_key: str
    host_name: str
    version: str
    stores: tuple[str, ...]
    enrolled_at: int
    last_seen_at: int
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class ApiTokenRecord:
    id: str
    account: str
    name: str
    scope: Scope
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None
    """To the minute or so: `uses.note`."""


@dataclass(frozen=True, slots=True)
class AccessKeyRecord:
    id: str
    account: str
    connection: str
    created_at: int
    revoked_at: int | None = None
    last_used_at: int | None = None
    """To the minute or so: `uses.note`."""


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """A connection as it may be shown: the store's key is write-only, `key_set_at` says when it was given."""

    id: str
    account: str
    name: str
    mode: Mode
    agent: str | None
    store_url: str
    key_place: KeyPlace
    trust: Trust
    concurrency: int
    answer_timeout: int
    key_set_at: int
    created_at: int
    updated_at: int
    key_checked_at: int | None = None
    """When the store's key was last tried by a connection test; None: not since it was given."""
    key_works: bool | None = None
    """What came of it."""
    access_keys: tuple[AccessKeyRecord, ...] = ()
    """Those that are valid: at most two, oldest first."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    seq: int
    at: int
    account: str | None
    actor: str
    source: str
    action: str
    """Noun and verb, such as `agent.create`, `instance.enrol`, `instance.refuse`."""
    subject: str
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewAgentToken:
    """`text` is shown once and kept nowhere: the relay keeps only the token's public key."""

    token: AgentTokenRecord
    text: SecretStr = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewAgent:
    agent: AgentRecord
    token: AgentTokenRecord
    text: SecretStr = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewApiToken:
    token: ApiTokenRecord
    text: SecretStr = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewAccessKey:
    key: AccessKeyRecord
    text: SecretStr = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewConnection:
    connection: ConnectionRecord
    access_key: SecretStr = field(repr=False)


@dataclass(frozen=True, slots=True)
class TriggerProgress:
    """How a trigger does by itself. `waiting` events are on their way to its endpoint, `dead` ones were given up."""

    next_run_at: int
    last_run_at: int | None
    failures: int
    """Cycles that have failed one after the other."""
    fault: Fault | None
    """Why the last cycle failed; None: it did not."""
    disabled_because: str | None
    waiting: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True)
class TriggerRecord:
    id: str
    account: str
    connection: str
    kind: TriggerKind
    interval: int
    """Seconds between two looks at the store."""
    ceiling: int
    """Most items in one event."""
    time_zone: str | None
    url: str | None
    """Where events are sent; None: they are pulled."""
    enabled: bool
    former_secret_until: int | None
    created_at: int
    updated_at: int
    progress: TriggerProgress


@dataclass(frozen=True, slots=True)
class NewTrigger:
    """`secret` signs what is sent, and is shown once; None where nothing is sent."""

    trigger: TriggerRecord
    secret: SecretStr | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class AlertProgress:
    """How the delivery of alerts does. `waiting` ones are on their way to the endpoint, `dead` ones were given up."""

    disabled_because: str | None
    waiting: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """A subscription to the alerts of an account."""

    id: str
    account: str
    kinds: tuple[AlertKind, ...] | None
    """None: all there are."""
    url: str | None
    """Where alerts are sent; None: they are pulled."""
    enabled: bool
    former_secret_until: int | None
    created_at: int
    updated_at: int
    progress: AlertProgress


@dataclass(frozen=True, slots=True)
class NewAlert:
    """`secret` signs what is sent, and is shown once; None where nothing is sent."""

    alert: AlertRecord
    secret: SecretStr | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class TriggerEventRecord:
    """`body` is JSON as it is sent; the rest tells how its delivery went."""

    id: str
    trigger: str
    body: str = field(repr=False)
    created_at: int
    delivery: Delivery
    attempts: int
    last_failure: str | None
    ended_at: int | None
