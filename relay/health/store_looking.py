"""One look at a store: a HEAD of the webservice's root, on the road that connectors' requests take."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from pydantic import SecretStr

from agent.wire.destination import Destination
from relay.gateway.call import Answer, call
from relay.gateway.errors import GatewayError
from relay.gateway.gateway import Gateway
from relay.health.store_answers import Finding, read_bare, read_failure, read_keyed
from relay.health.store_health import Store
from relay.records import Connection, Mode, StoreUrl

ANSWER_SECONDS = 20.0
"""For one answer; an agent gives up connecting before that."""
LATELY_SECONDS = 60.0
"""A store that has served connectors so lately need not be asked."""
ROOT_BYTES = 512 * 1024
_FIELDS = (("User-Agent", "Postern health check"), ("Accept", "*/*"), ("Accept-Encoding", "identity"))
"""The first is for whoever reads the store's log; firewalls refuse requests without the first two."""


class Looking:
    """`wall` is unix seconds."""

    def __init__(self, gateway: Gateway, wall: Callable[[], float]) -> None:
        self._gateway = gateway
        self._wall = wall

    def served_lately(self, connection: str) -> bool:
        """Whether connectors' requests have just been answered well."""
        summary = self._gateway.traffic.connection(connection)
        return bool(summary and summary.last_success and self._wall() - summary.last_success < LATELY_SECONDS)

    async def bare(self, store: Store, connection: Connection | None) -> Finding:
        """Without a key, where the connection says that the shop is, or where it is most likely to be."""
        known = connection is not None and (connection.account, connection.agent) == (store.account, store.agent)
        asked = connection if connection and known else _unsaved(store)
        try:
            return read_bare(await self._head(asked, keyless=True), known=known)
        except GatewayError as error:
            return read_failure(error, known=known)

    async def keyed(self, connection: Connection, *, anew: bool) -> Finding:
        """With the connection's key, by a HEAD where that is enough: what is wrong only a body tells.

        `anew`: what connectors got tells nothing, since the connection has changed.
        """
        if not anew and self.served_lately(connection.id):
            return Finding(reachable=True, answering=True, key=True)
        try:
            finding = read_keyed(await self._head(connection))
            return finding if finding.key else read_keyed(await self._get(connection))
        except GatewayError as error:
            return read_failure(error, known=True)

    async def _head(self, connection: Connection, *, keyless: bool = False) -> Answer:
        return await call(
            self._gateway,
            connection,
            "/api",
            method="HEAD",
            fields=_FIELDS,
            limit=ROOT_BYTES,
            deadline=ANSWER_SECONDS,
            look=True,
            keyless=keyless,
        )

    async def _get(self, connection: Connection) -> Answer:
        return await call(
            self._gateway, connection, "/api", fields=_FIELDS, limit=ROOT_BYTES, deadline=ANSWER_SECONDS, look=True
        )


def _unsaved(store: Store) -> Connection:
    """A way to a store that no connection leads to yet."""
    host, _, port = store.name.rpartition(":")
    name = hashlib.sha256(f"{store.agent} {store.name}".encode()).hexdigest()[:16]
    return Connection(
        id=f"con_look_{name}",
        account=store.account,
        name="",
        mode=Mode.ON_PREMISE,
        agent=store.agent,
        store=StoreUrl("https" if port == "443" else "http", Destination.of(host, int(port))),
        api_key=SecretStr(""),
    )
