"""Mode on-premise for real: a relay and an agent as programs, the store behind them in the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.records import Mode
from tests.system import caller
from tests.system.caller import Answer
from tests.system.programs import HOST, free_ports
from tests.system.road import Agent, Road
from tests.troubles.cells import NOWHERE, REFUSED, SECURE, SHOP, SILENT, Cell
from tests.troubles.cloud import fill
from tests.troubles.premises import Met, form_of, key_of, opened

SECONDS = 65.0
"""A little more than the longest test."""


@dataclass(frozen=True)
class Premise:
    """A road with one agent; `port` and `secure_port` are where a test may put the store."""

    road: Road
    agent: Agent
    port: int
    secure_port: int

    @classmethod
    @contextlib.contextmanager
    def standing(cls, home: Path) -> Iterator[Premise]:
        road = Road(home)
        try:
            road.start_relay()
            port, secure_port, refused = free_ports(3)
            with socket.socket() as deaf, contextlib.ExitStack() as stack:
                deaf.bind((HOST, 0))
                deaf.listen(0)
                fill(deaf, stack)
                stores = [
                    f"http://{SHOP}={HOST}:{port}",
                    f"https://{SECURE}={HOST}:{secure_port}",
                    f"http://{REFUSED}={HOST}:{refused}",
                    f"http://{NOWHERE}=nosuch.invalid:80",
                    f"http://{SILENT}={HOST}:{deaf.getsockname()[1]}",
                ]
                yield cls(road, road.start_agent(road.new_agent("troubles"), stores), port, secure_port)
        finally:
            road.close()

    async def meet(self, cell: Cell) -> Met:
        """Try the cell's form without saving it."""
        async with opened(cell, self.secure_port if cell.host == SECURE else self.port) as place:
            key = key_of(cell, place)
            form = form_of(cell, Mode.ON_PREMISE, cell.host, key) | {"agent": self.agent.entry.id}
            answer = await self.ask("/v1/connections/test", form)
            assert answer.status == 200, answer
            return Met(answer.json, f"{cell.host}:80", key)

    async def ask(
        self, path: str, form: Mapping[str, Any] | None = None, method: str = "POST", token: str = ""
    ) -> Answer:
        """A call of the relay's surface, while this process serves the store."""
        return await asyncio.to_thread(
            caller.ask_json, self.road.http_port, method, path, token or self.road.operator, form
        )
