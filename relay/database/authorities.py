"""The relay's own key pairs, sealed at rest: three authorities (users, hosts, nodes) and the SSH host key."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import SecretBytes
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from agent.wire.enrolment import ca_fingerprint
from agent.wire.token import new_id
from relay.database import audit, changes
from relay.database.engine import Database
from relay.database.errors import DatabaseUnusable
from relay.database.records import Actor
from relay.database.secrets import KeyFile, Place
from relay.database.tables import AuthorityRow


class Kind(StrEnum):
    USER_CA = "user_ca"
    """Signs the certificates of instances."""
    HOST_CA = "host_ca"
    """Signs host keys; access tokens carry its fingerprint."""
    NODE_CA = "node_ca"
    """Signs the certificates by which nodes know each other."""
    SSH_HOST_KEY = "ssh_host_key"


@dataclass(frozen=True, slots=True)
class Authority:
    """`public_key` is an OpenSSH line (`ssh-ed25519 …`), `private_key` an OpenSSH key file without passphrase."""

    id: str
    public_key: str
    private_key: SecretBytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authorities:
    user_ca: Authority
    host_ca: Authority
    node_ca: Authority
    ssh_host_key: Authority


async def load(database: Database) -> Authorities:
    """The key pairs in use, decrypted.

    Raises DatabaseUnusable before `init` or without the key file, UnknownMasterKey, DoesNotOpen.
    """
    async with database.reading() as session:
        rows = {kind: await _newest(session, kind) for kind in Kind}
    return Authorities(**{kind.value: _opened(row, database.keys) for kind, row in rows.items()})


async def host_ca_fingerprint(database: Database) -> bytes:
    """The 128 bits that access tokens carry; needs no master key. Raises DatabaseUnusable before `init`."""
    async with database.reading() as session:
        return await read_fingerprint(session)


async def host_ca(database: Database) -> str:
    """Its public key as an OpenSSH line; needs no master key. Raises DatabaseUnusable before `init`."""
    async with database.reading() as session:
        return (await _newest(session, Kind.HOST_CA)).public_key


async def read_fingerprint(session: AsyncSession) -> bytes:
    return ca_fingerprint((await _newest(session, Kind.HOST_CA)).public_key)


async def missing(session: AsyncSession) -> list[Kind]:
    """The kinds of which there is no key pair yet; all of them before `init`."""
    present = set(await session.scalars(select(AuthorityRow.kind)))
    return [kind for kind in Kind if kind.value not in present]


async def add(session: AsyncSession, kind: Kind, keys: KeyFile, *, by: Actor, at: int) -> None:
    """Make a key pair of that kind in a transaction that is open; from its end on it is the one in use."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    authority = new_id("aut")
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    sealed = keys.seal(secret, place(authority, kind, public))
    await session.execute(
        insert(AuthorityRow).values(
            id=authority, kind=kind.value, public_key=public, private_sealed=sealed, created_at=at
        )
    )
    await changes.append(session, "authority", authority, at=at)
    await audit.note(session, by, "authority.create", authority, at=at, account=None, kind=kind.value)


def place(authority: str, kind: str, public_key: str) -> Place:
    """What a private key is bound to: its row, its kind, and the public key beside it."""
    return Place("authorities", authority, "private_sealed", (str(kind), public_key))


async def _newest(session: AsyncSession, kind: Kind) -> AuthorityRow:
    newest = AuthorityRow.created_at.desc(), AuthorityRow.id.desc()
    row = await session.scalar(select(AuthorityRow).where(AuthorityRow.kind == kind.value).order_by(*newest).limit(1))
    if row is None:
        raise DatabaseUnusable("the relay has no keys of its own yet: run postern-relay init")
    return row


def _opened(row: AuthorityRow, keys: KeyFile) -> Authority:
    private = keys.open(row.private_sealed, place(row.id, row.kind, row.public_key))
    return Authority(row.id, row.public_key, private)
