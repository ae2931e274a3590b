"""Mode on-premise for real: a relay and an agent as programs, the store behind them in the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.records import Mode
from tests.system import caller
from tests.system.caller import Answer
from tests.system.lan import fill
from tests.system.programs import AGENT, HOST, RELAY, free_ports
from tests.system.road import Agent, Entry, Road
from tests.troubles.cells import FAR, NO_WAY, NOWHERE, REFUSED, SECURE, SHOP, SILENT, Cell
from tests.troubles.premises import Met, Place, form_of, key_of, opened

LOWERED_RELAY = [sys.executable, "-m", "tests.troubles.lowered_relay"]


@dataclass(frozen=True)
class Premise:
    """A road with one agent; `port` and `secure_port` are where a test may put the store."""

    road: Road
    agent: Agent
    port: int
    secure_port: int

    @classmethod
    @contextlib.contextmanager
    def standing(cls, home: Path, *, lowered: str = "") -> Iterator[Premise]:
        """`lowered`: a bound of the relay's that is to be 1."""
        road = Road(home)
        try:
            road.start_relay(command=[*LOWERED_RELAY, lowered] if lowered else [RELAY])
            port, secure_port, refused = free_ports(3)
            with socket.socket() as deaf, contextlib.ExitStack() as stack:
                deaf.bind((HOST, 0))
                deaf.listen(0)
                fill(deaf, stack)
                stores = [
                    f"http://{SHOP}={HOST}:{port}",
                    f"https://{SECURE}={HOST}:{secure_port}",
                    f"http://{REFUSED}={HOST}:{refused}",
                    f"http://{FAR}={NO_WAY}:80",
                    f"http://{NOWHERE}=nosuch.invalid:80",
                    f"http://{SILENT}={HOST}:{deaf.getsockname()[1]}",
                ]
                yield cls(road, road.start_agent(road.new_agent("troubles"), stores), port, secure_port)
        finally:
            road.close()

    def with_agent(
        self, entry: Entry | None = None, *, state_dir: Path | None = None, command: Sequence[str] = (AGENT,)
    ) -> Premise:
        """The same with another agent, that publishes the places of stores."""
        stores = [f"http://{SHOP}={HOST}:{self.port}", f"https://{SECURE}={HOST}:{self.secure_port}"]
        entry = entry or self.road.new_agent()
        return dataclasses.replace(
            self, agent=self.road.start_agent(entry, stores, state_dir=state_dir, command=command)
        )

    def port_of(self, host: str) -> int:
        return self.secure_port if host == SECURE else self.port

    async def meet(self, cell: Cell) -> Met:
        """Try the cell's form without saving it."""
        async with opened(cell, self.port_of(cell.host)) as place:
            return await self.meet_at(cell, place)

    async def meet_at(self, cell: Cell, place: Place) -> Met:
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
