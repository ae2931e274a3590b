"""Accounts, tokens, agents, connections, authorities, and what is written about them.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _accounts()
    _agents()
    _connections()
    _ledgers()


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _accounts() -> None:
    op.create_table(
        "accounts",
        _text("id"),
        _text("name"),
        _number("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sa.UniqueConstraint("name", name="uq_accounts_name"),
    )
    op.create_table(
        "api_tokens",
        _text("id"),
        _text("account"),
        _text("name"),
        _text("scope"),
        _text("digest"),
        _number("created_at"),
        _number("expires_at", nullable=True),
        _number("revoked_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_tokens"),
        sa.UniqueConstraint("digest", name="uq_api_tokens_digest"),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_api_tokens_account"),
    )
    op.create_index("ix_api_tokens_account", "api_tokens", ["account", "name"])
    op.create_table(
        "authorities",
        _text("id"),
        _text("kind"),
        _text("public_key"),
        _text("private_sealed"),
        _number("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_authorities"),
    )
    op.create_index("ix_authorities_kind", "authorities", ["kind", "created_at"])


def _agents() -> None:
    op.create_table(
        "agents",
        _text("id"),
        _text("account"),
        _text("name"),
        _number("places"),
        _number("created_at"),
        _number("revoked_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_agents"),
        sa.UniqueConstraint("account", "name", name="uq_agents_account_name"),
        sa.UniqueConstraint("account", "id", name="uq_agents_account_id"),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_agents_account"),
    )
    op.create_table(
        "agent_tokens",
        _text("id"),
        _text("account"),
        _text("agent"),
        _text("public_key"),
        _number("created_at"),
        _number("expires_at", nullable=True),
        _number("revoked_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_agent_tokens"),
        sa.UniqueConstraint("account", "agent", "id", name="uq_agent_tokens_account_agent_id"),
        _agent_key("agent_tokens", ondelete="CASCADE"),
    )
    op.create_table(
        "instances",
        _text("id"),
        _text("account"),
        _text("agent"),
        _text("token"),
        _text("public_key"),
        _text("host_name"),
        _text("version"),
        sa.Column("stores", sa.JSON(), nullable=False),
        _number("serial"),
        _number("enrolled_at"),
        _number("last_seen_at"),
        _number("revoked_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_instances"),
        _agent_key("instances", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["account", "agent", "token"],
            ["agent_tokens.account", "agent_tokens.agent", "agent_tokens.id"],
            name="fk_instances_account_agent_token",
        ),
    )
    op.create_index("ix_instances_account", "instances", ["account", "agent"])
    op.create_table(
        "enrolment_nonces",
        _text("nonce"),
        _number("forget_at"),
        sa.PrimaryKeyConstraint("nonce", name="pk_enrolment_nonces"),
    )
    op.create_index("ix_enrolment_nonces_forget_at", "enrolment_nonces", ["forget_at"])


def _connections() -> None:
    op.create_table(
        "connections",
        _text("id"),
        _text("account"),
        _text("name"),
        _text("mode"),
        _text("agent", nullable=True),
        _text("store_url"),
        _text("key_sealed"),
        _number("key_set_at"),
        _text("key_place"),
        _text("ca_pem", nullable=True),
        _text("pinned_spki_sha256", nullable=True),
        _number("concurrency"),
        _number("created_at"),
        _number("updated_at"),
        sa.PrimaryKeyConstraint("id", name="pk_connections"),
        sa.UniqueConstraint("account", "name", name="uq_connections_account_name"),
        sa.UniqueConstraint("account", "id", name="uq_connections_account_id"),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_connections_account"),
        _agent_key("connections"),
        sa.CheckConstraint(
            "(mode = 'cloud' AND agent IS NULL) OR (mode = 'on-premise' AND agent IS NOT NULL)",
            name="ck_connections_mode",
        ),
    )
    op.create_index("ix_connections_account", "connections", ["account", "agent"])
    op.create_table(
        "access_keys",
        _text("id"),
        _text("account"),
        _text("connection"),
        _text("digest"),
        _number("created_at"),
        _number("revoked_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_access_keys"),
        sa.UniqueConstraint("digest", name="uq_access_keys_digest"),
        sa.ForeignKeyConstraint(
            ["account", "connection"],
            ["connections.account", "connections.id"],
            name="fk_access_keys_account_connection",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_access_keys_account", "access_keys", ["account", "connection"])


def _ledgers() -> None:
    op.create_table(
        "audit_events",
        sa.Column("seq", _SEQUENCE, nullable=False),
        _number("at"),
        _text("account", nullable=True),
        _text("actor"),
        _text("source"),
        _text("action"),
        _text("subject"),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_events_account", "audit_events", ["account", "seq"])
    op.create_index("ix_audit_events_subject", "audit_events", ["subject", "seq"])
    op.create_table(
        "changes",
        sa.Column("seq", _SEQUENCE, nullable=False),
        _number("at"),
        _text("kind"),
        _text("subject"),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_changes"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_changes_at", "changes", ["at"])


def _agent_key(table: str, *, ondelete: str | None = None) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["account", "agent"], ["agents.account", "agents.id"], name=f"fk_{table}_account_agent", ondelete=ondelete
    )
