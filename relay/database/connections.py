"""Connections: what a connector uses to reach one store, with the store's key sealed for that store alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import SecretStr
from sqlalchemy import delete as delete_rows
from sqlalchemy import select
from sqlalchemy import update as update_rows
from sqlalchemy.ext.asyncio import AsyncSession

from agent.wire.token import new_id
from relay.database import access_keys, audit, changes
from relay.database.connection_form import UNCHANGED, Checked, ConnectionForm, ConnectionPatch, checked, merged
from relay.database.engine import Database
from relay.database.errors import Invalid
from relay.database.names import check_free, find_named, find_row, is_id, within
from relay.database.paging import LIMIT, read_page
from relay.database.records import Accounts, Actor, ConnectionRecord, NewConnection, Page, any_state
from relay.database.secrets import Place
from relay.database.store_url import parse_store_url
from relay.database.tables import AccessKeyRow, AgentRow, ConnectionRow
from relay.records import Connection, KeyPlace, Mode, Trust

DRAFT = "con_draft"
"""The id of a connection that is tried without being saved."""


def draft(account: str, form: ConnectionForm) -> Connection:
    """The connection that the form describes, to be tried; saved nowhere, its agent not looked up. Raises Invalid."""
    fields = checked(form)
    return Connection(
        id=DRAFT,
        account=account,
        name=fields.name,
        mode=fields.mode,
        agent=fields.agent,
        store=fields.store,
        api_key=fields.api_key,
        key_place=fields.key_place,
        trust=fields.trust,
        concurrency=fields.concurrency,
        answer_timeout=fields.answer_timeout,
    )


async def create(database: Database, account: str, form: ConnectionForm, *, by: Actor) -> NewConnection:
    """Save a connection with its first access key; neither agent nor store need be online.

    Raises Invalid, NameTaken.
    """
    fields = checked(form)
    connection, at = new_id(ConnectionRow.prefix), database.now()
    sealed = _sealed(database, connection, account, fields)
    async with database.writing() as session:
        await check_free(session, ConnectionRow, account, fields.name)
        await _check_agent(session, account, fields.agent)
        row = ConnectionRow(id=connection, account=account, key_sealed=sealed, key_set_at=at, created_at=at)
        _fill(row, fields, at)
        session.add(row)
        await session.flush()
        key = await access_keys.add(session, account, connection, by=by, at=at)
        record = _record(row, [key.row])
        await _noted(session, by, "connection.create", record, at)
    return NewConnection(record, key.text)


async def find(database: Database, accounts: Accounts, id_or_name: str) -> ConnectionRecord:
    """By id, or by name within the account. Raises NotFound."""
    async with database.reading() as session:
        row = await find_named(session, ConnectionRow, accounts, id_or_name)
        return _record(row, await access_keys.read_valid(session, [row.id]))


async def page(
    database: Database, accounts: Accounts, *, cursor: str | None = None, limit: int = LIMIT
) -> Page[ConnectionRecord]:
    """By name."""
    statement = within(select(ConnectionRow), ConnectionRow, accounts)
    async with database.reading() as session:
        keys = [ConnectionRow.name, ConnectionRow.id]
        part = await read_page(session, statement, keys, lambda row: row, cursor=cursor, limit=limit)
        valid = await access_keys.read_valid(session, [row.id for row in part.items])
        return Page(tuple(_record(row, valid) for row in part.items), part.next)


async def load(database: Database, connection: str) -> Connection | None:
    """The connection with its decrypted key, None where there is none.

    Raises DatabaseUnavailable, UnknownMasterKey, DoesNotOpen, DatabaseUnusable.
    """
    if not is_id(connection, ConnectionRow.prefix):
        return None
    async with database.reading() as session:
        row = await session.get(ConnectionRow, connection)
        if row is None:
            return None
        valid = await access_keys.read_valid(session, [row.id])
    return _loaded(database, row, valid)


async def update(
    database: Database,
    accounts: Accounts,
    connection: str,
    patch: ConnectionPatch,
    *,
    by: Actor,
    expect: Callable[[ConnectionRecord], None] = any_state,
) -> ConnectionRecord:
    """Change what the patch names. Another store address, mode or agent needs the store's key again.

    Raises NotFound, Invalid, NameTaken.
    """
    async with database.writing() as session:
        row = await find_row(session, ConnectionRow, accounts, connection)
        valid = await access_keys.read_valid(session, [row.id])
        before, stored = _target(row), _record(row, valid)
        expect(stored)
        fields = checked(merged(patch, stored), key_optional=patch.api_key is UNCHANGED)
        if fields.name != row.name:
            await check_free(session, ConnectionRow, row.account, fields.name)
        await _check_agent(session, row.account, fields.agent)
        at = database.now()
        _fill(row, fields, at)
        if patch.api_key is not UNCHANGED:
            row.key_sealed, row.key_set_at = _sealed(database, row.id, row.account, fields), at
            row.key_checked_at = row.key_works = None
        elif _target(row) != before:
            raise Invalid(
                "api_key", "give the store's key again: it opens only for the store and agent it was given for"
            )
        await session.flush()
        record = _record(row, valid)
        changed = sorted(name for name, value in vars(patch).items() if value is not UNCHANGED)
        await _noted(session, by, "connection.update", record, at, changed=changed)
        return record


async def delete(
    database: Database,
    accounts: Accounts,
    connection: str,
    *,
    by: Actor,
    expect: Callable[[ConnectionRecord], None] = any_state,
) -> None:
    """Raises NotFound."""
    async with database.writing() as session:
        row = await find_row(session, ConnectionRow, accounts, connection)
        record = _record(row, await access_keys.read_valid(session, [row.id]))
        expect(record)
        await session.execute(delete_rows(ConnectionRow).where(ConnectionRow.id == row.id))
        await _noted(session, by, "connection.delete", record, database.now(), revoked=True)


async def note_key(database: Database, connection: str, works: bool, at: int) -> None:
    """Remember whether the store took the key when it was tried at that time.

    An unknown id is passed over, and so is what was learnt of a key that has since been replaced.
    """
    async with database.writing() as session:
        tried = ConnectionRow.id == connection, ConnectionRow.key_set_at <= at
        await session.execute(update_rows(ConnectionRow).where(*tried).values(key_checked_at=at, key_works=works))


def place(row: ConnectionRow) -> Place:
    """What a store's key is bound to: the row, and the target that it was given for."""
    return _place(row.id, row.account, row.mode, row.agent, row.store_url)


def _place(connection: str, account: str, mode: str, agent: str | None, store_url: str) -> Place:
    return Place("connections", connection, "key_sealed", (account, mode, agent or "", store_url))


def _sealed(database: Database, connection: str, account: str, fields: Checked) -> str:
    bound = _place(connection, account, fields.mode.value, fields.agent, str(fields.store))
    return database.keys.seal(fields.api_key.get_secret_value().encode(), bound)


def _target(row: ConnectionRow) -> tuple[str, str | None, str]:
    return row.mode, row.agent, row.store_url


def _fill(row: ConnectionRow, fields: Checked, at: int) -> None:
    row.name = fields.name
    row.mode = fields.mode.value
    row.agent = fields.agent
    row.store_url = str(fields.store)
    row.key_place = fields.key_place.value
    row.ca_pem = fields.trust.ca_pem
    row.pinned_spki_sha256 = fields.trust.pinned_spki_sha256
    row.concurrency = fields.concurrency
    row.answer_timeout = fields.answer_timeout
    row.updated_at = at


async def _check_agent(session: AsyncSession, account: str, agent: str | None) -> None:
    if agent is None:
        return
    mine = AgentRow.account == account, AgentRow.id == agent
    if not is_id(agent, "agt") or not await session.scalar(select(AgentRow.id).where(*mine)):
        raise Invalid("agent", f"there is no agent {agent[:80]!r}")


async def _noted(
    session: AsyncSession,
    by: Actor,
    action: str,
    record: ConnectionRecord,
    at: int,
    *,
    revoked: bool = False,
    changed: Sequence[str] = (),
) -> None:
    await changes.append(session, "connection", record.id, at=at, revoked=revoked)
    details = {"name": record.name, "mode": record.mode.value, "agent": record.agent, "store_url": record.store_url}
    if changed:
        details["changed"] = ", ".join(changed)
    await audit.note(session, by, action, record.id, at=at, account=record.account, **details)


def _record(row: ConnectionRow, valid: Sequence[AccessKeyRow]) -> ConnectionRecord:
    return ConnectionRecord(
        id=row.id,
        account=row.account,
        name=row.name,
        mode=Mode(row.mode),
        agent=row.agent,
        store_url=row.store_url,
        key_place=KeyPlace(row.key_place),
        trust=Trust(row.ca_pem, row.pinned_spki_sha256),
        concurrency=row.concurrency,
        answer_timeout=row.answer_timeout,
        key_set_at=row.key_set_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        key_checked_at=row.key_checked_at,
        key_works=row.key_works,
        access_keys=tuple(access_keys.record(key) for key in valid if key.connection == row.id),
    )


def _loaded(database: Database, row: ConnectionRow, valid: Sequence[AccessKeyRow]) -> Connection:
    api_key = database.keys.open(row.key_sealed, place(row))
    return Connection(
        id=row.id,
        account=row.account,
        name=row.name,
        mode=Mode(row.mode),
        agent=row.agent,
        store=parse_store_url(row.store_url),
        api_key=SecretStr(api_key.get_secret_value().decode()),
        key_place=KeyPlace(row.key_place),
        trust=Trust(row.ca_pem, row.pinned_spki_sha256),
        access_keys=tuple((key.id, key.digest) for key in valid),
        concurrency=row.concurrency,
        answer_timeout=row.answer_timeout,
    )
