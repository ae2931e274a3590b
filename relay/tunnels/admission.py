"""Who may knock: bounds on connections that have not proved who they are, counted by where they come from."""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable

PENDING_IN_ALL = 256
"""Unauthenticated connections at once; a handshake costs some 3 ms of CPU."""
PENDING_PER_SOURCE = 32
PENALTY_SECONDS = 10.0
"""How long a source that failed to authenticate must wait, once it has failed more than it may."""
FAILURES_FORGIVEN = 5
SOURCES_REMEMBERED = 4096


class Admission:
    """Pure: told of arrivals, proofs and failures, it answers whether to let one in. `clock` is monotonic seconds."""

    def __init__(
        self, clock: Callable[[], float], *, in_all: int = PENDING_IN_ALL, per_source: int = PENDING_PER_SOURCE
    ) -> None:
        self._clock = clock
        self._in_all = in_all
        self._per_source = per_source
        self._pending: Counter[str] = Counter()
        self._known: Counter[str] = Counter()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self.refused = 0

    def arrive(self, address: str) -> bool:
        """Whether the connection may go on; if so, `leave` must follow, once."""
        source = source_of(address)
        crowded = self._pending.total() >= self._in_all and not self._known[source]
        if crowded or self._pending[source] >= self._per_source or self._penalised(source):
            self.refused += 1
            return False
        self._pending[source] += 1
        return True

    def leave(self, address: str) -> None:
        """The connection has authenticated, or is gone."""
        _decrease(self._pending, source_of(address))

    def prove(self, address: str) -> None:
        """An agent logged in from there: it is never penalised while it stays."""
        source = source_of(address)
        self._known[source] += 1
        self._failures.pop(source, None)

    def forget(self, address: str) -> None:
        """That agent's connection is gone."""
        _decrease(self._known, source_of(address))

    def fail(self, address: str) -> None:
        """A connection from there ended without having authenticated."""
        source = source_of(address)
        count, _ = self._failures.pop(source, (0, 0.0))
        self._failures[source] = (count + 1, self._clock())
        if len(self._failures) > SOURCES_REMEMBERED:
            self._failures.popitem(last=False)

    def _penalised(self, source: str) -> bool:
        if source not in self._failures or self._known[source]:
            return False
        count, since = self._failures[source]
        if self._clock() - since >= PENALTY_SECONDS:
            del self._failures[source]
            return False
        return count > FAILURES_FORGIVEN


def source_of(address: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 one, since a customer is given at least that much."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed, 64), strict=False).network_address)
    return str(parsed)


def _decrease(counter: Counter[str], source: str) -> None:
    counter[source] -= 1
    if counter[source] <= 0:
        del counter[source]
