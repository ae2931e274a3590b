"""A store, a sync and lookups in simulated time: the real limit, turns and page sizes between them, and no clock."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from relay.gateway.kinds import Kind
from relay.gateway.turns import Turns, Waiter
from relay.gateway.way import store_seconds
from relay.prestashop.page_sizes import PageSize

ASKED_SECONDS = 0.125  # until a line is asked how long it takes: half a tick


class Time:
    """What is to happen, in its order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], object]]] = []

    def later(self, seconds: float, what: Callable[[], object]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), what))

    def run(self, *, until: Callable[[], bool]) -> None:
        while self._events and not until():
            self.now, _, what = heapq.heappop(self._events)
            what()


@dataclass(slots=True)
class Request:
    kind: Kind
    light: bool
    rows: int
    done: Callable[[bool, float], object]
    """Called with whether it was answered well, and the store's seconds."""
    beside: int = 0
    era: int = 0
    kept: bool = False
    sent_at: float = 0.0
    fails: Callable[[], bool] = bool
    """Whether the store ends it without an answer."""


@dataclass(slots=True)
class Store:
    """PHP workers behind one queue. `rows_most`: memory_limit; `spread`: sigma of its times (log-normal)."""

    time: Time
    workers: int
    seconds: float = 0.08
    row_seconds: float = 0.0
    rows_most: int = 10**9
    spread: float = 0.0
    queue_most: int = 10**9
    """Requests that may wait for a worker; a further one is answered 503."""
    stalls: tuple[float, float] = (0.0, 0.0)
    """From when it stands still, and until when; what it works on then takes so much longer."""
    errors: list[float] = field(default_factory=list)
    busy: int = 0
    waiting: deque[tuple[Request, Callable[[int], object]]] = field(default_factory=deque)
    chance: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - not a secret

    def ask(self, request: Request, answer: Callable[[int], object]) -> None:
        """`answer` is called with a status."""
        if self.busy < self.workers:
            self._work(request, answer)
        elif len(self.waiting) < self.queue_most:
            self.waiting.append((request, answer))
        else:
            self.errors.append(self.time.now)
            answer(503)

    def _work(self, request: Request, answer: Callable[[int], object]) -> None:
        self.busy += 1
        seconds = (self.seconds + self.row_seconds * request.rows) * self.chance.lognormvariate(0, self.spread)
        begins, ends = self.stalls
        if self.time.now < ends and self.time.now + seconds > begins:
            seconds += ends - begins
        self.time.later(seconds, partial(self._done, request, answer))

    def _done(self, request: Request, answer: Callable[[int], object]) -> None:
        self.busy -= 1
        if self.waiting:
            self._work(*self.waiting.popleft())
        failed = request.rows > self.rows_most or request.fails()
        if failed:
            self.errors.append(self.time.now)
        answer(500 if failed else 200)


@dataclass(slots=True)
class Holder:
    active: int = 0
    ceiling: int = 64


class Line:
    """The way to the store, which is asked how long it takes when somebody wants to know."""

    lost_code = ""

    def __init__(self, time: Time, seconds: Callable[[], float]) -> None:
        self._time, self._seconds = time, seconds
        self.round_trip, self.measured_at = seconds(), 0.0
        self._asked = False

    def measure(self) -> None:
        if not self._asked:
            self._asked = True
            self._time.later(
                ASKED_SECONDS, lambda: self._time.later(self._seconds(), partial(self._told, self._seconds()))
            )

    def _told(self, seconds: float) -> None:
        self.round_trip, self.measured_at, self._asked = seconds, self._time.now, False


class Relay:
    """Passes requests on when it is their turn, as the gateway does; `way`: seconds of one round trip to the store."""

    def __init__(self, time: Time, store: Store, way: float = 0.002, fixed: int | None = None) -> None:
        self.time, self.store, self.way, self.fixed = time, store, way, fixed
        self.turns = Turns(time.now)
        self.line = Line(time, lambda: self.way)
        self.holder = Holder()
        self._fixed_active = 0
        self._fixed_queue: deque[Request] = deque()

    def ask(self, request: Request) -> None:
        if self.fixed:
            self._send_fixed(request)
            return
        cost = self.turns.limit.expected(request.kind) or (0.1 if request.light else 1.0)
        waiter = Waiter(
            request.kind, request.kind, request.light, cost, self.holder, lambda: self._send(request, waiter)
        )
        if self.turns.active < self.turns.free:
            self.turns.active += 1
        elif request.light and self.turns.take_kept():
            waiter.kept = True
        else:
            self.turns.wait(waiter)
            return
        self.holder.active += 1
        self._send(request, waiter)

    def _send(self, request: Request, waiter: Waiter) -> None:
        request.kept = waiter.kept
        request.beside, request.era = self.turns.active + self.turns.kept, self.turns.limit.era
        request.sent_at = self.time.now
        self.time.later(self.way / 2, partial(self.store.ask, request, partial(self._answered, request)))

    def _answered(self, request: Request, status: int) -> None:
        self.time.later(self.way / 2, partial(self._over, request, status))

    def _over(self, request: Request, status: int) -> None:
        turns, limit, now = self.turns, self.turns.limit, self.time.now
        beside = (request.beside, turns.active + turns.kept)
        turns.give_back(kept=request.kept)
        self.holder.active -= 1
        if status == 200:
            taken = store_seconds(self.line, now - request.sent_at, request.sent_at, limit.expected(request.kind))
            if taken is None:
                limit.unclear(request.era)
            else:
                limit.answered(request.kind, taken, beside, request.era, now)
        elif status == 503:
            limit.refused(request.era, now)
        else:
            limit.faulted(request.kind, max(beside), request.era, now)
        turns.settle()
        request.done(status == 200, now - request.sent_at)

    def _send_fixed(self, request: Request) -> None:
        """A fixed number at once, first come first served."""
        self._fixed_queue.append(request)
        self._fixed_next()

    def _fixed_next(self) -> None:
        while self._fixed_queue and self._fixed_active < (self.fixed or 0):
            request = self._fixed_queue.popleft()
            self._fixed_active += 1
            request.sent_at = self.time.now
            self.time.later(self.way / 2, partial(self.store.ask, request, partial(self._fixed_back, request)))

    def _fixed_back(self, request: Request, status: int) -> None:
        self.time.later(self.way / 2, partial(self._fixed_over, request, status))

    def _fixed_over(self, request: Request, status: int) -> None:
        self._fixed_active -= 1
        request.done(status == 200, self.time.now - request.sent_at)
        self._fixed_next()


def page_of(rows: int) -> Kind:
    return Kind(b"GET", b"products", b"full", str(rows).encode(), light=False)


LOOKUP = Kind(b"GET", b"orders", b"one", b"", light=True)


class Sync:
    """Reads all products with so many readers side by side, each a part of the ids, page by page."""

    def __init__(self, time: Time, relay: Relay, products: int, readers: int, size: int | None = None) -> None:
        self.time, self.relay, self.fixed_size = time, relay, size
        self.sizes = PageSize()
        self.read = 0
        self.products = products
        self.ended = 0.0
        for number in range(readers):
            first, last = products * number // readers, products * (number + 1) // readers
            self._next(first, last)

    def _next(self, at: int, last: int) -> None:
        if at >= last:
            if self.read >= self.products:
                self.ended = self.time.now
            return
        asked = self.fixed_size or self.sizes.ask(251, self.time.now)
        rows = min(asked, last - at)

        def got(well: bool, seconds: float) -> None:
            if well:
                self.sizes.answered(asked, rows, seconds)
            else:
                self.sizes.failed(asked, self.time.now)
            read = rows if well else 0
            self.read += read
            self._next(at + read, last)

        self.relay.ask(Request(page_of(asked), light=False, rows=rows, done=got))


class Lookups:
    """One a second, whatever became of the one before."""

    def __init__(self, time: Time, relay: Relay, offset: float = 0.0) -> None:
        self.time, self.relay = time, relay
        self.seconds: list[float] = []
        time.later(offset, self._next)

    def _next(self) -> None:
        began = self.time.now
        self.relay.ask(Request(LOOKUP, light=True, rows=1, done=lambda *_: self.seconds.append(self.time.now - began)))
        self.time.later(1.0, self._next)


class Callers:
    """Small requests at a steady rate, half of them writing, for so many seconds."""

    def __init__(self, time: Time, relay: Relay, rate: float, seconds: float) -> None:
        self.time, self.relay, self._pause, self._ends = time, relay, 1 / rate, seconds
        self.seconds: list[float] = []
        self._next(LOOKUP)

    def _next(self, kind: Kind) -> None:
        began = self.time.now
        self.relay.ask(Request(kind, light=True, rows=1, done=lambda *_: self.seconds.append(self.time.now - began)))
        if began < self._ends:
            self.time.later(self._pause, lambda: self._next(kind._replace(method=kind.method[::-1])))


def p95(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.95))]


@dataclass(frozen=True, slots=True)
class Measured:
    """Of a sync beside lookups: how long it took, when the store failed, p95 of the lookups; seconds."""

    seconds: float
    errors: list[float]
    p95: float


def measured(
    workers: int,
    *,
    rows: int,
    fixed: int | None = None,
    spread: float = 0.0,
    way: float = 0.002,
    products: int = 20_000,
    stalls: tuple[float, float] = (0.0, 0.0),
) -> Measured:
    """At a store whose memory lasts for so many rows; with `fixed` so many at once, in pages of just those rows."""
    time = Time()
    store = Store(time, workers, rows_most=rows, spread=spread, stalls=stalls)
    relay = Relay(time, store, way, fixed)
    sync = Sync(time, relay, products, max(20, workers + 8), rows if fixed else None)
    lookups = Lookups(time, relay, 0.037)
    time.run(until=lambda: sync.ended > 0)
    return Measured(sync.ended, store.errors, p95(lookups.seconds))
