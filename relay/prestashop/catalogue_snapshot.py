"""A catalogue as it is now, part by part, read from the shop as its taker takes it: nothing of it is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.gateway.errors import GatewayError
from relay.prestashop.catalogue_items import DISPLAY, Items
from relay.prestashop.catalogue_overview import RESOURCES, checked
from relay.prestashop.paging import Page, Reader
from relay.prestashop.query import Query
from relay.prestashop.rows import Row
from relay.prestashop.shop import too_heavy
from relay.prestashop.store_errors import LACKING, StoreError
from relay.trigger_records import Section

PART = 25
"""Of a page of which something cannot be read."""

Known = Callable[[Section, Sequence[int]], Awaitable[set[int]]]
"""Which of a page's ids the trigger knows. Of the others it will tell by itself; if they were in the snapshot and gone
before the next run, nobody would say so."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Behind this id of a section a snapshot goes on."""

    section: Section = Section.CATEGORY
    after: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """`next` is None at the end."""

    items: list[dict[str, Any]]
    next: Spot | None


@dataclass(slots=True)
class Snapshot:
    """One snapshot on its way: how large its pages may be is learnt as it goes."""

    known: Known
    _readers: dict[Section, Reader] = field(default_factory=dict)

    async def part(self, items: Items, spot: Spot, count: int) -> Part:
        """At most `count` items. `items` are of the shop as its connection is now. Raises GatewayError, StoreError."""
        try:
            page, singly = await self._page(items, spot, count), False
        except (GatewayError, StoreError) as error:
            if not too_heavy(error):
                raise
            page, singly = await self._listed(items, spot, count), True
        known = await self.known(spot.section, [row.id for row in page.rows]) if page.rows else set()
        rows = [row for row in page.rows if row.id in known]
        shown = await self._one_by_one(items, spot, rows) if singly else await items.shown(spot.section, rows)
        return Part(shown, Spot(spot.section, page.last) if page.more else _behind(spot.section))

    async def _listed(self, items: Items, spot: Spot, count: int) -> Page:
        """The same page by its ids alone: one thing of it cannot be read."""
        return checked(await Reader(Query(RESOURCES[spot.section].name, "[id]")).page(items.shop, spot.after, count))

    async def _one_by_one(self, items: Items, spot: Spot, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """In parts, and those in halves, down to the one that is named as unreadable."""
        shown: list[dict[str, Any]] = []
        for at in range(0, len(rows), PART):
            ids = [row.id for row in rows[at : at + PART]]
            read = await items.of(spot.section, ids)
            shown += [read[id_] for id_ in ids if id_ in read]
        return shown

    async def _page(self, items: Items, spot: Spot, count: int) -> Page:
        section = spot.section
        reader = self._readers.setdefault(section, Reader(Query(RESOURCES[section].name, DISPLAY[section])))
        try:
            return checked(await reader.page(items.shop, spot.after, count))
        except StoreError as error:
            if section is Section.PRODUCT or error.code not in LACKING:
                raise
            return Page([], more=False)


def _behind(section: Section) -> Spot | None:
    sections = list(Section)
    following = sections[sections.index(section) + 1 :]
    return Spot(following[0]) if following else None
