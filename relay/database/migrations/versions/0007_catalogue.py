"""What triggers know of shops' catalogues, and the numbers of their events.

Revision ID: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("triggers", sa.Column("told", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "catalogue_entries",
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("section", sa.String(), nullable=False),
        sa.Column("subject", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("overview", sa.String(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("trigger", "section", "subject", name="pk_catalogue_entries"),
        sa.ForeignKeyConstraint(["trigger"], ["triggers.id"], name="fk_catalogue_entries_trigger", ondelete="CASCADE"),
    )
