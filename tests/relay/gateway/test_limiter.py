"""How many requests at once a store is given: what the controller makes of answers, delays and failures."""

from __future__ import annotations

import statistics
from collections.abc import Hashable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateway import limiter
from relay.gateway.baselines import KINDS, UNSURE_ANSWERS
from relay.gateway.limiter import AGAIN_AFTER_REFUSAL, MOST, Limit
from tests.relay.gateway.simulated import Callers, Lookups, Relay, Request, Store, Sync, Time, measured, page_of

PRODUCTS = 20_000


@pytest.fixture(autouse=True)
def known_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here nothing is known of a store."""
    monkeypatch.setattr(limiter, "FIRST", 1)


def answers(limit: Limit, count: int, seconds: float, *, now: float = 1.0, kind: Hashable = "page") -> None:
    """So many answers at the limit, each after so long, while others wait."""
    for _ in range(count):
        limit.want()
        limit.answered(kind, seconds, (limit.at, limit.at), limit.era, now)


def at_the_knee(workers: int) -> float:
    """What the limit mostly is after half a minute of answers from a store with so many workers."""
    limit, seen = Limit(0), []
    for number in range(3000):
        answers(limit, 1, 0.08 * max(1, limit.at / workers), now=number / 100)
        seen.append(limit.at)
    return statistics.median(seen[1000:])


def test_the_first_request_is_alone() -> None:
    """From one up."""
    assert Limit(0).at == 1


def test_good_answers_double_it() -> None:
    """Round by round, up to the bound: the fifth round is of more than sixteen."""
    limit, seen = Limit(0), []
    while limit.at < MOST:
        seen.append(limit.at)
        answers(limit, limit.at, 0.08)
    assert seen[:6] == [1, 3, 7, 15, 31, 63]
    answers(limit, 100, 0.08)
    assert limit.at == MOST


def test_what_is_not_made_use_of_does_not_grow() -> None:
    """Connectors that ask one by one tell nothing of more."""
    limit = Limit(0)
    for _ in range(100):
        limit.answered("page", 0.08, (1, 1), limit.era, 1.0)
    assert limit.at == 1


def test_a_climb_is_not_broken_off_for_a_proof() -> None:
    """However long the store was idle before: the next raise proves more."""
    limit = Limit(0)
    for at in (1, 3, 7, 15):
        assert (limit.at, limit.resting) == (at, False)
        answers(limit, at, 0.08, now=100.0)
    assert limit.at == 31


def test_what_comes_in_bursts_grows_where_somebody_had_to_wait() -> None:
    """Most answers see few beside them, and yet more at once would be made use of."""
    limit = Limit(0)
    for _ in range(100):
        limit.want()
        limit.answered("page", 0.08, (1, 1), limit.era, 1.0)
    assert limit.at > 3


@pytest.mark.parametrize("workers", [1, 2, 4, 6, 12, 16, 24])
def test_the_knee_is_found(workers: int) -> None:
    """A store answers more slowly once all its workers are busy: the limit comes to them, and stays."""
    assert workers - 2 <= at_the_knee(workers) <= workers + 2


def test_what_was_too_much_before_is_tried_for_a_moment_only() -> None:
    """What was proven once needs no second look, and no benefit of the doubt: a lookup meets with it but seldom."""
    limit, tries = Limit(0), []
    for number in range(4000):
        before = limit.at
        answers(limit, 1, 0.08 if before == 1 else (0.08, 0.24)[number % 2], now=number * 0.08)
        if before == 1 < limit.at:
            tries.append(0)
        elif limit.at > 1:
            tries[-1] += 1
    assert len(tries) >= 4
    assert max(tries[-2:]) <= 6


def test_an_answer_that_takes_no_time_to_speak_of_is_no_reason() -> None:
    """What the relay and the line add is not the store's queue: quick stores are not held back."""
    limit = Limit(0)
    for _ in range(500):
        answers(limit, 1, 0.0002 * min(limit.at, 40))
    assert limit.at >= 63


def test_a_quick_store_that_then_takes_long_is_given_more() -> None:
    """What the relay itself adds to answers of a tenth of a millisecond says nothing against it: who waits is let go,
    one after the other.
    """
    limit = Limit(0)
    for seconds in (0.0003, 0.001, 0.002, 0.0005):
        limit.answered("page", seconds, (1, 1), limit.era, 1.0)
    for now in range(2, 9):
        limit.want()
        limit.silent(now)
    assert limit.at == 4
    limit.answered("page", 0.0005, (4, 4), limit.era, 8.5)
    for now in (9, 10):
        limit.silent(now)
    assert limit.at == 4, "somebody is served"
    limit.silent(11)
    assert limit.at == 5


def test_another_kind_of_request_is_measured_by_itself() -> None:
    """Slow reports beside quick pages are no sign of a queue."""
    limit = Limit(0)
    for number in range(400):
        kind, seconds = ("report", 2.0) if number % 3 == 0 else ("page", 0.08)
        limit.want()
        limit.answered(kind, seconds, (1, 1) if number < 6 else (limit.at, limit.at), limit.era, number / 10)
    assert limit.at >= 31


def test_of_a_new_store_one_goes_alone_first() -> None:
    """A page that was only seen beside a lookup would seem to be slow by nature, and so would be a queue of pages."""
    limit = Limit(0)
    for _ in range(3):
        limit.want()
        limit.held_up("page")
        limit.answered("lookup", 0.08, (1, 1), limit.era, 1.0)
        limit.answered("page", 0.16, (2, 2), limit.era, 1.0)
        assert limit.at == 1
    limit.want()
    limit.answered("page", 0.08, (1, 1), limit.era, 1.0)
    assert limit.at == 3


def test_it_is_not_waited_for_ever_for_one_to_go_alone() -> None:
    """Nor where it is seen that two are worked on side by side."""
    limit = Limit(0)
    for _ in range(UNSURE_ANSWERS + 1):
        limit.want()
        limit.held_up("page")
        limit.answered("lookup", 0.08, (1, 1), limit.era, 1.0)
    assert limit.at == 3
    limit = Limit(0)
    for beside in (1, 2):
        limit.want()
        limit.held_up("page")
        limit.answered("lookup", 0.08, (beside, beside), limit.era, 1.0)
    assert limit.at == 3


def test_a_store_that_is_slow_for_its_own_reasons_is_not_blamed_on_the_limit() -> None:
    """Three times as slow at any limit: it is put to the proof, and kept."""
    limit = Limit(0)
    for _ in range(20):
        answers(limit, limit.at, 0.08)
    limit.at = 8
    for number in range(600):
        answers(limit, 1, 0.24, now=10 + number / 30)
    assert limit.at >= 6
    assert limit.expected("page") == pytest.approx(0.24, rel=0.2)


def test_a_rest_without_an_answer_is_given_up() -> None:
    """Behind a request that takes its time nobody waits for long to see whether the store is quicker so."""
    limit = Limit(0)
    for _ in range(3):
        answers(limit, limit.at, 0.08)
    while not limit.resting:
        answers(limit, 1, 2.5, now=5.0)
    limit.silent(6.0)
    limit.silent(7.5)
    assert limit.resting
    limit.silent(8.0)
    assert not limit.resting


def test_long_answers_need_no_rest() -> None:
    """Where an answer takes ten seconds, it comes down by what is known, and is never put to a proof of a minute."""
    limit = Limit(0)
    for number in range(200):
        before = limit.at
        answers(limit, 1, 10 * max(1, limit.at / 4), now=number * 2.5)
        assert limit.at >= before // 2
    assert 2 <= limit.at <= 7


def test_a_refusal_halves_it() -> None:
    """429 or 503: half at once, once for what was under way together, and not tried again for a minute."""
    limit = Limit(0)
    for _ in range(5):
        answers(limit, limit.at, 0.08)
    before, era = limit.at, limit.era
    for _ in range(before):
        limit.refused(era, 1.0)
    assert limit.at == before // 2
    for number in range(3000):
        answers(limit, 1, 0.08, now=1 + AGAIN_AFTER_REFUSAL[0] * number / 3001)
        assert limit.at < before
    answers(limit, 3 * before, 0.08, now=2 + AGAIN_AFTER_REFUSAL[0])
    assert limit.at >= before


def test_what_is_unclear_is_no_reason_to_give_more() -> None:
    """Of a line that was not looked at, the quick answers alone would tell too good a tale."""
    limit = Limit(0)
    answers(limit, 1, 0.08)
    before = limit.at
    for _ in range(100):
        answers(limit, before - 1, 0.08)
        limit.unclear(limit.era)
    assert limit.at == before == 3


def test_one_fault_among_many_is_a_requests_own() -> None:
    """A page that runs out of memory says nothing of the store; many failures do."""
    limit = Limit(0)
    for _ in range(4):
        answers(limit, limit.at, 0.08)
    before = limit.at
    limit.faulted("page", before, limit.era, 1.0)
    assert limit.at == before
    era = limit.era
    for _ in range(before):
        limit.faulted("page", before, era, 1.0)
    assert limit.at == before // 2


def test_what_never_worked_is_no_fault_of_the_store() -> None:
    """A kind of request that has never been answered well is itself too much, however few there are."""
    limit = Limit(0)
    for _ in range(4):
        answers(limit, limit.at, 0.08)
    before = limit.at
    for _ in range(100):
        limit.faulted("all products at once", before, limit.era, 1.0)
    assert limit.at == before


def test_what_was_let_go_earlier_tells_nothing_of_the_limit() -> None:
    """Answers to requests from before a change do not count for it."""
    limit = Limit(0)
    for _ in range(5):
        answers(limit, limit.at, 0.08)
    era, before = limit.era, limit.at
    limit.refused(era, 1.0)
    halved = limit.at
    for _ in range(50):
        limit.answered("page", 5.0, (before, before), era, 1.0)
        limit.refused(era, 1.0)
    assert limit.at == halved


def test_kinds_are_bounded() -> None:
    """However many kinds a caller makes up, so many are remembered."""
    limit = Limit(0)
    for number in range(10 * KINDS):
        limit.answered(number, 0.08, (1, 1), limit.era, 1.0)
    assert len(limit._baselines) == KINDS


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.floats(0, 1000), st.integers(1, 100), st.integers(0, 2), st.sampled_from("abcd")
        ),
        max_size=300,
    )
)
def test_whatever_happens_it_stays_within_its_bounds(events: list[tuple[int, float, int, int, str]]) -> None:
    """At least one, at most the bound, whatever stores answer and when."""
    limit, now = Limit(0), 0.0
    for what, seconds, beside, ago, kind in events:
        now += seconds / 10
        if what < 2:
            limit.answered(kind, seconds, (beside, limit.at), limit.era - ago, now)
        elif what == 2:
            limit.faulted(kind, beside, limit.era - ago, now)
        else:
            limit.refused(limit.era - ago, now)
        assert 1 <= limit.at <= MOST


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_a_sync_and_lookups(workers: int) -> None:
    """20,000 products in at most 1.25 of the time of the best fixed number at once and size of page; no error after
    five seconds; a lookup every second, whose p95 is at most twice that of an idle store.
    """
    best = min(
        measured(workers, rows=25, fixed=count).seconds for count in (1, workers, workers + 1, 2 * workers, 4 * workers)
    )
    found = measured(workers, rows=25)
    assert found.seconds <= 1.25 * best
    assert found.errors
    assert max(found.errors) <= 5
    assert found.p95 <= 2 * 0.082


@pytest.mark.parametrize("way", [0.002, 0.05])
@pytest.mark.parametrize("spread", [0.0, 0.3])
@pytest.mark.parametrize("workers", [2, 8, 32])
def test_other_stores_and_lines(workers: int, spread: float, way: float) -> None:
    """Also with other numbers of workers, times that vary by a third, and 50 ms on the way: within a half of the best,
    and lookups within thrice of an idle store's.
    """
    measure = partial(measured, workers, rows=25, spread=spread, way=way)
    best = min(measure(fixed=count).seconds for count in (workers, 2 * workers))
    found = measure()
    assert found.seconds <= 1.5 * best + 0.5
    assert found.p95 <= 3 * (0.08 * (1 + 2 * spread) + way)


@pytest.mark.parametrize("workers", [1, 4, 16])
@pytest.mark.parametrize("seconds", [0.15, 0.4, 1.0])
def test_a_moment_of_standstill_is_not_taken_for_a_queue(workers: int, seconds: float) -> None:
    """Whenever in the first two seconds all stands still (a backup, a cron job), a sync loses less than two seconds
    and a fifth by it.
    """
    measure = partial(measured, workers, rows=25, spread=0.02)
    usual = measure().seconds
    worst = max(measure(stalls=(tenths / 10, tenths / 10 + seconds)).seconds for tenths in range(1, 20))
    assert worst <= 1.2 * usual + 2


def hurried(seconds: float) -> tuple[Time, Store, Relay, Callers]:
    """Twenty small requests a second at a store with eight workers, whose turns are looked after."""
    time = Time()
    store = Store(time, 8, seconds=0.02, spread=0.2)
    relay = Relay(time, store, way=0.004)

    def wake() -> None:
        relay.turns.wake(time.now)
        time.later(1.0, wake)

    wake()
    return time, store, relay, Callers(time, relay, 20, seconds)


def test_a_line_that_becomes_slower_is_no_busy_store() -> None:
    """From 4 to 400 ms: for three seconds some wait for a turn, then there are enough for many more under way."""
    time, _, relay, callers = hurried(40)
    time.later(20, lambda: setattr(relay, "way", 0.4))
    time.run(until=lambda: time.now > 45)
    late = [seconds for seconds in callers.seconds if seconds > 1]
    assert len(late) <= 3 * 20
    assert max(late, default=0) < 2


def test_a_store_that_becomes_slower_for_its_own_reasons_is_given_as_much_as_it_needs() -> None:
    """Ten times as slow, with workers enough: within two seconds nobody waits for a turn any more."""
    time, store, _, callers = hurried(40)
    time.later(20, lambda: setattr(store, "seconds", 0.2))
    time.run(until=lambda: time.now > 45)
    assert max(callers.seconds) < 2
    assert len([seconds for seconds in callers.seconds if seconds > 0.6]) < 3 * 20


def test_a_store_that_refuses_what_it_cannot_queue() -> None:
    """With four workers and two places to wait: no more than a few refusals, and the work goes on."""
    time = Time()
    store = Store(time, 4, queue_most=2)
    relay = Relay(time, store)
    sync = Sync(time, relay, 4000, 20)
    time.run(until=lambda: sync.ended > 0)
    assert len(store.errors) <= 20
    assert len([moment for moment in store.errors if moment > 5]) <= 2
    assert sync.ended < 2 * 4000 / 50 * 0.08 / 4


def test_a_store_that_stands_still_is_asked_less() -> None:
    """Its answers fail: what it is given at once falls to one, and rises when it is well again."""
    time = Time()
    store = Store(time, 8)
    relay = Relay(time, store)
    alive = [True]

    def ask(light: bool) -> None:
        request = Request(page_of(50), light=light, rows=1, done=lambda *_: time.later(0.001, lambda: ask(light)))
        request.fails = lambda: not alive[0]
        relay.ask(request)

    for _ in range(20):
        ask(light=False)
    time.run(until=lambda: time.now > 5)
    well = relay.turns.limit.at
    alive[0] = False
    time.run(until=lambda: time.now > 8)
    assert well >= 6
    assert relay.turns.limit.at == 1
    alive[0] = True
    time.run(until=lambda: time.now > 30)
    assert relay.turns.limit.at >= 6


def test_lookups_are_answered_while_the_limit_comes_down() -> None:
    """There is a turn for them, however many long pages are still at the store."""
    time = Time()
    store = Store(time, 16, row_seconds=0.2)
    relay = Relay(time, store)
    relay.turns.limit.at = 12
    relay.turns.settle()
    Sync(time, relay, 2000, 12, size=10)
    relay.turns.limit.refused(relay.turns.limit.era, 0.0)
    lookups = Lookups(time, relay, 0.5)
    time.run(until=lambda: time.now > 1.4)
    assert lookups.seconds == [pytest.approx(0.282)]
