"""Mode cloud in one process: the gateway, its direct route, and a guard that finds everything on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator
from typing import Any

from pydantic import SecretStr

from relay.api.connection_tests import ConnectionReport
from relay.database.store_url import parse_store_url
from relay.gateway.direct import DirectRoute
from relay.gateway.gateway import Gateway
from relay.gateway.routes import Routes
from relay.gateway.targets import Address, UnknownNameError
from relay.prestashop.connection_test import AgentState, ConnectionTest
from relay.prestashop.report import Report
from relay.records import Connection, KeyPlace, Mode, Trust
from relay.tunnels.registry import Registry
from tests.relay.gateway.scene import Directory
from tests.system.lan import fill
from tests.troubles.cells import FAR, NO_WAY, NOWHERE, REFUSED, SILENT, Cell
from tests.troubles.premises import Met, form_of, key_of, opened

ID = "con_aaaaaaaaaaaaaaaa"
ANSWER_SECONDS = 5.0


async def on_this_machine(host: str, _port: int) -> list[Address]:
    """A guard that lets everything through to here; only tests have it."""
    if host == NOWHERE:
        raise UnknownNameError
    return [ipaddress.ip_address(NO_WAY if host == FAR else "127.0.0.1")]


async def no_agents(_account: str, _agent: str) -> AgentState:
    return "unknown"


class Cloud:
    """A relay that has no agents."""

    def __init__(self, route: DirectRoute | None = None, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        registry = Registry()
        routes = Routes(registry, route or DirectRoute(on_this_machine))
        self.gateway = Gateway(Directory(), routes, asyncio.get_running_loop().time)
        self.test = ConnectionTest(self.gateway, routes, registry, no_agents, answer_seconds=answer_seconds)

    async def run(self, connection: Connection) -> Report:
        report = await self.test.run(connection)
        assert len(self.gateway) == 0, "an exchange of the test is still held"
        return report

    async def meet(self, cell: Cell) -> Met:
        async with opened(cell) as place, a_port(cell, place.port) as port:
            authority, key = f"{cell.host}:{port}", key_of(cell, place)
            report = await self.run(connection_of(form_of(cell, Mode.CLOUD, authority, key)))
            return Met(shaped(report), authority, key)

    def close(self) -> None:
        self.gateway.forget(ID)
        self.gateway.forget("con_trial")


def shaped(report: Report) -> dict[str, Any]:
    """As the surface gives it out."""
    return ConnectionReport.of(report).model_dump(mode="json")


def connection_of(form: dict[str, Any]) -> Connection:
    """The record that such a form makes; keys that the form would refuse included."""
    return Connection(
        id=ID,
        account="acc_one",
        name=form["name"],
        mode=Mode(form["mode"]),
        agent=form.get("agent"),
        store=parse_store_url(form["store_url"]),
        api_key=SecretStr(form["api_key"]),
        key_place=KeyPlace(form.get("key_place", "basic")),
        trust=Trust(**form.get("trust", {})),
        concurrency=form.get("concurrency", 4),
    )


@contextlib.asynccontextmanager
async def a_port(cell: Cell, port: int) -> AsyncIterator[int]:
    """Where the store is, or where there is none."""
    with socket.socket() as sock, contextlib.ExitStack() as stack:
        sock.bind(("127.0.0.1", 0))
        if cell.host == SILENT:
            sock.listen(0)
            fill(sock, stack)
        yield sock.getsockname()[1] if cell.host in {SILENT, REFUSED} else port or 80
