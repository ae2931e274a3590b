"""How much memory the two sides of a road take: idle, under load, afterwards, and in the course of a soak."""

import contextlib
import threading
import time
from collections.abc import Iterator

from tests.bench import load, usage
from tests.bench.load import MIB, Figures
from tests.bench.nginx import Store
from tests.bench.roads import Road

SETTLE_S = 2.0  # from the first answer, or from the end of load, to what is called idle
LOOK_S = 0.2  # between two looks under load
SOAK_PART_S = 10.0  # of each kind of load, in turn
SOAK_WARM = 0.1  # of a soak: what grows before that is warming up

Sides = dict[str, float]  # "server RSS MiB", … → MiB


def idle_and_loaded(road: Road, store: Store, seconds: float) -> Figures:
    """RSS and PSS of each side, its processes together: before load, the most under load, and after it."""
    time.sleep(SETTLE_S)
    idle = _sides(road)
    with _watching(road) as seen:
        load.small(road, store, seconds, clients=64, fresh=False)
        load.small(road, store, seconds, clients=16, fresh=True)
        load.bulk(road, store, seconds / 2, kind="download")
        load.bulk(road, store, seconds / 2, kind="upload")
    loaded = {name: max(sides[name] for sides in seen) for name in idle}
    time.sleep(SETTLE_S)
    moments = {"idle": idle, "loaded": loaded, "afterwards": _sides(road)}
    return {f"{name} {moment}": sides[name] for name in idle for moment, sides in moments.items()}


def soak(road: Road, store: Store, seconds: float) -> Figures:
    """RSS of each side early in a long load and at its end, and what the difference makes in an hour."""
    started, requests = time.monotonic(), 0.0
    early: tuple[float, Sides] | None = None
    while (passed := time.monotonic() - started) < seconds:
        if early is None and passed > SOAK_WARM * seconds:
            early = passed, _settled(road)
        requests += load.small(road, store, SOAK_PART_S, clients=16, fresh=False)["requests/s"] * SOAK_PART_S
        requests += load.small(road, store, SOAK_PART_S, clients=16, fresh=True)["requests/s"] * SOAK_PART_S
        load.bulk(road, store, SOAK_PART_S / 5, kind="download")
        load.bulk(road, store, SOAK_PART_S / 5, kind="upload")
    at, first = early or (0.0, _settled(road))
    hours, last = (time.monotonic() - started - at) / 3600, _settled(road)
    growth = {f"{name} growth per hour": (last[name] - first[name]) / hours for name in first}
    return {
        "million requests": requests / 1e6,
        **{f"{name} early": value for name, value in first.items()},
        **{f"{name} at the end": value for name, value in last.items()},
        **growth,
    }


def _settled(road: Road) -> Sides:
    time.sleep(SETTLE_S)
    return _sides(road)


@contextlib.contextmanager
def _watching(road: Road) -> Iterator[list[Sides]]:
    """What both sides took, looked at again and again while the block runs."""
    seen, over = [_sides(road)], threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_S):
            seen.append(_sides(road))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def _sides(road: Road) -> Sides:
    server, agent = usage.memory(road.server_pids()), usage.memory(road.agent_pids())
    return {
        "server RSS MiB": server.rss / MIB,
        "server PSS MiB": server.pss / MIB,
        "agent RSS MiB": agent.rss / MIB,
        "agent PSS MiB": agent.pss / MIB,
    }
