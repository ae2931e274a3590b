"""Subscriptions to alerts, which are triggers of no connection, and what was told and is not over.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_triggers()
    else:
        op.alter_column("triggers", "connection", nullable=True)
        op.add_column("triggers", sa.Column("alert_kinds", sa.JSON(), nullable=True))
        op.create_foreign_key("fk_triggers_account", "triggers", "accounts", ["account"], ["id"])
    op.create_table(
        "alert_conditions",
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("forget_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account", "kind", "subject", name="pk_alert_conditions"),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_alert_conditions_account"),
    )
    op.create_index("ix_alert_conditions_forget_at", "alert_conditions", ["forget_at"])


def _rebuild_triggers() -> None:
    """SQLite makes a column nullable only by making the table anew; dropping the old one takes its children's rows with
    it (https://sqlite.org/foreignkeys.html#fk_schemacommands), so these are put aside meanwhile.
    """
    inspector = sa.inspect(op.get_bind())
    children = [
        name
        for name in inspector.get_table_names()
        if any(key["referred_table"] == "triggers" for key in inspector.get_foreign_keys(name))
    ]
    for name in children:
        op.execute(f'CREATE TEMPORARY TABLE "aside_{name}" AS SELECT * FROM "{name}"')  # noqa: S608 - our own names
    with op.batch_alter_table("triggers") as triggers:
        triggers.alter_column("connection", existing_type=sa.String(), nullable=True)
        triggers.add_column(sa.Column("alert_kinds", sa.JSON(), nullable=True))
        triggers.create_foreign_key("fk_triggers_account", "accounts", ["account"], ["id"])
    for name in children:
        op.execute(f'INSERT INTO "{name}" SELECT * FROM "aside_{name}"')  # noqa: S608 - our own names
        op.execute(f'DROP TABLE "aside_{name}"')
