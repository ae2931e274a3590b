"""`/metrics` as it is answered: which format, made how, and what the database is asked for beforehand."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from agent.wire.pages import Page

OPENMETRICS = "application/openmetrics-text"
ASKING_SECONDS = 2.0
"""For what is looked up; a scraper is told the rest all the same."""
REST_SECONDS = 10.0
"""What was looked up is told again for so long, however many scrape."""

log = structlog.get_logger()


class Exposition:
    """One node's registry: of its process alone, until `tell` brings more."""

    def __init__(self) -> None:
        self._look_up: Callable[[], Awaitable[None]] | None = None
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self.readers: set[str] = set()
        """Accounts that have been found to be the operator's own."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

    def tell(self, collector: Collector, look_up: Callable[[], Awaitable[None]]) -> None:
        """Have it collected; `look_up` is called before a scrape, at most every REST_SECONDS, and may raise."""
        self._registry.register(collector)
        self._look_up = look_up

    async def page(self, accept: str = "") -> Page:
        """OpenMetrics for who accepts it, else Prometheus' text format."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASKING_SECONDS), self._looking:
                await self._ask()
        encode, content_type = choose_encoder(OPENMETRICS if OPENMETRICS in accept else "")
        return Page(200, content_type, encode(self._registry))

    async def _ask(self) -> None:
        if self._look_up is None or time.monotonic() - self._looked_at < REST_SECONDS:
            return
        self._looked_at = time.monotonic()
        try:
            await self._look_up()
        except Exception as error:  # noqa: BLE001 - the database may be away, and just then metrics are wanted
            log.warning("metrics without what the database knows", reason=str(error))
