"""Databases of both kinds, for nodes that work on the same triggers."""

from __future__ import annotations

from tests.relay.database.conftest import account, address, database, keys

__all__ = ["account", "address", "database", "keys"]
