"""Alembic's entry: runs the steps on the connection and in the transaction that relay.database.migrate hands over."""

from __future__ import annotations

from alembic import context

from relay.database.tables import Row

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Row.metadata,
    compare_type=True,
)
context.run_migrations()
