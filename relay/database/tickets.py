"""Tunnel tickets: what an instance shows to open a WebSocket. Made with each certificate, kept as SHA-256."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Self

from pydantic import SecretStr
from sqlalchemy import or_, select

from agent.wire.limits import CERTIFICATE_SECONDS
from relay.database.credentials import digest
from relay.database.engine import Database
from relay.database.tables import AgentRow, AgentTokenRow, InstanceRow
from relay.records import Ticket

TICKET_BYTES = 32


@dataclass(frozen=True, slots=True)
class NewTicket:
    """A ticket on its way to its instance; `expires_at` is unix seconds."""

    text: SecretStr
    sha256: str = field(repr=False)
    expires_at: int

    @classmethod
    def make(cls, now: int) -> Self:
        """43 characters of base64url, good for the life of a certificate made at the same time."""
        text = secrets.token_urlsafe(TICKET_BYTES)
        return cls(SecretStr(text), digest(text), now + CERTIFICATE_SECONDS)


def replace(row: InstanceRow, ticket: NewTicket) -> None:
    """Give the instance a newer ticket; the one before stays good until it expires, since a tunnel may be using it."""
    row.former_ticket_sha256, row.former_ticket_expires_at = row.ticket_sha256, row.ticket_expires_at
    row.ticket_sha256, row.ticket_expires_at = ticket.sha256, ticket.expires_at


def lend(row: InstanceRow, ticket: NewTicket) -> None:
    """Give a visitor with the instance's key a ticket; the newest, which the running agent has, stays."""
    row.former_ticket_sha256, row.former_ticket_expires_at = ticket.sha256, ticket.expires_at


async def find(database: Database, sha256: str) -> Ticket | None:
    """Whose ticket that is; None: nobody's, or of somebody who was revoked. Not asked: whether it has expired."""
    newest, former = InstanceRow.ticket_sha256, InstanceRow.former_ticket_sha256
    statement = (
        select(InstanceRow)
        .join(AgentRow, AgentRow.id == InstanceRow.agent)
        .join(AgentTokenRow, AgentTokenRow.id == InstanceRow.token)
        .where(or_(newest == sha256, former == sha256))
        .where(InstanceRow.revoked_at.is_(None), AgentRow.revoked_at.is_(None), AgentTokenRow.revoked_at.is_(None))
    )
    async with database.reading() as session:
        row = await session.scalar(statement)
    if row is None:
        return None
    expires_at = row.ticket_expires_at if row.ticket_sha256 == sha256 else row.former_ticket_expires_at
    return Ticket(row.agent, row.id, row.token, expires_at or 0)
