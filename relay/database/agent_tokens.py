"""Access tokens of agents: shown once, kept as public keys, at most two valid at once."""

from __future__ import annotations

from pydantic import SecretStr
from sqlalchemy import Select, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from agent.wire.token import AccessToken
from relay.database import audit, authorities, changes
from relay.database.engine import Database
from relay.database.errors import Conflict, NotFound
from relay.database.names import checked_expiry, find_row, within
from relay.database.paging import LIMIT, read_page
from relay.database.records import Accounts, Actor, AgentTokenRecord, NewAgentToken, Page
from relay.database.tables import AgentRow, AgentTokenRow

VALID_MOST = 2
"""One in use and one to rotate to."""


async def create(
    database: Database, accounts: Accounts, agent: str, *, by: Actor, expires_at: int | None = None
) -> NewAgentToken:
    """Raises NotFound, Invalid `expires_at`, Conflict `two_tokens_valid` or `agent_revoked`."""
    at = database.now()
    checked_expiry(expires_at, at)
    async with database.writing() as session:
        row = await find_row(session, AgentRow, accounts, agent)
        if row.revoked_at is not None:
            raise Conflict("agent_revoked", f"the agent {row.name!r} is revoked: make a new one")
        valid = (await session.scalars(_valid(row, at))).all()
        if len(valid) >= VALID_MOST:
            raise Conflict("two_tokens_valid", f"two tokens are valid already ({', '.join(valid)}): revoke one first")
        return await add(session, row.account, row.id, by=by, at=at, expires_at=expires_at)


async def add(
    session: AsyncSession, account: str, agent: str, *, by: Actor, at: int, expires_at: int | None
) -> NewAgentToken:
    """Make a token in a transaction that is open. Raises DatabaseUnusable before `init`."""
    secret = AccessToken.generate(await authorities.read_fingerprint(session))
    record = AgentTokenRecord(secret.id, account, agent, at, expires_at)
    await session.execute(
        insert(AgentTokenRow).values(
            id=record.id,
            account=account,
            agent=agent,
            public_key=secret.public_key.hex(),
            created_at=at,
            expires_at=expires_at,
            revoked_at=None,
        )
    )
    await _noted(session, by, "agent_token.create", record, at)
    return NewAgentToken(record, SecretStr(secret.reveal()))


async def page(
    database: Database, accounts: Accounts, agent: str, *, cursor: str | None = None, limit: int = LIMIT
) -> Page[AgentTokenRecord]:
    """One agent's tokens, revoked ones included, oldest first. Raises NotFound."""
    async with database.reading() as session:
        row = await find_row(session, AgentRow, accounts, agent)
        statement = within(select(AgentTokenRow).where(AgentTokenRow.agent == row.id), AgentTokenRow, row.account)
        keys = [AgentTokenRow.created_at, AgentTokenRow.id]
        return await read_page(session, statement, keys, _record, cursor=cursor, limit=limit)


async def revoke(database: Database, accounts: Accounts, agent: str, token: str, *, by: Actor) -> AgentTokenRecord:
    """End the token and cut the tunnels of the instances that showed it last. Raises NotFound."""
    async with database.writing() as session:
        row = await find_row(session, AgentTokenRow, accounts, token)
        if row.agent != agent:
            raise NotFound(AgentTokenRow.noun, token)
        at = database.now()
        row.revoked_at = row.revoked_at or at
        record = _record(row)
        await _noted(session, by, "agent_token.revoke", record, at, revoked=True)
        return record


def _valid(agent: AgentRow, at: int) -> Select[str]:
    unexpired = or_(AgentTokenRow.expires_at.is_(None), AgentTokenRow.expires_at > at)
    mine = AgentTokenRow.account == agent.account, AgentTokenRow.agent == agent.id
    return select(AgentTokenRow.id).where(*mine, AgentTokenRow.revoked_at.is_(None), unexpired)


async def _noted(
    session: AsyncSession, by: Actor, action: str, record: AgentTokenRecord, at: int, *, revoked: bool = False
) -> None:
    await changes.append(session, "agent_token", record.id, at=at, revoked=revoked)
    details = {"agent": record.agent, "expires_at": record.expires_at}
    await audit.note(session, by, action, record.id, at=at, account=record.account, **details)


def _record(row: AgentTokenRow) -> AgentTokenRecord:
    return AgentTokenRecord(row.id, row.account, row.agent, row.created_at, row.expires_at, row.revoked_at)
