"""How many requests may wait for a tunnel that was lost: of one account, and of all together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from relay.gateway.errors import GatewayError

HELD = 1024
"""Requests held on this node; each may have 64 KiB of body with it."""
HELD_PER_ACCOUNT = 128
"""An account's share of them."""


class Holding:
    """Pure: counts who waits."""

    def __init__(self, in_all: int = HELD, each: int = HELD_PER_ACCOUNT) -> None:
        self._in_all = in_all
        self._each = each
        self._held: Counter[str] = Counter()
        self._total = 0

    @property
    def held(self) -> int:
        return self._total

    @contextmanager
    def one(self, account: str) -> Iterator[None]:
        """A request of the account waits while the block runs. Raises GatewayError where there is no room for it."""
        if self._held[account] >= self._each:
            raise GatewayError("account_busy", f"{self._each} requests wait for an agent")
        if self._total >= self._in_all:
            raise GatewayError("relay_overloaded", f"{self._in_all} requests wait for agents")
        self._held[account] += 1
        self._total += 1
        try:
            yield
        finally:
            self._total -= 1
            self._held[account] -= 1
            if not self._held[account]:
                del self._held[account]
