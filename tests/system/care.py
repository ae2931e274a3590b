"""A sync and lookups through a relay at stores with few and with many PHP workers, and what they come to.

`python -m tests.system.care` measures all of it at full size and writes `tests/bench/CARE.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from pydantic import SecretStr

from agent.wire.destination import Destination
from relay.gateway.call import Answer
from relay.prestashop.page_sizes import PageSize, PageSizes
from relay.prestashop.paging import Reader
from relay.prestashop.query import Query
from relay.prestashop.shop import Shop
from relay.records import Connection as Record
from relay.records import Mode, StoreUrl
from tests.bench import usage
from tests.bench.rounds import CORES
from tests.system.caller import basic
from tests.system.lan import DOMAIN
from tests.system.programs import HOST
from tests.system.road import Connection, Road
from tests.system.road import Shop as Store

SERVICE_SECONDS = 0.08
PRODUCTS = 20_000
READERS = 20  # of the sync, side by side, each with its part of the ids
QUERY = Query("products", "[id,reference,categories[id]]")
CELLS = 3  # of one row: what the store's memory is counted in
LOOKUP = "/api/orders/1"
LOOKUP_PAUSE = 1.0
IDLE_LOOKUPS = 30
LEAST_SECONDS = 40.0  # a quick sync is repeated for so long, so that there are lookups beside it
SETTLED_SECONDS = 5.0
ANSWER_SECONDS = 60.0
SYNC_BAR, LOOKUP_BAR = 1.25, 2.0
RESULTS = Path(__file__).parents[1] / "bench" / "CARE.md"


@dataclass(frozen=True, slots=True)
class Way:
    """How a store is reached: through the relay, or directly in the name of its domain."""

    port: int
    prefix: str
    fields: tuple[tuple[str, str], ...]

    @classmethod
    def through(cls, connection: Connection) -> Way:
        fields = (("Host", "relay"), basic(connection.access_key))
        return cls(connection.relay_port, f"/to/{connection.id}", fields)

    @classmethod
    def direct(cls, store: Store) -> Way:
        return cls(store.port, "", (("Host", DOMAIN), basic(store.key)))


class Line:
    """One connection, kept as long as the other side allows."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> Answer:
        """A whole answer; the line is opened again where it was closed."""
        began = time.monotonic()
        async with asyncio.timeout(ANSWER_SECONDS):
            try:
                status, body = await self._ask(path)
            except (ConnectionError, asyncio.IncompleteReadError):
                self.close()
                status, body = await self._ask(path)
        seconds = time.monotonic() - began
        return Answer(status, "", (), body, seconds, SERVICE_SECONDS)

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None

    async def _ask(self, path: str) -> tuple[int, bytes]:
        if not self._streams:
            self._streams = await asyncio.open_connection(HOST, self._way.port)
        reader, writer = self._streams
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._way.fields)
        writer.write(f"GET {self._way.prefix}{path} HTTP/1.1\r\n{lines}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        body = await _body(reader, head)
        if "connection: close" in head:
            self.close()
        return int(head.split(" ", 2)[1]), body


async def _body(reader: asyncio.StreamReader, head: str) -> bytes:
    if "content-length: " in head:
        return await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n", maxsplit=1)[0]))
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


class Remote(Shop):
    """The relay's own way to read a list, from outside the relay."""

    def __init__(self, line: Line, sizes: PageSizes) -> None:
        record = Record("con_care", "acc_care", "care", Mode.ON_PREMISE, None,
                        StoreUrl("http", Destination(DOMAIN, 80)), SecretStr("K" * 32))  # fmt: skip
        super().__init__(cast("Any", None), record, sizes=sizes)
        self._line = line

    async def _send(self, method: str, path: str, body: bytes = b"", **_: Any) -> Answer:
        del method, body
        return await self._line.get(path)


class Fixed(PageSizes):
    """A page size that stays what it is."""

    def __init__(self, rows: int) -> None:
        super().__init__(time.monotonic)
        self._rows = rows

    def of(self, *_: object) -> PageSize:
        return _FixedSize(self._rows)


class _FixedSize(PageSize):
    def ask(self, wanted: int, _now: float) -> int:
        return min(wanted, self._first)


async def sync(way: Way, sizes: PageSizes, readers: int, products: int) -> float:
    """Read all products once; the seconds that it took. AssertionError if any is missing."""
    bounds = [products * number // readers for number in range(readers + 1)]

    async def read(first: int, last: int) -> int:
        line = Line(way)
        with contextlib.closing(line):
            page = await Reader(QUERY).page(Remote(line, sizes), first, last - first - 1)
        return len({row.id for row in page.rows}) + page.more  # a row more than is told is read

    began = time.monotonic()
    read_each = await asyncio.gather(*map(read, bounds, bounds[1:]))
    assert sum(read_each) == products
    return time.monotonic() - began


@contextlib.asynccontextmanager
async def lookups(way: Way) -> AsyncIterator[list[float]]:
    """One a second while the block runs; how long each took."""
    taken: list[float] = []
    tasks: list[asyncio.Task[None]] = []

    async def look(line: Line) -> None:
        with contextlib.closing(line):
            answer = await line.get(LOOKUP)
        assert answer.status == 200, answer
        taken.append(answer.seconds)

    async def begin() -> None:
        while True:
            tasks.append(asyncio.create_task(look(Line(way))))
            await asyncio.sleep(LOOKUP_PAUSE)

    beginning = asyncio.create_task(begin())
    try:
        yield taken
    finally:
        beginning.cancel()
        await asyncio.gather(*tasks)


def p95(taken: Sequence[float]) -> float:
    return sorted(taken)[min(len(taken) - 1, int(len(taken) * 0.95))]


@dataclass(slots=True)
class Measured:
    """Of one store. Seconds throughout."""

    workers: int
    rows: int
    products: int
    fixed: dict[int, float] = field(default_factory=dict)
    """Of a sync with so many requests at once and the largest pages that the store bears, without a relay."""
    adaptive: float = 0.0
    errors: int = 0
    late_errors: int = 0
    idle: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)

    @property
    def sync_ratio(self) -> float:
        return self.adaptive / min(self.fixed.values())

    @property
    def lookup_ratio(self) -> float:
        return p95(self.beside) / p95(self.idle)

    def __str__(self) -> str:
        best = min(self.fixed, key=lambda count: self.fixed[count])
        return (
            f"| {self.workers} | {self.rows} | {self.products:,} | {self.fixed[best]:.2f} (at {best}) | "
            f"{self.adaptive:.2f} | {self.sync_ratio:.2f} | {self.errors} | {self.late_errors} | "
            f"{p95(self.idle) * 1000:.0f} | {p95(self.beside) * 1000:.0f} ({len(self.beside)}) | "
            f"{self.lookup_ratio:.2f} |"
        )


async def measure(
    road: Road,
    workers: int,
    *,
    rows: int,
    products: int = PRODUCTS,
    idle_lookups: int = IDLE_LOOKUPS,
    least_seconds: float = LEAST_SECONDS,
) -> Measured:
    """At a new store behind a new agent, compared with as many requests at once as it has workers, and twice that."""
    measured = Measured(workers, rows, products)
    knobs: dict[str, Any] = {"latency": SERVICE_SECONDS, "workers": workers, "keepalive_max": 0}
    knobs["fatal_cells"] = rows * CELLS
    catalogue = ("--catalogue", f"large:{products}")
    store = await asyncio.to_thread(road.start_shop, *catalogue, "--domain", DOMAIN, **knobs)
    entry = await asyncio.to_thread(road.new_agent)
    agent = await asyncio.to_thread(road.start_agent, entry, [f"http://{DOMAIN}={HOST}:{store.port}"])
    connection = await asyncio.to_thread(road.connect, entry.id, f"http://{DOMAIN}", store.key)
    for count in (workers, 2 * workers):
        async with lookups(Way.direct(store)):
            measured.fixed[count] = await sync(Way.direct(store), Fixed(rows), count, products)
    async with lookups(Way.through(connection)) as measured.idle:
        await asyncio.sleep(idle_lookups * LOOKUP_PAUSE)
    await _measure_adaptive(measured, Way.through(connection), store, least_seconds)
    agent.program.stop()
    store.program.stop()
    return measured


async def _measure_adaptive(measured: Measured, way: Way, store: Store, least_seconds: float) -> None:
    began, sizes = time.time(), PageSizes(time.monotonic)
    async with lookups(way) as measured.beside:
        measured.adaptive = await sync(way, sizes, READERS, measured.products)
        while time.time() - began < least_seconds:
            await sync(way, sizes, READERS, measured.products)
    seen = [each for each in await asyncio.to_thread(store.requests) if each["status"] >= 429]
    measured.errors = sum(each["time"] >= began for each in seen)
    measured.late_errors = sum(each["time"] >= began + SETTLED_SECONDS for each in seen)


HEAD = f"""# What the care for stores measured

`python -m tests.system.care`: a relay, an agent and a stand-in store as processes of their own. Each request takes the
store {SERVICE_SECONDS * 1000:.0f} ms of one of its PHP workers; a page of more rows than its memory allows ends in an
empty 500. A sync reads all products with {READERS} readers side by side, whose pages find their size as the relay's own
do (a quick one is repeated for {LEAST_SECONDS:.0f} s; the first is told); a lookup is one order, once a second. *fixed*:
the same sync without a relay, with so many requests at once and the largest pages that the store bears, whichever number
was best. Late errors are those after the first {SETTLED_SECONDS:.0f} s. Bars: sync at most {SYNC_BAR} of fixed, p95 of
lookups at most {LOOKUP_BAR:g} of idle, no late errors.

| PHP workers | rows of memory | products | fixed, s | adaptive, s | ratio | errors | late | idle p95, ms | beside p95, ms | ratio |
|---|---|---|---|---|---|---|---|---|---|---|
"""  # noqa: E501 - the head of a table


async def _all() -> list[str]:
    lines = []
    with TemporaryDirectory(prefix="postern-care-") as home:
        road = Road(Path(home))
        try:
            await asyncio.to_thread(road.start_relay)
            for rows in (25, 40):
                for workers in (1, 4, 16):
                    lines.append(str(await measure(road, workers, rows=rows)))
                    print(lines[-1], flush=True)
        finally:
            await asyncio.to_thread(road.close)
    return lines


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    began, others = time.monotonic(), usage.others_s()
    table = "\n".join(asyncio.run(_all()))
    share = (usage.others_s() - others) / (time.monotonic() - began) / CORES
    RESULTS.write_text(f"{HEAD}{table}\n\nOther programs used {share:.0%} of the machine meanwhile.\n")
