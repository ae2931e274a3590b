"""Which agents a list is to have: by name, version, and what is known of them outside the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import JSON, ColumnElement, Select, String, cast, exists, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from relay.database.tables import AgentRow, InstanceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """All that is given must hold."""

    words: str | None = None
    """A part of the name, in capitals or not."""
    version: str | None = None
    """That one of its instances runs."""
    revoked: bool | None = None
    enrolled: bool | None = None
    """Whether an instance of it has enrolled."""
    among: frozenset[str] | None = None
    """Only these ids."""
    but: frozenset[str] | None = None
    """None of these."""


EVERYTHING = Search()


def narrow(session: AsyncSession, statement: Select[AgentRow], search: Search) -> Select[AgentRow]:
    """The statement for the agents that are searched for."""
    return statement.where(*_conditions(session, search))


def _conditions(session: AsyncSession, search: Search) -> Iterator[ColumnElement[bool]]:
    instance = exists().where(InstanceRow.account == AgentRow.account, InstanceRow.agent == AgentRow.id)
    if search.words:
        yield func.lower(AgentRow.name).contains(search.words.lower(), autoescape=True)
    if search.version is not None:
        yield instance.where(InstanceRow.version == search.version, InstanceRow.revoked_at.is_(None))
    if search.revoked is not None:
        yield AgentRow.revoked_at.is_not(None) if search.revoked else AgentRow.revoked_at.is_(None)
    if search.enrolled is not None:
        yield instance if search.enrolled else ~instance
    if search.among is not None:
        yield is_one_of(session, AgentRow.id, search.among)
    if search.but:
        yield ~is_one_of(session, AgentRow.id, search.but)


def is_one_of(session: AsyncSession, column: InstrumentedAttribute[str], ids: frozenset[str]) -> ColumnElement[bool]:
    """Ten thousand ids are one parameter: no database takes so many."""
    text = literal(json.dumps(sorted(ids)), String)
    if session.get_bind().dialect.name == "sqlite":
        each = func.json_each(text).table_valued("value")
    else:
        each = func.json_array_elements_text(cast(text, JSON)).table_valued("value")
    return column.in_(select(each.c.value))
