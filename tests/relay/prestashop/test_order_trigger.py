"""Cycles of `order-updated` against the stand-in store: what is asked, what is told, and what a store's troubles do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import structlog

from relay.gateway import pool
from relay.gateway.call import Answer
from relay.prestashop import order_trigger, triggering
from relay.prestashop.order_trigger import OrderCycle, moment_of
from relay.prestashop.page_sizes import PageSize, PageSizes
from relay.prestashop.store_errors import StoreError
from relay.prestashop.triggering import Triggering, wait_after
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
from tests.relay.prestashop.scene import Place, place

ZONE = "Europe/Madrid"


@dataclass
class Follower:
    """A trigger's memory, and its cycles."""

    here: Place
    ceiling: int = 100
    page: int = order_trigger.PAGE_ROWS
    sizes: PageSizes = field(default_factory=lambda: PageSizes(time.monotonic))
    state: Mapping[str, Any] = field(default_factory=dict)
    marks: dict[int, Mark] = field(default_factory=dict)
    created: int = field(default_factory=lambda: int(time.time()))

    async def known(self, ids: list[int]) -> dict[int, Mark]:
        return {id_: self.marks[id_] for id_ in ids if id_ in self.marks}

    async def cycle(self) -> Cycle:
        reading = OrderCycle(
            shop=self.here.shop_with("full", sizes=self.sizes),
            facts=Facts(ZONE),
            zone=ZONE,
            tz=ZoneInfo(ZONE),
            known=self.known,
            clock=time.time,
            mark=Watermark.of(json.loads(json.dumps(self.state)), self.created),
            ceiling=self.ceiling,
        )
        reading._most = self.page
        cycle = await reading.run()
        self.state = cycle.state
        self.marks |= {mark.subject: mark for mark in cycle.marks}
        return cycle


@contextlib.asynccontextmanager
async def followed(ceiling: int = 100, **knobs: Any) -> AsyncIterator[tuple[Place, Follower]]:
    """The past is known."""
    async with place(**knobs) as here:
        follower = Follower(here, ceiling)
        first = await follower.cycle()
        assert (first.items, first.fault, first.unfinished) == ([], None, False)
        yield here, follower


def change(here: Place, *orders: int, age: float = 60, **values: Any) -> None:
    """As the shop does it, so many seconds ago."""
    stamp = here.store.shop.clock.text(-age)
    for order in orders:
        here.store.shop["orders"].update(order, {"date_upd": stamp, **values})


def ids(here: Place) -> list[int]:
    return sorted(here.store.shop["orders"].rows)


async def test_what_an_item_tells() -> None:
    """As list-orders shows it: numbers, truths, decimals as text, times with the shop's offset; no secret key."""
    async with followed() as (here, follower):
        order = ids(here)[0]
        change(here, order, current_state=4)
        (item,) = (await follower.cycle()).items
        assert item["id"] == order
        assert item["current_state"] == 4
        assert isinstance(item["total_paid"], str)
        assert isinstance(item["valid"], bool)
        assert item["date_upd"][-6:] in {"+01:00", "+02:00"}
        assert "secure_key" not in item
        assert (await follower.cycle()).items == []


async def test_one_small_request_when_nothing_has_changed() -> None:
    """With date=1, both ends of the interval, a stable order, and a limit."""
    async with followed() as (here, follower):
        before = here.store.requests_total
        await follower.cycle()
        assert here.store.requests_total == before + 1
        line = here.store.requests[-1].line.decode()
        for part in ("date=1", "date_upd_ASC%2Cid_ASC", "limit=50", "9999-12-31%2023%3A59%3A59"):
            assert part in line


async def test_the_ceiling_bounds_an_event_and_the_rest_follows() -> None:
    """All of one second: pages by id, two orders an event, none left out or told twice."""
    async with followed(ceiling=2) as (here, follower):
        everyone = ids(here)
        change(here, *everyone)
        told = []
        for _ in range(len(everyone)):
            cycle = await follower.cycle()
            told.append([item["id"] for item in cycle.items])
            if not cycle.unfinished:
                break
        assert max(map(len, told)) == 2
        assert sorted(id_ for part in told for id_ in part) == everyone


async def test_a_page_that_is_too_heavy_is_asked_for_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that runs out of memory above a few rows is still read; later cycles know it, and spare its log."""
    failed: list[int] = []

    def note(size: PageSize, asked: int, now: float) -> None:
        failed.append(asked)
        original(size, asked, now)

    original = PageSize.failed
    monkeypatch.setattr(PageSize, "failed", note)
    async with followed() as (here, follower):
        everyone = ids(here)
        assert len(everyone) > 3
        for number, order in enumerate(everyone):
            change(here, order, age=100 + number)
        here.store.knobs.fatal_cells = 3 * 10
        told: list[int] = []
        for _ in range(20):
            cycle = await follower.cycle()
            assert cycle.fault is None
            told += [item["id"] for item in cycle.items]
            if not cycle.unfinished:
                break
        assert sorted(told) == everyone
        assert failed
        for age in (70, 60, 50):
            failed.clear()
            change(here, *everyone, age=age)
            assert len((await follower.cycle()).items) == len(everyone)
        assert failed == []


async def test_what_was_read_before_a_failure_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page that failed is asked for again by the next cycle; the rows before it are told now."""
    async with followed() as (here, follower):
        everyone = ids(here)
        for number, order in enumerate(everyone):
            change(here, order, age=200 - number)
        follower.page = 2
        asked = 0
        original = type(here.shop).answered

        async def answered(self: Any, query: Any) -> Any:
            nonlocal asked
            asked += 1
            if asked == 2:
                raise StoreError("webservice_off", "switched off", status=503, retry_after=120)
            return await original(self, query)

        monkeypatch.setattr(type(here.shop), "answered", answered)
        first = await follower.cycle()
        assert first.fault == Fault("webservice_off", "store", "switched off", 120)
        told = [item["id"] for item in first.items]
        assert len(told) == 2
        told += [item["id"] for item in (await follower.cycle()).items]
        assert sorted(told) == everyone


@pytest.mark.parametrize(
    ("knobs", "code"),
    [
        ({"webservice": "off"}, "webservice_off"),
        ({"fatal": "on"}, "php_fatal"),
        (
            {"raw_answer": "HTTP/1.1 429 Slow down\\r\\nRetry-After: 90\\r\\nContent-Length: 0\\r\\n\\r\\n"},
            "rate_limited",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_a_stores_troubles_are_named(monkeypatch: pytest.MonkeyPatch, knobs: dict[str, str], code: str) -> None:
    """And nothing is lost by them."""
    monkeypatch.setattr(pool, "PAUSE_SECONDS_MOST", 0)
    async with followed() as (here, follower):
        change(here, ids(here)[0])
        before = {name: getattr(here.store.knobs, name) for name in knobs}
        here.store.knobs.update(**knobs)
        cycle = await follower.cycle()
        assert cycle.fault
        assert (cycle.fault.code, cycle.fault.origin) == (code, "store")
        assert cycle.fault.retry_after == (90 if code == "rate_limited" else None)
        here.store.knobs.update(**before)
        assert len((await follower.cycle()).items) == 1


@pytest.mark.parametrize("rows", ["<order><id>7</id><date_upd>yesterday</date_upd></order>",
    "<order><id>9999999999999999999</id><date_upd>2999-01-01 00:00:00</date_upd></order>",
    "<order><id>0</id><date_upd>2999-01-01 00:00:00</date_upd></order>",
    "<order><id>7</id><date_upd>1999-01-01 00:00:00</date_upd></order>",
    ("<order><id>7</id><date_upd>2999-01-02 00:00:00</date_upd></order>"
     "<order><id>8</id><date_upd>2999-01-01 00:00:00</date_upd></order>")])  # fmt: skip
async def test_a_list_that_is_not_what_was_asked_for_is_not_believed(rows: str) -> None:
    """A store that ignores filter or order, or writes no times: said, and not read for ever."""
    async with followed() as (here, follower):
        before = follower.state
        body = f'<?xml version="1.0"?><prestashop><orders>{rows}</orders></prestashop>'
        head = "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\nPSWS-Version: 9.1.4\r\n"
        here.store.knobs.raw_answer = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        cycle = await follower.cycle()
        assert cycle.fault
        assert cycle.fault.code == "store_out_of_order"
        assert cycle.items == []
        assert follower.state["last"] == before["last"]


@pytest.mark.parametrize("agent_away", [True, False])
async def test_what_changes_before_the_first_look_is_told(agent_away: bool) -> None:
    """From the trigger's creation on, however late the store is there; what was there before is only remembered."""
    async with place() as here:
        old, new, *_ = ids(here)
        change(here, old, age=120, current_state=4)
        follower = Follower(here, created=int(time.time()) - 60)
        if agent_away:
            here.store.knobs.webservice = False
            assert (await follower.cycle()).fault
        change(here, new, age=30, current_state=4)
        here.store.knobs.webservice = True
        first, second = await follower.cycle(), await follower.cycle()
        assert [item["id"] for item in first.items] == [new]
        assert (second.items, second.fault) == ([], None)


def answer(*fields: tuple[str, str], seconds: float = 0.2) -> Answer:
    return Answer(200, "OK", fields, b"", seconds)


def test_the_shops_clock_is_the_date_of_its_answer() -> None:
    """Of its beginning or its end, whichever the web server means."""
    moment = moment_of(answer(("Date", "Sun, 25 Oct 2026 01:00:00 GMT"), seconds=4.2), 1_792_880_000)
    assert (moment.shop, moment.relay, moment.seconds) == (1_792_890_000 - 5, 1_792_879_995, 10)
    for fields in ((), (("Date", "yesterday"),), (("Date", "Fri, 31 Dec 9999 23:59:59 GMT"),)):
        with pytest.raises(StoreError, match="store_clock_unknown"):
            moment_of(answer(*fields), 1_792_880_000)


def work(**changes: Any) -> Work:
    given: dict[str, Any] = {
        "lease": Lease("trg_aaaaaaaaaaaaaaaa", 1),
        "account": "acc_one",
        "connection": "con_aaaaaaaaaaaaaaaa",
        "kind": TriggerKind.ORDER_UPDATED,
        "interval": 60,
        "ceiling": 10,
        "time_zone": None,
        "state": {},
        "failures": 0,
        "created_at": int(time.time()),
    }
    return Work(**{**given, **changes})


def test_when_the_next_cycle_is() -> None:
    """After its interval; soon if there is more; after failures less and less often, and not before the store says."""
    fault = Fault("agent_offline", "agent", "away")
    assert wait_after(work(), Cycle({}), 0.5) == 60
    assert wait_after(work(), Cycle({}, unfinished=True), 0.5) == 10
    waits = [wait_after(work(failures=number), Cycle({}, fault=fault), 0.0) for number in range(7)]
    assert waits == [60, 120, 240, 480, 900, 900, 900]
    assert wait_after(work(failures=9), Cycle({}, fault=fault), 1.0) == 1080
    assert wait_after(work(interval=86_400, failures=3), Cycle({}, fault=fault), 0.0) == 86_400
    asked = Fault("rate_limited", "store", "wait", 3000)
    assert wait_after(work(), Cycle({}, fault=asked), 0.0) == 3000


@dataclass
class Desk:
    """Keeps what it is told, and fails as it is told."""

    finished: list[tuple[Cycle, int]] = field(default_factory=list)
    renewed: int = 0
    lost: bool = False
    away: bool = False

    async def claim(self, _most: int) -> list[Work]:
        return []

    async def renew(self, _lease: Lease) -> None:
        self.renewed += 1
        if self.lost:
            raise LeaseLostError

    async def marks(self, _lease: Lease, _subjects: Sequence[int]) -> dict[int, Mark]:
        return {}

    async def entries(self, _lease: Lease, _section: Section, _above: int, _most: int) -> list[Entry]:
        return []

    async def finish(self, _lease: Lease, cycle: Cycle, *, next_run_at: int) -> None:
        if self.away:
            raise DeskAwayError("no answer")
        self.finished.append((cycle, next_run_at))


def triggers(here: Place, desk: Desk, connection: Connection | None) -> Triggering:
    async def find(_id: str) -> Connection | None:
        return connection

    return Triggering(desk, here.shops, find, clock=time.time, chance=lambda: 0.5)


async def test_a_cycle_asks_the_shop_for_its_time_zone() -> None:
    """Where the key may not read it and the trigger does not name it, that is said, and nothing is guessed."""
    async with place() as here:
        desk = Desk()
        await triggers(here, desk, here.connection).work(work())
        assert desk.finished[0][0].fault is None
        assert desk.finished[0][0].state["zone"] == ZONE
        here.store.grant("orders_only", {"orders": ["GET"]})
        blind = here.shop_with("orders_only").connection
        await triggers(here, desk, blind).work(work())
        fault = desk.finished[1][0].fault
        assert fault
        assert fault.code == "shop_time_unknown"
        await triggers(here, desk, blind).work(work(time_zone="Europe/Madrid"))
        assert desk.finished[2][0].fault is None


async def test_a_connection_that_is_gone_or_anothers_is_not_used() -> None:
    """The state stays as it was."""
    async with place() as here:
        desk = Desk()
        for connection in (None, here.shop_with("full", account="acc_two").connection):
            await triggers(here, desk, connection).work(work(state={"zone": "x"}))
        assert [cycle.fault.code for cycle, _ in desk.finished if cycle.fault] == ["not_found", "not_found"]
        assert all(cycle.state == {"zone": "x"} for cycle, _ in desk.finished)
        assert here.store.requests_total == 0


async def test_a_node_that_has_lost_its_trigger_stops_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as it hears of it, in the middle of a slow answer; and writes nothing."""
    monkeypatch.setattr(triggering, "RENEW_SECONDS", 0.05)
    async with place(first_byte_delay=5) as here:
        desk = Desk(lost=True)
        async with asyncio.timeout(3):
            await triggers(here, desk, here.connection).work(work(time_zone=ZONE))
        assert (desk.renewed, desk.finished) == (1, [])


async def test_a_slow_cycle_keeps_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewed while it reads."""
    monkeypatch.setattr(triggering, "RENEW_SECONDS", 0.1)
    async with place(first_byte_delay=0.5) as here:
        desk = Desk()
        await triggers(here, desk, here.connection).work(work(time_zone=ZONE))
        assert desk.renewed >= 3
        assert len(desk.finished) == 1


async def test_what_nobody_has_thought_of_is_a_fault_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """An odd answer that the relay stumbles over: shown at the trigger, and asked for less and less often."""

    async def stumble(_cycle: Any) -> Cycle:
        raise KeyError("id")

    monkeypatch.setattr(OrderCycle, "run", stumble)
    async with place() as here:
        desk = Desk()
        await triggers(here, desk, here.connection).work(work(time_zone=ZONE, state={"zone": "x"}))
        ((cycle, _),) = desk.finished
        assert cycle.fault
        assert (cycle.fault.code, cycle.state) == ("relay_fault", {"zone": "x"})


async def test_a_database_that_is_away_loses_a_cycle_and_no_more() -> None:
    """It is logged without a traceback; the lease runs out, and the cycle comes again."""
    async with place() as here:
        desk = Desk(away=True)
        with structlog.testing.capture_logs() as lines:
            await triggers(here, desk, here.connection).work(work(time_zone=ZONE))
        assert [(line["log_level"], line["reason"]) for line in lines] == [("warning", "no answer")]
        assert "exc_info" not in lines[0]
        desk.away = False
        await triggers(here, desk, here.connection).work(work(time_zone=ZONE))
        assert [cycle.fault for cycle, _ in desk.finished] == [None]
