"""Public keys with which stock OpenSSH logs in as an agent: read from `.pub` files, found by user name and digest."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from sqlalchemy import delete as delete_rows
from sqlalchemy import func, insert, select

from agent.wire.token import new_id
from relay.database import audit, changes
from relay.database.engine import Database
from relay.database.errors import Conflict, Invalid, NotFound
from relay.database.names import find_row, is_id, within
from relay.database.paging import LIMIT, read_page
from relay.database.records import Accounts, Actor, AgentKeyRecord, Page
from relay.database.tables import AgentKeyRow, AgentRow
from relay.records import AgentKey

KEYS_MOST = 16
"""Of one agent: machines that take each other's place, and one to rotate to."""
RSA_BITS = 2048
"""Shorter RSA keys are no longer considered safe (NIST SP 800-131A)."""
COMMENT_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A line of an OpenSSH `.pub` file. `line` is type and key; `digest` SHA-256 (hex) over the key's blob."""

    line: str
    digest: str
    comment: str

    @classmethod
    def read(cls, text: str) -> PublicKey:
        """Raises Invalid `public_key`, with what to do instead."""
        lines = [line for line in text.splitlines() if line.strip()]
        if "PRIVATE KEY" in text:
            raise _invalid("this is a private key, which stays on its machine: give the file that ends in .pub")
        if len(lines) != 1:
            raise _invalid("a public key is one line, as ssh-keygen writes it into the file that ends in .pub")
        _check_kind(lines[0])
        kind, blob, *comment = lines[0].split(maxsplit=2)
        shown = "".join(c for c in "".join(comment) if c.isprintable())[:COMMENT_CHARACTERS].strip()
        return cls(f"{kind} {blob}", hashlib.sha256(base64.b64decode(blob)).hexdigest(), shown)


async def add(database: Database, accounts: Accounts, agent: str, text: str, *, by: Actor) -> AgentKeyRecord:
    """Let the key of a `.pub` file's text log in as the agent.

    Raises NotFound, Invalid, Conflict `agent_revoked`, `key_known` or `too_many_keys`.
    """
    key, at = PublicKey.read(text), database.now()
    async with database.writing() as session:
        row = await find_row(session, AgentRow, accounts, agent)
        if row.revoked_at is not None:
            raise Conflict("agent_revoked", f"the agent {row.name!r} is revoked: make a new one")
        mine = AgentKeyRow.account == row.account, AgentKeyRow.agent == row.id
        if known := await session.scalar(select(AgentKeyRow.id).where(*mine, AgentKeyRow.digest == key.digest)):
            raise Conflict("key_known", f"the agent {row.name!r} has this key already, as {known}")
        if (await session.scalar(select(func.count()).select_from(AgentKeyRow).where(*mine)) or 0) >= KEYS_MOST:
            raise Conflict("too_many_keys", f"the agent {row.name!r} has {KEYS_MOST} keys: delete one first")
        record = AgentKeyRecord(
            new_id(AgentKeyRow.prefix), row.account, row.id, key.line, fingerprint(key.digest), key.comment, at
        )
        await session.execute(
            insert(AgentKeyRow).values(
                id=record.id,
                account=row.account,
                agent=row.id,
                public_key=key.line,
                digest=key.digest,
                comment=key.comment,
                created_at=at,
            )
        )
        await changes.append(session, "agent_key", record.id, at=at)
        await audit.note(session, by, "agent_key.add", record.id, at=at, account=row.account, **_details(record))
        return record


async def page(
    database: Database, accounts: Accounts, agent: str, *, cursor: str | None = None, limit: int = LIMIT
) -> Page[AgentKeyRecord]:
    """One agent's keys, oldest first. Raises NotFound."""
    async with database.reading() as session:
        row = await find_row(session, AgentRow, accounts, agent)
        statement = within(select(AgentKeyRow).where(AgentKeyRow.agent == row.id), AgentKeyRow, row.account)
        keys = [AgentKeyRow.created_at, AgentKeyRow.id]
        return await read_page(session, statement, keys, _record, cursor=cursor, limit=limit)


async def delete(database: Database, accounts: Accounts, agent: str, key: str, *, by: Actor) -> None:
    """Shut the key out and cut its tunnel. Raises NotFound."""
    async with database.writing() as session:
        row = await find_row(session, AgentKeyRow, accounts, key)
        if row.agent != agent:
            raise NotFound(AgentKeyRow.noun, key)
        record, at = _record(row), database.now()
        await session.execute(delete_rows(AgentKeyRow).where(AgentKeyRow.id == row.id))
        await changes.append(session, "agent_key", record.id, at=at, revoked=True)
        await audit.note(session, by, "agent_key.delete", record.id, at=at, account=record.account, **_details(record))


async def find(database: Database, agent: str, digest: str) -> AgentKey | None:
    """The key with which somebody may log in as the agent; None also for an agent that is revoked.

    Raises DatabaseUnavailable.
    """
    if not is_id(agent, AgentRow.prefix):
        return None
    usable = AgentRow.id == AgentKeyRow.agent, AgentRow.account == AgentKeyRow.account, AgentRow.revoked_at.is_(None)
    statement = select(AgentKeyRow.id).join(AgentRow, onclause=usable[0] & usable[1] & usable[2])
    async with database.reading() as session:
        found = await session.scalar(statement.where(AgentKeyRow.agent == agent, AgentKeyRow.digest == digest))
    return None if found is None else AgentKey(found, agent)


def fingerprint(digest: str) -> str:
    """As `ssh-keygen -l` shows it."""
    return "SHA256:" + base64.b64encode(bytes.fromhex(digest)).decode().rstrip("=")


def _check_kind(line: str) -> None:
    try:
        key = load_ssh_public_key(line.strip().encode())
    except (ValueError, UnsupportedAlgorithm):
        raise _invalid("this is not a public key: give the file that ends in .pub, as ssh-keygen writes it") from None
    if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS:
        raise _invalid(f"an RSA key needs at least {RSA_BITS} bits; better make one with ssh-keygen -t ed25519")
    if not isinstance(key, Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey):
        raise _invalid("keys of this type are not taken: make one with ssh-keygen -t ed25519")


def _invalid(message: str) -> Invalid:
    return Invalid("public_key", message)


def _details(record: AgentKeyRecord) -> dict[str, str]:
    return {"agent": record.agent, "fingerprint": record.fingerprint, "comment": record.comment}


def _record(row: AgentKeyRow) -> AgentKeyRecord:
    return AgentKeyRecord(
        row.id, row.account, row.agent, row.public_key, fingerprint(row.digest), row.comment, row.created_at
    )
