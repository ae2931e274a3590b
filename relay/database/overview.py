"""What a page about many agents asks, in few statements: their instances, and how many there are of each kind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from relay.database.agent_search import is_one_of
from relay.database.engine import Database
from relay.database.instances import record
from relay.database.records import EVERY_ACCOUNT, Accounts, InstanceRecord
from relay.database.tables import AgentRow, AgentTokenRow, ApiTokenRow, ConnectionRow, InstanceRow, OwnedRow

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


async def accounts_of(database: Database, ids: Collection[str]) -> dict[str, str]:
    """Whose agents, their instances and tokens, connections and API tokens are, by id; unknown ones are left out."""
    found: dict[str, str] = {}
    async with database.reading() as session:
        for row in (AgentRow, ConnectionRow, InstanceRow, AgentTokenRow, ApiTokenRow):
            for part in _parts(id_ for id_ in ids if id_.startswith(f"{row.prefix}_")):
                rows = await session.execute(select(row.id, row.account).where(row.id.in_(part)))
                found.update((each, account) for each, account in rows)
    return found


async def versions(database: Database, accounts: Accounts) -> dict[str, int]:
    """How many instances that are not revoked run which version, as they said when they enrolled last."""
    mine = _seen(InstanceRow, accounts), InstanceRow.revoked_at.is_(None)
    statement = select(InstanceRow.version, func.count(InstanceRow.id)).where(*mine).group_by(InstanceRow.version)
    async with database.reading() as session:
        return {version: number for version, number in await session.execute(statement)}  # noqa: C416 - rows are no pairs to mypy


async def count(database: Database, accounts: Accounts, *, tunnelled: Iterable[str]) -> Counts:
    """Count what is seen; `tunnelled` are the ids of the agents, of whatever account, that have a tunnel now."""
    enrolled = exists().where(InstanceRow.account == AgentRow.account, InstanceRow.agent == AgentRow.id)
    valid = AgentRow.revoked_at.is_(None)
    async with database.reading() as session:
        mine = _seen(AgentRow, accounts)
        here = select(AgentRow.id, enrolled).where(mine, valid, is_one_of(session, AgentRow.id, frozenset(tunnelled)))
        online = {agent: bool(known) for agent, known in await session.execute(here)}
        kinds = select(valid, enrolled, func.count()).where(mine).group_by(valid, enrolled)
        numbers = {(bool(kept), bool(known)): int(many) for kept, known, many in await session.execute(kinds)}
        known = sum(online.values())
        return Counts(
            online=frozenset(online),
            offline=numbers.get((True, True), 0) - known,
            never=numbers.get((True, False), 0) - (len(online) - known),
            revoked=numbers.get((False, True), 0) + numbers.get((False, False), 0),
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
