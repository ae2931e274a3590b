"""The tables: every row that belongs to an account is tied to its neighbours by keys that hold the account too."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
_SEQUENCE = BigInteger().with_variant(Integer, "sqlite")


class Row(DeclarativeBase):
    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {int: BigInteger, str: String, dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012 - SQLAlchemy's own protocol


class OwnedRow(Row):
    """A row that belongs to one account, and is found only together with it."""

    __abstract__ = True

    noun: ClassVar[str]
    prefix: ClassVar[str]
    """Of its ids."""

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str]


class NamedRow(OwnedRow):
    """A row that its account also knows by a name of its own."""

    __abstract__ = True

    name: Mapped[str]


def _of_account() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["account"], ["accounts.id"])


class AccountRow(Row):
    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[int]


class ApiTokenRow(OwnedRow):
    __tablename__ = "api_tokens"
    noun, prefix = "API token", "tok"
    __table_args__ = (_of_account(), Index(None, "account", "name"))

    name: Mapped[str]
    scope: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[int]
    expires_at: Mapped[int | None]
    revoked_at: Mapped[int | None]
    last_used_at: Mapped[int | None]


class AgentRow(NamedRow):
    __tablename__ = "agents"
    noun, prefix = "agent", "agt"
    __table_args__ = (_of_account(), UniqueConstraint("account", "name"), UniqueConstraint("account", "id"))

    places: Mapped[int]
    created_at: Mapped[int]
    revoked_at: Mapped[int | None]


class AgentTokenRow(OwnedRow):
    __tablename__ = "agent_tokens"
    noun, prefix = "agent token", "atk"
    __table_args__ = (
        ForeignKeyConstraint(["account", "agent"], ["agents.account", "agents.id"], ondelete="CASCADE"),
        UniqueConstraint("account", "agent", "id"),
    )

    agent: Mapped[str]
    public_key: Mapped[str]
    """64 hex digits: the raw Ed25519 key. The token itself is kept nowhere."""
    created_at: Mapped[int]
    expires_at: Mapped[int | None]
    revoked_at: Mapped[int | None]


class AgentKeyRow(OwnedRow):
    """Lets stock OpenSSH log in as the agent."""

    __tablename__ = "agent_keys"
    noun, prefix = "agent key", "agk"
    __table_args__ = (
        ForeignKeyConstraint(["account", "agent"], ["agents.account", "agents.id"], ondelete="CASCADE"),
        UniqueConstraint("agent", "digest"),
    )

    agent: Mapped[str]
    public_key: Mapped[str]
    """Type and key, as in a `.pub` file."""
    digest: Mapped[str]
    """SHA-256 (hex) over the key's blob."""
    comment: Mapped[str]
    created_at: Mapped[int]


class InstanceRow(OwnedRow):
    __tablename__ = "instances"
    noun, prefix = "instance", "ins"
    __table_args__ = (
        ForeignKeyConstraint(["account", "agent"], ["agents.account", "agents.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(
            ["account", "agent", "token"], ["agent_tokens.account", "agent_tokens.agent", "agent_tokens.id"]
        ),
        Index(None, "account", "agent"),
    )

    agent: Mapped[str]
    token: Mapped[str]
    public_key: Mapped[str]
    host_name: Mapped[str]
    version: Mapped[str]
    stores: Mapped[list[str]]
    serial: Mapped[int]
    """Of the newest certificate: never falls, not even when a released key enrols again."""
    enrolled_at: Mapped[int]
    last_seen_at: Mapped[int]
    revoked_at: Mapped[int | None]
    ticket_sha256: Mapped[str | None] = mapped_column(unique=True, index=True)
    """Of what opens the WebSocket; like the former one, hex."""
    ticket_expires_at: Mapped[int | None]
    former_ticket_sha256: Mapped[str | None] = mapped_column(unique=True, index=True)
    former_ticket_expires_at: Mapped[int | None]


class ConnectionRow(NamedRow):
    __tablename__ = "connections"
    noun, prefix = "connection", "con"
    __table_args__ = (
        _of_account(),
        ForeignKeyConstraint(["account", "agent"], ["agents.account", "agents.id"]),
        UniqueConstraint("account", "name"),
        UniqueConstraint("account", "id"),
        Index(None, "account", "agent"),
        CheckConstraint(
            "(mode = 'cloud' AND agent IS NULL) OR (mode = 'on-premise' AND agent IS NOT NULL)", name="mode"
        ),
    )

    mode: Mapped[str]
    agent: Mapped[str | None]
    store_url: Mapped[str]
    key_sealed: Mapped[str]
    key_set_at: Mapped[int]
    key_place: Mapped[str]
    ca_pem: Mapped[str | None]
    pinned_spki_sha256: Mapped[str | None]
    concurrency: Mapped[int]
    answer_timeout: Mapped[int] = mapped_column(server_default="300")
    """Nodes of the version before write no such column."""
    created_at: Mapped[int]
    updated_at: Mapped[int]
    key_checked_at: Mapped[int | None]
    key_works: Mapped[bool | None]


class AccessKeyRow(OwnedRow):
    __tablename__ = "access_keys"
    noun, prefix = "access key", "key"
    __table_args__ = (
        ForeignKeyConstraint(["account", "connection"], ["connections.account", "connections.id"], ondelete="CASCADE"),
        Index(None, "account", "connection"),
    )

    connection: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[int]
    revoked_at: Mapped[int | None]
    last_used_at: Mapped[int | None]


class TriggerRow(OwnedRow):
    """`state` is how far it has read. Without `url` its events are pulled."""

    __tablename__ = "triggers"
    noun, prefix = "trigger", "trg"
    __table_args__ = (
        _of_account(),
        ForeignKeyConstraint(["account", "connection"], ["connections.account", "connections.id"], ondelete="CASCADE"),
        UniqueConstraint("account", "id"),
        Index(None, "account", "connection"),
        Index(None, "enabled", "next_run_at"),
    )

    connection: Mapped[str | None]
    """None: it is a subscription to alerts."""
    kind: Mapped[str]
    alert_kinds: Mapped[list[str] | None]
    interval: Mapped[int]
    ceiling: Mapped[int]
    time_zone: Mapped[str | None]
    url: Mapped[str | None]
    secret_sealed: Mapped[str | None]
    former_secret_sealed: Mapped[str | None]
    former_secret_until: Mapped[int | None]
    enabled: Mapped[bool]
    disabled_because: Mapped[str | None]
    state: Mapped[dict[str, Any]]
    next_run_at: Mapped[int]
    leased_until: Mapped[int]
    fence: Mapped[int]
    """One more each time that a node takes the trigger: whoever comes with an older number writes nothing."""
    last_run_at: Mapped[int | None]
    failures: Mapped[int]
    fault: Mapped[dict[str, Any] | None]
    told: Mapped[int] = mapped_column(default=0)
    """Events so far: each has its number, so that a receiver sees where one is missing."""
    created_at: Mapped[int]
    updated_at: Mapped[int]


class AlertRow(TriggerRow):
    """A subscription to alerts: a trigger that watches no store, whose events are those of the relay's own feed."""

    noun, prefix = "alert subscription", "alr"


class AlertConditionRow(Row):
    """What was told and is not over; with `forget_at` it is over by then."""

    __tablename__ = "alert_conditions"
    __table_args__ = (_of_account(),)

    account: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[int]
    forget_at: Mapped[int | None] = mapped_column(index=True)


class TriggerMarkRow(Row):
    """What was last told of a subject of a trigger, such as an order."""

    __tablename__ = "trigger_marks"
    __table_args__ = (
        ForeignKeyConstraint(["trigger"], ["triggers.id"], ondelete="CASCADE"),
        Index(None, "trigger", "stamp"),
    )

    trigger: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    stamp: Mapped[str]
    digest: Mapped[str]


class CatalogueEntryRow(Row):
    """What a trigger knows of one thing in a shop's catalogue: digests, not the thing itself."""

    __tablename__ = "catalogue_entries"
    __table_args__ = (ForeignKeyConstraint(["trigger"], ["triggers.id"], ondelete="CASCADE"),)

    trigger: Mapped[str] = mapped_column(primary_key=True)
    section: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    overview: Mapped[str]
    content: Mapped[str]
    settled: Mapped[bool]


class TriggerEventRow(OwnedRow):
    """An event, and how far its delivery has come; `seq` is the order in which they are delivered and pulled."""

    __tablename__ = "trigger_events"
    noun, prefix = "event", "evt"
    __table_args__ = (
        ForeignKeyConstraint(["account", "trigger"], ["triggers.account", "triggers.id"], ondelete="CASCADE"),
        UniqueConstraint("id"),
        Index(None, "trigger", "delivery", "seq"),
        Index(None, "delivery", "next_at"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(_SEQUENCE, primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=False)
    trigger: Mapped[str]
    body: Mapped[str]
    """What is sent and signed, to the byte."""
    size: Mapped[int]
    created_at: Mapped[int]
    delivery: Mapped[str]
    since: Mapped[int]
    """When it came up for delivery: at its creation, or when it was last asked to be sent again."""
    attempts: Mapped[int]
    next_at: Mapped[int]
    leased_until: Mapped[int]
    fence: Mapped[int]
    last_failure: Mapped[str | None]
    ended_at: Mapped[int | None]


class AuthorityRow(Row):
    """A key pair of the relay's own; the newest of a kind is the one in use."""

    __tablename__ = "authorities"
    __table_args__ = (Index(None, "kind", "created_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    public_key: Mapped[str]
    private_sealed: Mapped[str]
    created_at: Mapped[int]


class EnrolmentNonceRow(Row):
    __tablename__ = "enrolment_nonces"

    nonce: Mapped[str] = mapped_column(primary_key=True)
    forget_at: Mapped[int] = mapped_column(index=True)


class IdempotencyKeyRow(Row):
    """A request that was carried out once. Its answer is not sealed again when master keys change: it is gone soon."""

    __tablename__ = "idempotency_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    """SHA-256 (hex) of account, sender and the sender's key."""
    fingerprint: Mapped[str]
    answer_sealed: Mapped[str | None]
    forget_at: Mapped[int] = mapped_column(index=True)


class AuditEventRow(Row):
    """Without foreign keys: what happened stays on record when its subject is gone."""

    __tablename__ = "audit_events"
    __table_args__ = (Index(None, "account", "seq"), Index(None, "subject", "seq"), {"sqlite_autoincrement": True})

    seq: Mapped[int] = mapped_column(_SEQUENCE, primary_key=True)
    at: Mapped[int]
    account: Mapped[str | None]
    actor: Mapped[str]
    source: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    details: Mapped[dict[str, Any]]


class ChangeRow(Row):
    __tablename__ = "changes"
    __table_args__ = ({"sqlite_autoincrement": True},)

    seq: Mapped[int] = mapped_column(_SEQUENCE, primary_key=True)
    at: Mapped[int] = mapped_column(index=True)
    kind: Mapped[str]
    subject: Mapped[str]
    revoked: Mapped[bool]
