"""Runs the triggers that are due: one at a time each, on one node each, and what came of it is written as a whole."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from relay.gateway.call import BACKGROUND
from relay.gateway.errors import GatewayError
from relay.gateway.gateway import DirectoryUnavailableError
from relay.lanes import LOOK_SECONDS, work_off
from relay.prestashop.catalogue_items import Items
from relay.prestashop.catalogue_trigger import CatalogueCycle, Place
from relay.prestashop.order_trigger import OrderCycle, fault_of
from relay.prestashop.shop import Shop
from relay.prestashop.store_errors import StoreError
from relay.prestashop.values import Facts
from relay.prestashop.watermark import Watermark
from relay.records import Connection
from relay.trigger_records import (
    Cycle,
    DeskAwayError,
    Entry,
    Fault,
    Lease,
    LeaseLostError,
    Mark,
    Section,
    TriggerKind,
    Work,
)

log = structlog.get_logger()

LANES = 32
"""Triggers that this node works on at once; each asks its store one thing at a time."""
RENEW_SECONDS = 10.0
"""A third of a lease: two renewals may fail."""
SOON_SECONDS = 10
"""Between two cycles of which the first did not come to an end, if the interval is longer."""
RETRY_SECONDS = 60
"""After the first failure, if the interval is longer: half a day is too long for an agent that was restarted."""
WAIT_MOST = 900
"""After failures; an interval that is longer stays."""
SPREAD = 0.2
"""By so much waits after failures vary, so that the triggers of a store that was away do not come back together."""
_ZONE_UNKNOWN = Fault(
    "shop_time_unknown",
    "store",
    "the shop's time zone is not known: let the key GET configurations, or set time_zone in the trigger",
)
_RELAY_FAULT = Fault("relay_fault", "relay", "the relay cannot make sense of what the store answers; its log says why")
_CONNECTION_GONE = Fault("not_found", "relay", "the connection is not there")


class Desk(Protocol):
    """Where triggers are kept. What tells of a trigger raises LeaseLostError when it is no longer this node's."""

    async def claim(self, most: int, /) -> list[Work]: ...

    async def renew(self, lease: Lease, /) -> None: ...

    async def marks(self, lease: Lease, subjects: Sequence[int], /) -> dict[int, Mark]: ...

    async def entries(self, lease: Lease, section: Section, above: int, most: int, /) -> list[Entry]: ...

    async def finish(self, lease: Lease, cycle: Cycle, *, next_run_at: int) -> None: ...


class ShopBook(Protocol):
    """The shops behind connections."""

    def of(self, connection: Connection) -> Shop: ...

    async def facts(self, shop: Shop) -> Facts: ...


FindConnection = Callable[[str], Awaitable[Connection | None]]


class Triggering:
    """`clock` is unix seconds, `chance` a number between 0 and 1, `relay` its public address, for links."""

    def __init__(
        self,
        desk: Desk,
        shops: ShopBook,
        find: FindConnection,
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
        relay: str = "",
    ) -> None:
        self._desk = desk
        self._shops = shops
        self._find = find
        self._clock = clock
        self._chance = chance
        self._relay = relay

    async def run(self, *, look_seconds: float = LOOK_SECONDS) -> None:
        """Until cancelled."""
        BACKGROUND.set(True)
        await work_off(self._desk.claim, self.work, lanes=LANES, look_seconds=look_seconds)

    async def work(self, work: Work) -> None:
        """One cycle of one trigger. A node that has lost it meanwhile writes nothing."""
        trigger = work.lease.subject
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew(work.lease))
                await self._through(work)
                renewing.cancel()
        except* LeaseLostError:
            log.info("a trigger was taken over, or is gone", trigger=trigger)
        except* (DeskAwayError, DirectoryUnavailableError) as errors:
            log.warning("a trigger's cycle is lost, and comes again", trigger=trigger, reason=str(errors.exceptions[0]))

    async def _through(self, work: Work) -> None:
        try:
            cycle = await self._cycle(work)
        except (LeaseLostError, DeskAwayError, DirectoryUnavailableError):
            raise
        except Exception:
            log.exception("a trigger's cycle failed in the relay", trigger=work.lease.subject)
            cycle = Cycle(work.state, fault=_RELAY_FAULT)
        if cycle.fault:
            log.info("trigger failed", trigger=work.lease.subject, code=cycle.fault.code)
        next_run_at = int(self._clock()) + wait_after(work, cycle, self._chance())
        await self._desk.finish(work.lease, cycle, next_run_at=next_run_at)

    async def _renew(self, lease: Lease) -> None:
        """Until cancelled. Raises LeaseLostError."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with contextlib.suppress(DeskAwayError):
                await self._desk.renew(lease)

    async def _cycle(self, work: Work) -> Cycle:
        connection = await self._find(work.connection)
        if connection is None or connection.account != work.account:
            return Cycle(work.state, fault=_CONNECTION_GONE)
        shop = self._shops.of(connection)
        try:
            if work.kind is TriggerKind.PRODUCT_CATALOGUE:
                return await self._catalogue(work, shop)
            return await self._orders(work, shop)
        except (GatewayError, StoreError) as error:
            return Cycle(work.state, fault=fault_of(error))

    async def _orders(self, work: Work, shop: Shop) -> Cycle:
        facts = Facts(work.time_zone) if work.time_zone else await self._shops.facts(shop)
        if facts.zone is None or facts.tz is None:
            return Cycle(work.state, fault=_ZONE_UNKNOWN)
        reading = OrderCycle(
            shop=shop,
            facts=facts,
            zone=facts.zone,
            tz=facts.tz,
            known=lambda ids: self._desk.marks(work.lease, ids),
            clock=self._clock,
            mark=Watermark.of(work.state, work.created_at),
            ceiling=work.ceiling,
        )
        return await reading.run()

    async def _catalogue(self, work: Work, shop: Shop) -> Cycle:
        facts = await self._shops.facts(shop)
        if work.time_zone:
            facts = replace(facts, zone=work.time_zone)
        reading = CatalogueCycle(
            items=Items(shop.lean, facts, self._relay),
            known=lambda section, above, most: self._desk.entries(work.lease, section, above, most),
            clock=self._clock,
            place=Place.of(work.state),
            ceiling=work.ceiling,
            snapshot=f"{self._relay}/v1/triggers/{work.lease.subject}/snapshot",
        )
        return await reading.run()


def wait_after(work: Work, cycle: Cycle, chance: float) -> int:
    """Seconds until the next cycle; `chance` is between 0 and 1.

    A catalogue's run is cut into cycles so that each can be written down: they follow upon each other.
    """
    catalogue = work.kind is TriggerKind.PRODUCT_CATALOGUE
    if cycle.fault is not None:
        first = min(work.interval, RETRY_SECONDS) if catalogue else work.interval
        doubled = min(first << min(work.failures, 10), WAIT_MOST)
        waited = max(first, doubled) * (1 + SPREAD * chance)
        return max(round(waited), cycle.fault.retry_after or 0)
    soon = 0 if catalogue else min(work.interval, SOON_SECONDS)
    return soon if cycle.unfinished else work.interval
