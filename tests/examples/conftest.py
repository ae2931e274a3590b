"""PostgreSQL for the examples, as for the relay's own tests."""

from __future__ import annotations

from tests.relay.conftest import new_postgresql, postgresql

__all__ = ["new_postgresql", "postgresql"]
