"""What needs somebody before it fails: tokens that end, and instances of another version than the relay's."""

from __future__ import annotations

from sqlalchemy import select

from relay.alert_records import About, AlertKind, Ending, Running
from relay.database.desk import reading
from relay.database.engine import Database
from relay.database.tables import AgentRow, AgentTokenRow, ApiTokenRow, InstanceRow

MOST = 20_000
"""Of each, at one look."""


class Upkeep:
    """Methods raise DeskAwayError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def endings(self, before: int) -> list[Ending]:
        """The valid tokens that end before that time (unix seconds), the next ones first."""
        now = self._database.now()
        api, agent = ApiTokenRow, AgentTokenRow
        of_api = select(api).where(api.revoked_at.is_(None), api.expires_at > now, api.expires_at < before)
        of_agents = (
            select(agent)
            .join(AgentRow, AgentRow.id == agent.agent)
            .where(agent.revoked_at.is_(None), AgentRow.revoked_at.is_(None))
            .where(agent.expires_at > now, agent.expires_at < before)
        )
        async with reading(self._database) as session:
            rows = await session.scalars(of_api.order_by(api.expires_at).limit(MOST))
            found = [_ending(row, About(details={"name": row.name})) for row in rows]
            rows_of_agents = await session.scalars(of_agents.order_by(agent.expires_at).limit(MOST))
            return found + [_ending(row, About(agent=row.agent)) for row in rows_of_agents]

    async def running(self, since: int, version: str) -> list[Running]:
        """The instances seen since that time that enrolled with another version than this."""
        row = InstanceRow
        wanted = row.last_seen_at >= since, row.revoked_at.is_(None), row.version != version
        async with reading(self._database) as session:
            rows = await session.scalars(select(row).where(*wanted).order_by(row.id).limit(MOST))
            return [Running(each.account, each.agent, each.id, each.version) for each in rows]


def _ending(row: ApiTokenRow | AgentTokenRow, about: About) -> Ending:
    return Ending(AlertKind.TOKEN_EXPIRING, row.account, row.id, row.expires_at or 0, about)
