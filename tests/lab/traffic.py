"""A connector that never stops asking: so many requests a second, each with a number, each told with its fate.

    python -m tests.lab.traffic --url https://relay.test/to/con_… --ca FILE --rate 20 --label one < ACCESS_KEY

Every second request is a GET, the others POSTs that make a thing. It ends at SIGTERM, when what is under way is over,
and rests between SIGUSR1 and SIGUSR2.
Each carries `X-Lab-Number: one-17`, so that the shop's record and this one can be put side by side.
One JSON line for each request; times are unix seconds; status 0 means that no answer came, and `trouble` says why.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import ssl
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import httpx

NUMBER = "X-Lab-Number"
PATIENCE_SECONDS = 60.0
THING = "<prestashop><manufacturer><name>lab</name><active>1</active></manufacturer></prestashop>"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one request."""

    number: int
    method: str
    begin: float
    end: float
    status: int
    trouble: str
    outcome: str

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    @property
    def well(self) -> bool:
        return 200 <= self.status < 300


class Pace:
    """When the next request begins: every 1 / rate seconds, but while it rests."""

    def __init__(self, rate: float) -> None:
        self._seconds = 1 / rate
        self._going = asyncio.Event()
        self._next = 0.0
        self.go_on()

    def rest(self) -> None:
        self._going.clear()

    def go_on(self) -> None:
        self._next = asyncio.get_running_loop().time()
        self._going.set()

    async def step(self) -> None:
        self._next += self._seconds
        await asyncio.sleep(self._next - asyncio.get_running_loop().time())
        await self._going.wait()


async def keep_asking(client: httpx.AsyncClient, label: str, pace: Pace, stop: asyncio.Event) -> None:
    """Begin one request after the other, whatever became of those before."""
    number, under_way = 0, set[asyncio.Task[None]]()
    while not stop.is_set():
        task = asyncio.create_task(_ask(client, label, number, "POST" if number % 2 else "GET"))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        number += 1
        await pace.step()
    await asyncio.gather(*under_way)


async def _ask(client: httpx.AsyncClient, label: str, number: int, method: str) -> None:
    begin = time.time()
    headers, content = {NUMBER: f"{label}-{number}"}, THING if method == "POST" else None
    status, trouble, outcome = 0, "", ""
    try:
        path = "/api/manufacturers" if method == "POST" else "/api/manufacturers/1"
        answer = await client.request(method, path, headers=headers, content=content)
        status, trouble = answer.status_code, answer.headers.get("Postern-Error", "")
        outcome = answer.headers.get("Postern-Outcome", "")
    except httpx.HTTPError as error:
        trouble = type(error).__name__
    print(json.dumps(asdict(Fate(number, method, begin, time.time(), status, trouble, outcome))), flush=True)


def _each(acts: Iterable[Callable[[], object]]) -> None:
    for act in acts:
        act()


async def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--url", "--ca", "--rate", "--label"):
        parser.add_argument(name, required=True)
    given = parser.parse_args()
    stop, pace, loop = asyncio.Event(), Pace(float(given.rate)), asyncio.get_running_loop()
    for number, acts in {
        signal.SIGUSR1: (pace.rest,), signal.SIGUSR2: (pace.go_on,), signal.SIGTERM: (stop.set, pace.go_on)
    }.items():  # fmt: skip
        loop.add_signal_handler(number, _each, acts)
    options: dict[str, Any] = {
        "verify": ssl.create_default_context(cafile=given.ca),
        "auth": (sys.stdin.readline().strip(), ""),
        "timeout": PATIENCE_SECONDS,
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=0),
        "trust_env": False,
    }
    async with httpx.AsyncClient(base_url=given.url, **options) as client:
        await keep_asking(client, given.label, pace, stop)


if __name__ == "__main__":
    asyncio.run(main())
