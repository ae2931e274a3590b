"""Tickets that open the WebSocket to instances: the newest, and the one before it until it expires.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    for name in ("ticket", "former_ticket"):
        op.add_column("instances", sa.Column(f"{name}_sha256", sa.String(), nullable=True))
        op.add_column("instances", sa.Column(f"{name}_expires_at", sa.BigInteger(), nullable=True))
        op.create_index(f"ix_instances_{name}_sha256", "instances", [f"{name}_sha256"], unique=True)
