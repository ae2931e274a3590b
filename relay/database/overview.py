"""What a page about many agents asks, in few statements: their instances, and how many there are of each kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from relay.database.engine import Database
from relay.database.instances import record
from relay.database.records import EVERY_ACCOUNT, Accounts, InstanceRecord
from relay.database.tables import AgentRow, ConnectionRow, InstanceRow, OwnedRow

IDS_AT_ONCE = 500
"""Ids in one statement: below every database's limit on parameters."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Agents by state, and connections."""

    online: frozenset[str]
    """Of the agents asked about, the ids of those that are seen and not revoked."""
    offline: int
    never: int
    revoked: int
    connections: int


async def instances_of(database: Database, accounts: Accounts, agents: Sequence[str]) -> tuple[InstanceRecord, ...]:
    """The instances of these agents, revoked ones included, in the order of their enrolment."""
    found: list[InstanceRow] = []
    async with database.reading() as session:
        for ids in _parts(agents):
            theirs = select(InstanceRow).where(_seen(InstanceRow, accounts), InstanceRow.agent.in_(ids))
            found.extend(await session.scalars(theirs.order_by(InstanceRow.enrolled_at, InstanceRow.id)))
    return tuple(record(row) for row in found)


async def count(database: Database, accounts: Accounts, *, tunnelled: Iterable[str]) -> Counts:
    """Count what is seen; `tunnelled` are the ids of the agents, of whatever account, that have a tunnel now."""
    enrolled = exists().where(InstanceRow.account == AgentRow.account, InstanceRow.agent == AgentRow.id)
    valid = AgentRow.revoked_at.is_(None)
    mine = _seen(AgentRow, accounts)
    online: dict[str, bool] = {}
    async with database.reading() as session:
        for ids in _parts(tunnelled):
            rows = await session.execute(select(AgentRow.id, enrolled).where(mine, valid, AgentRow.id.in_(ids)))
            online.update({agent: bool(known) for agent, known in rows})
        return Counts(
            online=frozenset(online),
            offline=await _number(session, AgentRow, mine, valid, enrolled) - sum(online.values()),
            never=await _number(session, AgentRow, mine, valid, ~enrolled) - (len(online) - sum(online.values())),
            revoked=await _number(session, AgentRow, mine, ~valid),
            connections=await _number(session, ConnectionRow, _seen(ConnectionRow, accounts)),
        )


async def _number(session: AsyncSession, row: type[OwnedRow], *conditions: ColumnElement[bool]) -> int:
    return int(await session.scalar(select(func.count(row.id)).where(*conditions)) or 0)


def _seen(row: type[OwnedRow], accounts: Accounts) -> ColumnElement[bool]:
    return true() if accounts is EVERY_ACCOUNT else row.account == accounts


def _parts(ids: Iterable[str]) -> Iterator[list[Any]]:
    rest = iter(ids)
    while part := list(islice(rest, IDS_AT_ONCE)):
        yield part
