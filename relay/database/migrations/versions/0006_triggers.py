"""Triggers, what they have told, and their events on the way to whoever wants them.

Revision ID: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    _triggers()
    _marks()
    _events()


def _triggers() -> None:
    op.create_table(
        "triggers",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("interval", sa.BigInteger(), nullable=False),
        sa.Column("ceiling", sa.BigInteger(), nullable=False),
        sa.Column("time_zone", sa.String(), nullable=True),
        sa.Column("url", sa.String(), nullable=True),
        sa.Column("secret_sealed", sa.String(), nullable=True),
        sa.Column("former_secret_sealed", sa.String(), nullable=True),
        sa.Column("former_secret_until", sa.BigInteger(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_because", sa.String(), nullable=True),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("next_run_at", sa.BigInteger(), nullable=False),
        sa.Column("leased_until", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("last_run_at", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("fault", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_triggers"),
        sa.UniqueConstraint("account", "id", name="uq_triggers_account_id"),
        sa.ForeignKeyConstraint(
            ["account", "connection"],
            ["connections.account", "connections.id"],
            name="fk_triggers_account_connection",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_triggers_account", "triggers", ["account", "connection"])
    op.create_index("ix_triggers_enabled", "triggers", ["enabled", "next_run_at"])


def _marks() -> None:
    op.create_table(
        "trigger_marks",
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("subject", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("stamp", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("trigger", "subject", name="pk_trigger_marks"),
        sa.ForeignKeyConstraint(["trigger"], ["triggers.id"], name="fk_trigger_marks_trigger", ondelete="CASCADE"),
    )
    op.create_index("ix_trigger_marks_trigger", "trigger_marks", ["trigger", "stamp"])


def _events() -> None:
    sequence = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "trigger_events",
        sa.Column("seq", sequence, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("delivery", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("leased_until", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("last_failure", sa.String(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_trigger_events"),
        sa.UniqueConstraint("id", name="uq_trigger_events_id"),
        sa.ForeignKeyConstraint(
            ["account", "trigger"],
            ["triggers.account", "triggers.id"],
            name="fk_trigger_events_account_trigger",
            ondelete="CASCADE",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_trigger_events_trigger", "trigger_events", ["trigger", "delivery", "seq"])
    op.create_index("ix_trigger_events_delivery", "trigger_events", ["delivery", "next_at"])
