"""Alarms: what is wrong and was told, and the events that tell of it to those who subscribed; in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import delete as delete_rows
from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from relay.alert_records import LEFT, About, Alarm, AlertKind, AllClear, Condition, Expected, Word
from relay.database import events
from relay.database.accounts import DEFAULT
from relay.database.alerts import KIND
from relay.database.desk import reading, writing
from relay.database.engine import Database
from relay.database.tables import AccountRow, AgentRow, AlertConditionRow, AlertRow, ConnectionRow, InstanceRow

log = structlog.get_logger()

OPEN_MOST = 100_000
"""Conditions that one node remembers: each is told once, whatever it remembers."""
NOTED_SECONDS = 65
"""Relays write down each minute who is here, and when they stop."""
ID_CHARACTERS = 20
"""A subject begins with the id of an agent or a connection, unless it is forgotten by itself."""


class Alarms:
    """A database as those who raise alarms see it. Methods raise DeskAwayError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self) -> frozenset[Condition]:
        """The conditions that somebody will have to say are over."""
        lasting = AlertConditionRow.forget_at.is_(None), AlertConditionRow.kind.in_(list(AlertKind))
        async with reading(self._database) as session:
            rows = await session.scalars(select(AlertConditionRow).where(*lasting).limit(OPEN_MOST))
            return frozenset(Condition(row.account, AlertKind(row.kind), row.subject) for row in rows)

    async def expected(self, before: int) -> list[Expected]:
        """The agents that were here when a relay last wrote that down, before that time: they should come back.

        Those that said goodbye are not among them.
        """
        seen, valid = InstanceRow.last_seen_at, (InstanceRow.revoked_at.is_(None), AgentRow.revoked_at.is_(None))
        left = AlertConditionRow.account == AgentRow.account, AlertConditionRow.subject == AgentRow.id + LEFT
        async with reading(self._database) as session:
            newest = await session.scalar(select(func.max(seen)).where(seen < before))
            rows = await session.execute(
                select(AgentRow.account, AgentRow.id, func.max(seen).label("seen_at"))
                .join(InstanceRow, InstanceRow.agent == AgentRow.id)
                .where(seen < before, seen >= (newest or 0) - NOTED_SECONDS, *valid, ~exists().where(*left))
                .group_by(AgentRow.account, AgentRow.id)
                .limit(OPEN_MOST)
            )
            return [Expected(row.account, row.id, row.seen_at) for row in rows]

    async def prune(self) -> None:
        """Forget the conditions of agents and connections that are no more."""
        row = AlertConditionRow
        subject = func.substr(row.subject, 1, ID_CHARACTERS)
        valid = select(AgentRow.id).where(AgentRow.revoked_at.is_(None))
        gone = row.forget_at.is_(None), subject.not_in(valid), subject.not_in(select(ConnectionRow.id))
        async with writing(self._database) as session:
            await session.execute(delete_rows(row).where(*gone))

    async def tell(self, words: Sequence[Word]) -> list[Word]:
        """Write down what is new in these words, in their order, and make the events that tell of it.

        What was told already, by whichever node, and what is over that never was, is left out; the rest comes back.
        Words about accounts that are gone are passed over. Raises LeaseLostError where one went in this moment.
        """
        async with writing(self._database) as session:
            now = self._database.now()
            await session.execute(delete_rows(AlertConditionRow).where(AlertConditionRow.forget_at <= now))
            telling = _Telling(session, now)
            await telling.prepare(words)
            return [word for word in words if await telling.tell(word)]


class _Telling:
    """One transaction's: the accounts, names and subscriptions that its words need."""

    def __init__(self, session: AsyncSession, now: int) -> None:
        self._session = session
        self._now = now
        self._default: str | None = None
        self._names: dict[str, str] = {}
        self._listening: dict[str, list[AlertRow]] = {}
        """By the accounts that there are."""

    async def prepare(self, words: Sequence[Word]) -> None:
        session = self._session
        self._default = await session.scalar(select(AccountRow.id).where(AccountRow.name == DEFAULT))
        wanted = {owner for word in words if (owner := self._owner(word))}
        for account in (await session.scalars(select(AccountRow.id).where(AccountRow.id.in_(wanted)))).all():
            self._listening[account] = await self._listeners(account)
        agents = {word.about.agent for word in words if word.about.agent}
        connections = {word.about.connection for word in words if word.about.connection}
        valid = AgentRow.id.in_(agents), AgentRow.revoked_at.is_(None)
        there = ConnectionRow.id.in_(connections)
        for statement in (
            select(AgentRow.id, AgentRow.name).where(*valid),
            select(ConnectionRow.id, ConnectionRow.name).where(there),
        ):
            for row in await session.execute(statement):
                self._names[row.id] = row.name

    async def tell(self, word: Word) -> bool:
        """Whether it was news. Of what was revoked or deleted there is none."""
        account, subject = self._owner(word), word.about.connection or word.about.agent
        if account is None or account not in self._listening or (subject and subject not in self._names):
            return False
        row = await self._session.get(AlertConditionRow, (account, word.condition.kind, word.condition.subject))
        if isinstance(word, Alarm):
            return await self._begun(word, account, row)
        return await self._over(word, account, row)

    async def _begun(self, alarm: Alarm, account: str, row: AlertConditionRow | None) -> bool:
        condition, forget_at = alarm.condition, alarm.forget_at
        if row is not None:
            row.forget_at = None if forget_at is None or row.forget_at is None else max(row.forget_at, forget_at)
            return False
        key = {"account": account, "kind": condition.kind.value, "subject": condition.subject}
        self._session.add(AlertConditionRow(**key, since=alarm.since, forget_at=forget_at))
        await self._session.flush()
        if not alarm.quiet:
            await self._write(account, condition.kind, alarm.about, alarm.since, self._now)
        return True

    async def _over(self, clear: AllClear, account: str, row: AlertConditionRow | None) -> bool:
        if row is None:
            return False
        await self._session.delete(row)
        await self._session.flush()
        if clear.kind is not None:
            await self._write(account, clear.kind, clear.about, row.since, clear.at)
        return True

    async def _write(self, account: str, kind: AlertKind, about: About, since: int, at: int) -> None:
        for row in self._listening[account]:
            if row.alert_kinds is not None and kind.value not in row.alert_kinds:
                continue
            data = {"alert": row.id, **self._told(about), "since": since, **about.details}
            await events.write(self._session, row, kind.value, data, at)

    def _told(self, about: About) -> Mapping[str, Any]:
        subject = about.connection or about.agent
        told = {"agent": about.agent, "connection": about.connection, "name": self._names.get(subject or "")}
        return {name: value for name, value in told.items() if value is not None}

    def _owner(self, word: Word) -> str | None:
        return word.condition.account or self._default

    async def _listeners(self, account: str) -> list[AlertRow]:
        """The account's subscriptions, but for those that are behind; what is old of theirs is forgotten."""
        session, fit = self._session, []
        theirs = AlertRow.account == account, AlertRow.kind == KIND, AlertRow.enabled.is_(True)
        for row in (await session.scalars(select(AlertRow).where(*theirs))).all():
            await events.forget(session, row.id, self._now)
            if row.url is not None and await events.is_behind(session, row.id):
                log.warning("an alert is lost: the endpoint does not take them as fast as they come", alert=row.id)
            else:
                fit.append(row)
        return fit
