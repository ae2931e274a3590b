"""What the relay looks after of itself: the stores behind its agents, what ends soon, and who must be told."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator

from relay.alert_records import About, AlertKind, Ending
from relay.database.alarms import Alarms
from relay.database.engine import Database
from relay.database.store_book import StoreBook
from relay.database.upkeep import Upkeep
from relay.gateway.gateway import Gateway
from relay.gateway.routes import Routes
from relay.health.alerting import Alerting
from relay.health.feed import Feed
from relay.health.store_certificates import StoreCertificates
from relay.health.store_health import StoreHealth
from relay.health.store_looking import Looking
from relay.health.store_probing import FindConnection, StoreProbing
from relay.records import Change
from relay.tunnels.registry import Registry


class Rounds:
    """Of one node. `certificate_ends` says when the relay's own certificate does, in unix seconds."""

    def __init__(
        self,
        database: Database,
        gateway: Gateway,
        routes: Routes,
        registry: Registry,
        *,
        feed: Feed,
        find: FindConnection,
        version: str,
        certificate_ends: Callable[[], float | None],
    ) -> None:
        self.stores = StoreHealth(feed, time.time)
        self._certificate_ends = certificate_ends
        self._certificates = StoreCertificates(time.time)
        routes.on_secured = self._certificates.note
        self._probing = StoreProbing(
            self.stores,
            Looking(gateway, time.time),
            registry,
            StoreBook(database),
            find,
            clock=time.monotonic,
            wall=time.time,
            chance=random.SystemRandom().random,
        )
        self._alerting = Alerting(
            feed,
            Alarms(database),
            Upkeep(database),
            version=version,
            clock=time.time,
            here=lambda agent: any(tunnel.usable for tunnel in registry.of(agent)),
            certificates=self._endings,
        )

    def errands(self) -> tuple[Callable[[], Coroutine[None, None, None]], ...]:
        """To be run side by side until they are cancelled."""
        return self._probing.run, self._alerting.run

    def act_on(self, changes: Iterable[Change]) -> None:
        """Connections that have changed are looked at anew."""
        changed = [change.subject for change in changes if change.kind == "connection"]
        for connection in changed:
            self._certificates.forget(connection)
        self._probing.changed(changed)

    def _endings(self) -> Iterator[Ending]:
        yield from self._certificates
        ends = self._certificate_ends()
        if ends is not None:
            yield Ending(AlertKind.CERTIFICATE_EXPIRING, None, "relay", int(ends), About())
