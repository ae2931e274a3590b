"""When stores' certificates end, as they are seen when the relay shakes hands with stores."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from relay.alert_records import About, AlertKind, Ending
from relay.gateway.tls import TlsStream
from relay.records import Connection

LOOK_SECONDS = 3600.0
"""A connection's certificate is read as often; it comes with each new TLS connection."""
SEEN_MOST = 20_000


class StoreCertificates:
    """`clock` is unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, tuple[float, Ending]] = OrderedDict()

    def __iter__(self) -> Iterator[Ending]:
        return iter([ending for _, ending in self._seen.values()])

    def note(self, connection: Connection, stream: TlsStream) -> None:
        """The store has shown its certificate, and it is good."""
        now, seen = self._clock(), self._seen.get(connection.id)
        if seen and now - seen[0] < LOOK_SECONDS:
            return
        try:
            ends = int(stream.ends)
        except ValueError:  # OpenSSL has believed what another library is too strict to read
            return
        about = About(connection=connection.id, details={"store": str(connection.store.destination)})
        ending = Ending(AlertKind.CERTIFICATE_EXPIRING, connection.account, connection.id, ends, about)
        self._seen[connection.id] = (now, ending)
        self._seen.move_to_end(connection.id)
        if len(self._seen) > SEEN_MOST:
            self._seen.popitem(last=False)

    def forget(self, connection: str) -> None:
        """It has changed or gone."""
        self._seen.pop(connection, None)
