"""How long a store may be silent, whether its key worked, and when credentials were last used.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("connections", sa.Column("answer_timeout", sa.BigInteger(), nullable=False, server_default="300"))
    op.add_column("connections", sa.Column("key_checked_at", sa.BigInteger(), nullable=True))
    op.add_column("connections", sa.Column("key_works", sa.Boolean(), nullable=True))
    op.add_column("access_keys", sa.Column("last_used_at", sa.BigInteger(), nullable=True))
    op.add_column("api_tokens", sa.Column("last_used_at", sa.BigInteger(), nullable=True))
