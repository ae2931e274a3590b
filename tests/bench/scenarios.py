"""What is measured, on whom and for how long, and the bars that the project aims at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from tests.bench import load, memory, tunnels
from tests.bench.load import Figures
from tests.bench.nginx import Store
from tests.bench.roads import Road

DELAY_MS = 25.0  # each way, between the two sides of every contender
OURS, P, N, ALONE = "ours", "P", "N", "store alone"
IN_TURN = (OURS, P, N)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load, put on the contenders in turn.

    `seconds` is the length of one round's load; `own_road` asks for newly started programs in each round, `once` for
    a single round whatever the others have.
    """

    name: str
    title: str
    measure: Callable[[Road, Store, float], Figures]
    seconds: float
    delay_ms: float = 0
    contenders: tuple[str, ...] = IN_TURN
    own_road: bool = False
    once: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """What the project aims at. Against a peer the figure is divided by the peer's own."""

    scenario: str
    figure: str
    sense: Literal["≥", "≤"]
    limit: float
    against: str | None = None

    def met(self, value: float) -> bool:
        return value >= self.limit if self.sense == "≥" else value <= self.limit


BARS = (
    Bar("keep-16", "requests/s", "≥", 0.45, P),
    Bar("keep-16", "requests/s", "≥", 4.0, N),
    Bar("keep-64", "requests/s", "≥", 0.4, P),
    Bar("new-16", "requests/s", "≥", 0.35, P),
    Bar("keep-16", "p99 ms", "≤", 4.0),
    Bar("keep-16", "CPU µs/request", "≤", 120.0),
    Bar("download", "MiB/s", "≥", 0.8, P),
    Bar("upload", "MiB/s", "≥", 0.8, P),
    Bar("beside", "p99 beside / alone", "≤", 3.0),
    Bar("far-fresh-16", "p50 ms", "≤", 55.0),
    Bar("far-download", "MiB/s", "≥", 1.0, P),
    Bar("memory", "agent RSS MiB loaded", "≤", 80.0),
    Bar("tunnels", "kB per idle tunnel", "≤", 30.0),
)


def scenarios(soak_minutes: float) -> list[Scenario]:
    """All of them, in the order in which they are measured; without the soak if that has no minutes."""
    found = [*_on(0, "", ""), *_on(DELAY_MS, "far-", f", {DELAY_MS:.0f} ms each way")]
    found += [
        Scenario("memory", "memory idle, loaded, and idle again", memory.idle_and_loaded, 4, own_road=True),
        Scenario("tunnels", "2,000 idle tunnels", tunnels.idle, 5, contenders=(OURS,), own_road=True),
    ]
    if soak_minutes:
        soak = partial(Scenario, "soak", f"memory in {soak_minutes:g} minutes of load", memory.soak)
        found.append(soak(soak_minutes * 60, contenders=(OURS,), own_road=True, once=True))
    return found


def _on(delay_ms: float, prefix: str, line: str) -> Iterator[Scenario]:
    """What is measured on loopback and on a long line alike."""
    bulk_s = 5 if delay_ms else 2  # a 64 MiB body takes seconds on a long line
    for how, fresh in ("keep-alive", False), ("a new connection per request", True):
        for clients in 1, 16, 64:
            name, title = f"{prefix}{'new' if fresh else 'keep'}-{clients}", f"2 KB answers, clients: {clients}, {how}"
            measure = partial(load.small, clients=clients, fresh=fresh)
            yield Scenario(name, title + line, measure, 3, delay_ms, _with_store_alone(delay_ms))
    for clients in (1, 16) if delay_ms else ():  # without a delay the bench's own client would be the limit
        title = f"2 KB answers, clients: {clients}, a new connection per request, connecting included"
        yield Scenario(f"{prefix}fresh-{clients}", title + line, partial(load.fresh, clients=clients), 4, delay_ms)
    for kind in "download", "upload":
        measure = partial(load.bulk, kind=kind)
        yield Scenario(prefix + kind, f"64 MiB {kind}{line}", measure, bulk_s, delay_ms, _with_store_alone(delay_ms))
    title = f"2 KB answers, 8 clients with 10 ms pause, beside 64 MiB downloads{line}"
    yield Scenario(f"{prefix}beside", title, load.beside, 4, delay_ms, _with_store_alone(delay_ms))


def _with_store_alone(delay_ms: float) -> tuple[str, ...]:
    """On loopback the store without a tunnel is looked at too: neither it nor the load generator may be the limit."""
    return IN_TURN if delay_ms else (*IN_TURN, ALONE)
