"""Public keys with which stock OpenSSH logs in as an agent.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "agent_keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("public_key", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_agent_keys"),
        sa.UniqueConstraint("agent", "digest", name="uq_agent_keys_agent_digest"),
        sa.ForeignKeyConstraint(
            ["account", "agent"],
            ["agents.account", "agents.id"],
            name="fk_agent_keys_account_agent",
            ondelete="CASCADE",
        ),
    )
