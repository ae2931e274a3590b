"""The trigger `order-updated`: one cycle reads a bounded part of what has changed among a shop's orders."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from email.utils import parsedate_to_datetime
from typing import Any

from relay.gateway.call import Answer
from relay.gateway.errors import GatewayError
from relay.prestashop.paging import answered_in_part
from relay.prestashop.query import Query, above, between
from relay.prestashop.resources import ORDERS
from relay.prestashop.rows import Row
from relay.prestashop.shop import Shop
from relay.prestashop.store_errors import StoreError
from relay.prestashop.values import Facts, normalised
from relay.prestashop.watermark import Moment, Seen, Watermark
from relay.trigger_records import Cycle, Fault, Mark

DISPLAY = "[id,reference,id_customer,id_cart,current_state,valid,payment,total_paid,date_add,date_upd]"
"""What an item tells; `get-order` has the rest. All in the orders' own table in every version: cheap to ask for."""
PAGE_ROWS = 50
"""At most."""
PAGES = 24
"""Of one cycle: rows of the overlap are read again, and do not count as items."""
SECONDS = 120.0
"""After so long no further page is asked for: what was read is told before a slow store reads on."""
ITEM_BYTES = 4096
"""Of one item as JSON; a larger one, which no real order is, is told by its id and date alone."""
CLOCK_SECONDS_MOST = 10 * 365 * 86_400
"""A clock that is further off tells of nothing."""
_STAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_ID_MOST = 2**63 - 1
"""The largest that databases keep."""

Known = Callable[[list[int]], Awaitable[Mapping[int, Mark]]]
"""What was told of orders last, asked with ids of one page."""


@dataclass(slots=True)
class OrderCycle:
    """One cycle. `clock` is the relay's, unix seconds; `zone` the shop's, by its name and as it is."""

    shop: Shop
    facts: Facts
    zone: str
    tz: tzinfo
    known: Known
    clock: Callable[[], float]
    mark: Watermark
    ceiling: int
    _items: list[dict[str, Any]] = field(default_factory=list)
    _marks: list[Mark] = field(default_factory=list)
    _forget_before: str | None = None
    _most: int = PAGE_ROWS

    async def run(self) -> Cycle:
        """What came of it, also if the store failed on the way: what was read until then counts."""
        try:
            finished = await self._read()
        except (GatewayError, StoreError) as error:
            return self._cycle(fault=fault_of(error))
        return self._cycle(unfinished=not finished)

    async def _read(self) -> bool:
        """Whether the sweep has come to its end. Raises GatewayError, StoreError."""
        began = self.clock()
        self.mark.begin(int(began), self.zone, self.tz)
        for _ in range(PAGES):
            page = await self._next_page()
            if page is None or self.mark.correct(page.moment, self.tz):
                continue
            if await self._take(page):
                return True
            if len(self._marks) >= self.ceiling or self.clock() - began > SECONDS:
                return False
        return False

    async def _next_page(self) -> _Page | None:
        """None where it must be asked for less."""
        ask = self.mark.ask
        filters = [("date_upd", between(ask.first, ask.last))]
        if ask.above is not None:
            filters.append(("id", above(ask.above)))
        query = Query("orders", DISPLAY, tuple(filters), sort="[date_upd_ASC,id_ASC]")
        found = await answered_in_part(self.shop, query, self._most)
        if found is None:
            return None
        rows, answer, asked = found
        page = _Page(rows, [_seen(row) for row in rows], moment_of(answer, int(self.clock())), full=len(rows) >= asked)
        page.check(ask.first, ask.last, asked)
        return page

    async def _take(self, page: _Page) -> bool:
        taken = self.mark.take(
            page.seen,
            full=page.full,
            room=self.ceiling - len(self._marks),
            now=page.moment,
            tz=self.tz,
            known=await self.known([row.id for row in page.seen]) if page.seen else {},
        )
        self._marks += [Mark(row.id, row.stamp, row.digest) for row in (*taken.past, *taken.new)]
        rows = {row.id: row for row in page.rows}
        self._items += [_item(rows[row.id], self.facts) for row in taken.new]
        self._forget_before = taken.forget_before
        return taken.finished

    def _cycle(self, *, unfinished: bool = False, fault: Fault | None = None) -> Cycle:
        return Cycle(self.mark.state, self._items, self._marks, self._forget_before, unfinished, fault)


@dataclass(frozen=True, slots=True)
class _Page:
    rows: list[Row]
    seen: list[Seen]
    moment: Moment
    full: bool
    """Whether there may be more."""

    def check(self, first: str, last: str, most: int) -> None:
        """A list that ignores filter, order or limit would be read for ever, or with holes. Raises StoreError."""
        places = [row.place for row in self.seen]
        as_asked = all(
            first <= row.stamp <= last and _STAMP.fullmatch(row.stamp) and 0 < row.id <= _ID_MOST for row in self.seen
        )
        if not as_asked or len(places) > most or places != sorted(set(places)):
            raise StoreError("store_out_of_order", "the orders do not come by date_upd and id", status=200)


def moment_of(answer: Answer, relay: int) -> Moment:
    """Where the shop's clock stood while it made the answer. Raises StoreError where it does not say.

    `Date` may be of the answer's beginning (Apache) or of its end (nginx).
    """
    try:
        date = parsedate_to_datetime(answer.field("Date") or "")
        shop = int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise StoreError("store_clock_unknown", "the answer has no Date", status=answer.status) from None
    if abs(shop - relay) > CLOCK_SECONDS_MOST:
        raise StoreError("store_clock_unknown", "the shop's clock is years off", status=answer.status)
    took = int(answer.seconds) + 1
    return Moment(shop - took, relay - took, 2 * took)


def fault_of(error: GatewayError | StoreError) -> Fault:
    """Why a cycle failed, in a trigger's words."""
    if isinstance(error, StoreError):
        return Fault(error.code, "store", error.detail, error.retry_after)
    return Fault(error.failure.code, error.failure.origin.value, error.message)


def _seen(row: Row) -> Seen:
    content = json.dumps(row.fields, sort_keys=True)
    return Seen(row.id, row.text("date_upd"), hashlib.sha256(content.encode()).hexdigest()[:32])


def _item(row: Row, facts: Facts) -> dict[str, Any]:
    item = normalised(row, ORDERS, facts)
    if len(json.dumps(item, ensure_ascii=False).encode()) <= ITEM_BYTES:
        return item
    return {name: item[name] for name in ("id", "date_upd")}
