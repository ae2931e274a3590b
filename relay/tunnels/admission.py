"""Who may knock: bounds on connections that have not proved who they are, counted by where they come from."""

from __future__ import annotations

import functools
import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable
from enum import StrEnum

PLACES = 2048
"""Connections that have not logged in, at once, waiting ones included; one in its handshake costs some 13 kB."""
STRANGERS_SHARE = 0.75
"""Part of the places that sources may take from which nobody has logged in lately; the rest waits for our agents."""
PLACES_PER_SOURCE = 64
"""Of these, for one source; more for one that had more tunnels lately, such as a proxy or a large company's address."""
KNOWN_SECONDS = 3600.0
"""How long a source is known after the last tunnel from it was lost, or after an enrolment."""
SOURCES_KNOWN = 20_000
DEBT_FORGIVEN = 10.0
"""Seconds that a source may owe before it is turned away. Debts are paid by waiting: a second for a second."""
DEBT_MOST = 600.0
SOURCES_IN_DEBT = 4096
IDLE_DEBT = 1.0
"""For a connection that came and went before its handshake: half a load balancer's health checks each two seconds."""
LOGIN_DEBT = 2.0
"""For a handshake that ended without a login."""


class Refusal(StrEnum):
    """Why a connection is turned away, as its first and last line says it."""

    PENALISED = "too many logins from this address have failed"
    SOURCE_FULL = "too many connections from this address wait to log in"
    FULL = "too many connections wait to log in"


class Admission:
    """Pure: told of arrivals, proofs and failures, it answers whether to let one in. `clock` is monotonic seconds.

    Addresses are counted by `source_of`. Whoever was let in by `arrive` must `leave`, once.
    """

    def __init__(self, clock: Callable[[], float], *, places: int = PLACES, each: int = PLACES_PER_SOURCE) -> None:
        self._clock = clock
        self._places = places
        self._each = each
        self._pending: Counter[str] = Counter()
        self._strangers: Counter[str] = Counter()
        """Of the pending ones, those of sources that were not known when they came, and are not yet."""
        self._pending_in_all = 0
        self._strangers_in_all = 0
        self._live: Counter[str] = Counter()
        self._known: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._debts: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.refused: Counter[Refusal] = Counter()

    def arrive(self, address: str) -> Refusal | None:
        """None: the connection has a place, and `leave` must follow."""
        source = source_of(address)
        refusal = self._judge(source)
        if refusal:
            self.refused[refusal] += 1
            return refusal
        self._pending[source] += 1
        self._pending_in_all += 1
        if not self._is_known(source):
            self._strangers[source] += 1
            self._strangers_in_all += 1
        return None

    def leave(self, address: str) -> None:
        """The connection has authenticated, or is gone: its place is free."""
        source = source_of(address)
        _decrease(self._pending, source)
        self._pending_in_all -= 1
        if self._strangers[source] > self._pending[source]:
            _decrease(self._strangers, source)
            self._strangers_in_all -= 1

    def prove(self, address: str) -> None:
        """An agent logged in from there: it is never penalised while it stays, and known for a while afterwards."""
        source = source_of(address)
        self._live[source] += 1
        self._debts.pop(source, None)
        self._remember(source, self._live[source])

    def forget(self, address: str) -> None:
        """That agent's connection is gone."""
        source = source_of(address)
        self._remember(source, self._live[source])
        _decrease(self._live, source)

    def welcome(self, address: str) -> None:
        """An instance enrolled from there: its first tunnel is about to come."""
        source = source_of(address)
        self._remember(source, self._live[source])

    def fail(self, address: str, debt: float = LOGIN_DEBT) -> None:
        """A connection from there ended without having authenticated."""
        source, now = source_of(address), self._clock()
        owed, since = self._debts.pop(source, (0.0, now))
        self._debts[source] = (min(DEBT_MOST, max(0.0, owed - (now - since)) + debt), now)
        if len(self._debts) > SOURCES_IN_DEBT:
            self._debts.popitem(last=False)

    def knows(self, address: str) -> bool:
        """Whether an agent logged in, or enrolled, from there lately."""
        return self._is_known(source_of(address))

    def tunnels(self, address: str) -> int:
        """How many stand from there."""
        return self._live[source_of(address)]

    @property
    def pending(self) -> int:
        """Places that are taken."""
        return self._pending_in_all

    def _judge(self, source: str) -> Refusal | None:
        known = self._is_known(source)
        if not known and self._owes(source):
            return Refusal.PENALISED
        _, tunnels = self._known.get(source, (0.0, 0)) if known else (0.0, 0)
        if self._pending[source] >= max(self._each, 2 * tunnels):
            return Refusal.SOURCE_FULL
        crowd = not known and self._strangers_in_all >= self._places * STRANGERS_SHARE
        return Refusal.FULL if crowd or self._pending_in_all >= self._places else None

    def _is_known(self, source: str) -> bool:
        if self._live[source]:
            return True
        since, _ = self._known.get(source, (-KNOWN_SECONDS, 0))
        return self._clock() - since < KNOWN_SECONDS

    def _remember(self, source: str, tunnels: int) -> None:
        """Known from now on; whoever waits from there is no stranger any more."""
        most = self._known[source][1] if source in self._known and self._is_known(source) else 0
        self._strangers_in_all -= self._strangers.pop(source, 0)
        self._known.pop(source, None)
        self._known[source] = (self._clock(), max(most, tunnels))
        if len(self._known) > SOURCES_KNOWN:
            self._known.popitem(last=False)

    def _owes(self, source: str) -> bool:
        owed, since = self._debts.get(source, (0.0, 0.0))
        return owed - (self._clock() - since) > DEBT_FORGIVEN


@functools.lru_cache(SOURCES_IN_DEBT)
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
