"""Ways to stores as those who look after them ask for them: whose an agent is, and which connections lead where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select

from relay.database import connections
from relay.database.desk import reading
from relay.database.engine import Database
from relay.database.errors import DatabaseUnavailable
from relay.database.store_url import parse_store_url
from relay.database.tables import AgentRow, ConnectionRow
from relay.records import Mode
from relay.store_records import AgentWays, CloudWay
from relay.trigger_records import DeskAwayError

CLOUD_MOST = 10_000
"""Connections without an agent that are looked after."""


class StoreBook:
    """A database as those who look at stores see it. Methods raise DeskAwayError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def agents(self, agents: Sequence[str]) -> Mapping[str, AgentWays]:
        """Of these, 500 at most, those that there are."""
        through = select(ConnectionRow.agent, ConnectionRow.id, ConnectionRow.store_url)
        async with reading(self._database) as session:
            owners = await session.execute(select(AgentRow.id, AgentRow.account).where(AgentRow.id.in_(agents)))
            found: dict[str, tuple[str, list[tuple[str, str]]]] = {row.id: (row.account, []) for row in owners}
            ways = through.where(ConnectionRow.agent.in_(agents)).order_by(ConnectionRow.id)
            for row in await session.execute(ways):
                found[row.agent or ""][1].append((row.id, _destination(row.store_url)))
        return {agent: AgentWays(account, tuple(pairs)) for agent, (account, pairs) in found.items()}

    async def cloud(self) -> Sequence[CloudWay]:
        columns = select(ConnectionRow.account, ConnectionRow.id, ConnectionRow.store_url)
        ways = columns.where(ConnectionRow.mode == Mode.CLOUD).order_by(ConnectionRow.id).limit(CLOUD_MOST)
        async with reading(self._database) as session:
            rows = await session.execute(ways)
            return [CloudWay(row.account, row.id, _destination(row.store_url)) for row in rows]

    async def note_key(self, connection: str, *, works: bool, at: int) -> None:
        """Whether the store takes the connection's key."""
        try:
            await connections.note_key(self._database, connection, works, at)
        except DatabaseUnavailable as error:
            raise DeskAwayError(str(error)) from error


def _destination(store_url: str) -> str:
    return str(parse_store_url(store_url).destination)
