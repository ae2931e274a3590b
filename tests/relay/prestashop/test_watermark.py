"""The watermark against a simulated shop: whatever happens to its clock, every order's last state is told, and once."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.prestashop import watermark
from relay.prestashop.watermark import OVERLAP_SECONDS, Ask, Moment, Seen, Watermark
from relay.trigger_records import Mark

ZONE = "Europe/Paris"
PARIS = ZoneInfo(ZONE)
AUTUMN = int(datetime(2026, 10, 25, 0, 59, 30, tzinfo=UTC).timestamp())  # half a minute before 03:00 becomes 02:00
SPRING = int(datetime(2026, 3, 29, 0, 59, 30, tzinfo=UTC).timestamp())  # before 02:00 becomes 03:00
SUMMER = int(datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC).timestamp())


@dataclass
class Shop:
    """Orders in memory. `ahead` is how far its clock is from true time; a change is seen when it has been committed."""

    now: int
    zone: ZoneInfo = PARIS
    ahead: int = 0
    orders: dict[int, Seen] = field(default_factory=dict)
    under_way: list[tuple[int, Seen]] = field(default_factory=list)
    versions: int = 0

    @property
    def clock(self) -> int:
        return self.now + self.ahead

    def text(self) -> str:
        return datetime.fromtimestamp(self.clock, self.zone).strftime("%Y-%m-%d %H:%M:%S")

    def change(self, order: int, late: int = 0) -> None:
        self.versions += 1
        changed = Seen(order, self.text(), f"v{self.versions}")
        if late:
            self.under_way.append((self.now + late, changed))
        else:
            self.orders[order] = changed

    def pass_time(self, seconds: int) -> None:
        for due, changed in sorted(self.under_way, key=lambda each: each[0]):
            if due <= self.now + seconds:
                self.orders[changed.id] = changed
        self.under_way = [each for each in self.under_way if each[0] > self.now + seconds]
        self.now += seconds

    def answer(self, ask: Ask, limit: int) -> list[Seen]:
        rows = [row for row in self.orders.values() if ask.first <= row.stamp <= ask.last]
        rows = [row for row in rows if ask.above is None or row.id > ask.above]
        return sorted(rows, key=lambda row: row.place)[:limit]


@dataclass
class Trigger:
    """What a relay keeps of a trigger, and its cycles: a crash leaves everything as it was before."""

    created: int
    state: str = "{}"
    marks: dict[int, Mark] = field(default_factory=dict)
    told: list[Seen] = field(default_factory=list)
    zone: str = ZONE

    def cycle(self, shop: Shop, *, page: int = 3, room: int = 5, pages: int = 4, crash: bool = False) -> bool:
        """Whether a sweep has come to its end. Without pages: the store does not answer."""
        mark, marks, told = Watermark.of(json.loads(self.state), self.created), dict(self.marks), list(self.told)
        tz, fresh, finished, forget = ZoneInfo(self.zone), 0, False, None
        mark.begin(shop.now, self.zone, tz)
        for _ in range(pages):
            rows, moment = shop.answer(mark.ask, page), Moment(shop.clock, shop.now)
            if mark.correct(moment, tz):
                continue
            taken = mark.take(rows, full=len(rows) == page, room=room - fresh, now=moment, tz=tz, known=self.marks)
            found = [*taken.past, *taken.new]
            fresh += len(found)
            marks |= {row.id: Mark(row.id, row.stamp, row.digest) for row in found}
            told += taken.new
            finished, forget = taken.finished, taken.forget_before
            if finished or fresh >= room:
                break
        if crash:
            return False
        if forget:
            marks = {id_: kept for id_, kept in marks.items() if kept.stamp >= forget}
        self.state, self.marks, self.told = json.dumps(mark.state), marks, told
        return finished

    def catch_up(self, shop: Shop) -> None:
        """Whole sweeps until all that can be seen has been, and no second is open."""
        for _ in range(3):
            shop.pass_time(OVERLAP_SECONDS // 4)
            for _ in range(400):
                if self.cycle(shop):
                    break
            else:
                pytest.fail("a sweep does not come to its end")


def started(shop: Shop) -> Trigger:
    trigger = Trigger(shop.now)
    assert trigger.cycle(shop, pages=50, room=500)
    assert trigger.told == []
    shop.pass_time(60)
    return trigger


def check(shop: Shop, trigger: Trigger, *, shown_twice: bool = False) -> None:
    """`shown_twice`: the clock has gone back to times before the trigger, and nobody can tell old rows from new."""
    told = {(row.id, row.stamp, row.digest) for row in trigger.told}
    changed = [row for row in shop.orders.values() if row.digest != PAST]
    missing = [row for row in changed if (row.id, row.stamp, row.digest) not in told]
    assert missing == [], "an order's last state was never told"
    counts = Counter((row.id, row.stamp, row.digest) for row in trigger.told)
    assert [each for each, times in counts.items() if times > 1] == [], "told twice"
    assert shown_twice or PAST not in {row.digest for row in trigger.told}, "the past was told"


def had(shop: Shop, *orders: int) -> None:
    """They changed before there was a trigger, the last one shortly before."""
    for age, order in enumerate(reversed(orders)):
        text = datetime.fromtimestamp(shop.clock - 10 - 100 * age, shop.zone).strftime("%Y-%m-%d %H:%M:%S")
        shop.orders[order] = Seen(order, text, PAST)


PAST = "past"
SET_BACK_MOST = 26 * 3600
"""By hand, in all: as far as another time zone takes a clock back."""
ORDER = st.integers(1, 6)
STEP = st.one_of(
    st.tuples(st.just("change"), ORDER, st.just(0)),
    st.tuples(st.just("change"), ORDER, st.sampled_from([1, 3, 60, OVERLAP_SECONDS - 5])),
    st.tuples(st.just("burst"), st.integers(1, 12), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([0, 1, 2, 30, 61, 400, 1800]), st.just(0)),
    st.tuples(st.just("cycle"), st.booleans(), st.just(0)),
    st.tuples(st.just("fail"), st.just(0), st.just(0)),
    st.tuples(st.just("set_clock"), st.sampled_from([-90_000, -4 * 3600, -3000, -90, -3, 2, 45, 4000]), st.just(0)),
    st.tuples(st.just("offline"), st.just(86_400), st.just(0)),
)


@settings(max_examples=1500, deadline=None)
@given(
    steps=st.lists(STEP, max_size=40),
    begin=st.sampled_from([AUTUMN - 600, AUTUMN, SPRING, SUMMER]),
    looked=st.booleans(),
)
@example(steps=[("change", 1, 1), ("set_clock", -3000, 0), ("cycle", False, 0)], begin=AUTUMN, looked=True)
@example(
    steps=[("change", 1, 295), ("cycle", 0, 0), ("set_clock", 4000, 0), ("cycle", 0, 0)],
    begin=AUTUMN - 600,
    looked=True,
)
@example(steps=[("fail", 0, 0), ("change", 1, 0), ("offline", 86_400, 0)], begin=AUTUMN - 600, looked=False)
@example(
    steps=[
        ("change", 1, 0),
        *[("wait", 1800, 0), ("cycle", False, 0)] * 6,
        ("set_clock", -4 * 3600, 0),
        ("cycle", False, 0),
    ],
    begin=SUMMER,
    looked=True,
)
@example(
    steps=[
        ("burst", 9, 0),
        ("cycle", False, 0),
        ("set_clock", -3000, 0),
        ("change", 1, 0),
        ("cycle", False, 0),
        ("set_clock", 4000, 0),
    ],
    begin=AUTUMN - 600,
    looked=True,
)
def test_every_orders_last_state_is_told_and_nothing_twice(  # noqa: C901 - one case a kind of event
    steps: list[tuple[str, int, int]],
    begin: int,
    looked: bool,
) -> None:
    """Through late commits, bursts in one second, crashes, days offline, clocks set by law and by hand; and from the
    trigger's creation on, however late the first look comes.
    """
    shop = Shop(begin)
    had(shop, 1, 2, 3, 4, 201, 202, 203, 204, 205, 206)
    trigger = started(shop) if looked else Trigger(shop.now)
    may_be_set = looked  # its clock: once between two sweeps, since nobody can see what happened in between
    furthest, set_back = 0, False
    for what, how, late in steps:
        match what:
            case "change":
                if not any(order.id == how for _, order in shop.under_way):  # the database locks the row
                    shop.change(how, late)
            case "burst":
                for order in range(100, 100 + how):
                    shop.change(order)
            case "wait":
                shop.pass_time(how)
            case "cycle":
                if trigger.cycle(shop, crash=bool(how)):
                    may_be_set = True
            case "fail":
                trigger.cycle(shop, pages=0)
            case "set_clock" if may_be_set and shop.ahead + how >= furthest - SET_BACK_MOST:
                shop.ahead += how
                furthest, set_back = max(furthest, shop.ahead), set_back or how < 0
                may_be_set = False
            case "offline":
                shop.pass_time(how)
    shop.pass_time(OVERLAP_SECONDS)
    trigger.catch_up(shop)
    check(shop, trigger, shown_twice=set_back or begin not in {SPRING, SUMMER})


def test_rows_of_a_second_that_is_not_over_wait_for_the_next_sweep() -> None:
    """An order that changes twice in one second is told once, in its last state."""
    shop = Shop(SUMMER)
    trigger = started(shop)
    shop.change(1)
    assert trigger.cycle(shop)
    assert trigger.told == []
    shop.change(1)
    shop.pass_time(watermark.OPEN_SECONDS + 1)
    assert trigger.cycle(shop)
    assert [row.digest for row in trigger.told] == ["v2"]


def test_a_row_that_is_seen_late_is_told() -> None:
    """A transaction that ran past later ones, which have been told."""
    shop = Shop(SUMMER)
    trigger = started(shop)
    shop.change(1, late=OVERLAP_SECONDS - 5)
    shop.pass_time(120)
    shop.change(2)
    shop.pass_time(10)
    assert trigger.cycle(shop)
    shop.pass_time(OVERLAP_SECONDS)
    assert trigger.cycle(shop)
    assert [row.id for row in trigger.told] == [2, 1]


def test_a_row_that_is_seen_late_while_the_clock_is_set_forward_is_told() -> None:
    """By the new clock it is an hour late; the old one is remembered for as long as a row may be late."""
    shop = Shop(SUMMER)
    trigger = started(shop)
    shop.change(1, late=OVERLAP_SECONDS - 5)
    assert trigger.cycle(shop)
    shop.ahead += 4000
    for _ in range(12):
        assert trigger.cycle(shop)
        shop.pass_time(30)
    assert [row.id for row in trigger.told] == [1]


def test_a_clock_that_is_set_back_in_the_middle_of_a_sweep_and_then_forward_loses_nothing() -> None:
    """Only a later page of the sweep tells that the clock was back, and that is remembered for the next sweep."""
    shop = Shop(SUMMER)
    trigger = started(shop)
    for order in range(100, 109):
        shop.change(order)
    assert not trigger.cycle(shop)
    shop.ahead = -3000
    shop.change(1)
    assert trigger.cycle(shop)
    shop.ahead = 1000
    shop.pass_time(OVERLAP_SECONDS)
    trigger.catch_up(shop)
    check(shop, trigger)


def test_the_hour_that_comes_twice_is_read_twice() -> None:
    """What changes in the second 02:xx is told, though its time was passed an hour ago, also after a day offline."""
    for offline in (0, 86_400):
        shop = Shop(AUTUMN - 60)
        trigger = started(shop)  # 02:59
        shop.change(1)
        shop.pass_time(10)
        assert trigger.cycle(shop)
        shop.pass_time(40 * 60)  # 02:40 again
        shop.change(2)
        shop.pass_time(offline + 10)
        while not trigger.cycle(shop):
            pass
        assert [row.id for row in trigger.told] == [1, 2]


def test_a_second_with_more_rows_than_a_page_is_read_to_its_end() -> None:
    """A module that touches all orders at once: by ids within the second, in bounded cycles."""
    shop = Shop(SUMMER)
    trigger = started(shop)
    for order in range(1, 41):
        shop.change(order)
    shop.pass_time(60)
    shop.change(50)
    shop.pass_time(60)
    cycles = 1
    while not trigger.cycle(shop):
        cycles += 1
    assert [row.id for row in trigger.told] == [*range(1, 41), 50]
    assert cycles >= 8


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("noticed_after", [0, 600])
def test_a_new_time_zone_of_the_shop_loses_nothing(zone: str, noticed_after: int) -> None:
    """The merchant corrects PS_TIMEZONE: the local clock jumps by hours, and the relay may hear of it late."""
    shop = Shop(SUMMER)
    trigger = started(shop)
    shop.change(1)
    shop.zone = ZoneInfo(zone)
    shop.pass_time(1)
    shop.change(2)
    for _ in range(noticed_after // 60):
        shop.pass_time(60)
        trigger.cycle(shop)
    shop.change(3)
    shop.pass_time(10)
    trigger.zone = zone
    for _ in range(2):
        while not trigger.cycle(shop):
            pass
        shop.pass_time(60)
    assert sorted(row.id for row in trigger.told) == [1, 2, 3]


@pytest.mark.parametrize("offline", [0, 86_400])
def test_the_first_look_tells_what_changed_since_the_trigger_was_created(offline: int) -> None:
    """Also in the hour that comes twice, and after looks that failed: what was there before is not told."""
    for begin in (SUMMER, AUTUMN - 600, AUTUMN - 60, SPRING):
        shop = Shop(begin, ahead=500)
        had(shop, 7, 8, 9)
        trigger = Trigger(shop.now)
        trigger.cycle(shop, pages=0)
        shop.change(1)
        shop.pass_time(120)
        shop.change(8)
        shop.pass_time(offline + 10)
        while not trigger.cycle(shop):
            pass
        changed = [row.id for row in trigger.told if row.digest != PAST]
        assert sorted(changed) == [1, 8]
        check(shop, trigger, shown_twice=begin not in {SPRING, SUMMER})


def test_a_clock_set_back_further_than_marks_are_kept_loses_nothing() -> None:
    """What it told of the times that are shown again may be told once more."""
    shop = Shop(SUMMER)
    trigger = started(shop)
    shop.change(1)
    for _ in range(80):
        shop.pass_time(1800)
        assert trigger.cycle(shop)
    shop.ahead = -40 * 3600
    shop.change(2)
    shop.pass_time(60)
    assert trigger.cycle(shop)
    assert {row.id for row in trigger.told} == {1, 2}


def test_marks_are_forgotten() -> None:
    """What is kept does not grow with the orders of a shop's life."""
    shop = Shop(SUMMER)
    trigger = started(shop)
    for order in range(1000):
        shop.change(order)
        shop.pass_time(1200)
        while not trigger.cycle(shop):
            pass
    assert len(trigger.told) == 1000
    assert len(trigger.marks) < 100
