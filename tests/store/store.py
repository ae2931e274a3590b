"""The stand-in store as tests hold it: its address, keys, knobs, data, and what it has seen."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.store.fixtures import DEMO, open_shop
from tests.store.keys import KeyRing
from tests.store.knobs import Knobs
from tests.store.server import Server
from tests.store.site import Site

if TYPE_CHECKING:
    import ssl
    from collections import deque
    from collections.abc import AsyncIterator, Iterable, Mapping

    from tests.store.messages import Seen
    from tests.store.shop import Mail, Shop


@dataclass(slots=True)
class Store:
    """One running store. `knobs` may be changed at any time; `shop` is its data and may be written to."""

    shop: Shop
    knobs: Knobs
    ring: KeyRing
    site: Site
    server: Server
    host: str
    scheme: str

    @classmethod
    @asynccontextmanager
    async def serve(
        cls,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        tls: ssl.SSLContext | None = None,
        keys: Mapping[str, str] | None = None,
        seed: int | None = None,
        catalogue: str = DEMO,
        shop: Shop | None = None,
        knobs: Mapping[str, object] | None = None,
        **more_knobs: object,
    ) -> AsyncIterator[Store]:
        """Serve until the block ends; KnobError or CatalogueError for what does not exist.

        Knobs are given in `knobs` or by name. `keys` sets keys by name, `seed` makes the same ones at each start; a
        server with `tls` has `ssl` on.
        """
        settings = Knobs(ssl=tls is not None)
        settings.update(**dict(knobs or {}), **more_knobs)
        ring = KeyRing.standard(keys or {}, seed)
        opened = shop or open_shop(catalogue)
        site = Site(opened, settings, ring)
        server = Server(site)
        await server.listen(host, port, tls)
        store = cls(opened, settings, ring, site, server, host, "https" if tls else "http")
        if not settings.domain:
            settings.domain = store.authority
        try:
            yield store
        finally:
            await server.close()

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def authority(self) -> str:
        """`host:port` it listens on."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL that a stock client is given: `/api` follows."""
        return f"{self.scheme}://{self.authority}{self.knobs.base}"

    @property
    def keys(self) -> dict[str, str]:
        """Key values by name: full, products_get_only, disabled, no_shop, no_permission, and those granted."""
        return self.ring.values

    def grant(self, name: str, grants: Mapping[str, Iterable[str]]) -> str:
        """Add a key that may do just this, such as `{"orders": ["GET", "HEAD"]}`; returns its value."""
        return self.ring.grant(name, grants)

    @property
    def requests(self) -> deque[Seen]:
        """The last 10,000 requests as they stood on the wire, but for `looks`."""
        return self.site.seen

    @property
    def looks(self) -> deque[Seen]:
        """The last 10,000 looks of a relay that come by themselves."""
        return self.site.looks

    @property
    def requests_total(self) -> int:
        return self.site.requests_total

    @property
    def serving(self) -> int:
        """Requests being worked on at this moment."""
        return self.site.serving

    @property
    def serving_most(self) -> int:
        """The most requests that were ever worked on at once."""
        return self.site.serving_most

    @property
    def mails(self) -> deque[Mail]:
        """What the shop has sent to customers."""
        return self.shop.mails

    @property
    def connections(self) -> int:
        """Open connections."""
        return self.server.open_connections

    @property
    def connections_total(self) -> int:
        """Connections accepted so far."""
        return self.server.accepted

    async def wait_for(self, requests: int, seconds: float = 10.0) -> None:
        """Wait until so many requests have arrived in all; TimeoutError otherwise."""
        async with asyncio.timeout(seconds):
            while self.requests_total < requests:  # noqa: ASYNC110 - the count is kept by another task
                await asyncio.sleep(0.002)

    def drop_connections(self) -> None:
        """Cut every open connection at once, as a restarted web server does."""
        self.server.drop_connections()
