"""The people and machines of the tests: a clock that stands, a form that is right, an installation that can sign."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr
from sqlalchemy import select

from agent.wire.enrolment import (
    INSTANCE_SIGNATURE,
    NONCE,
    TIME,
    TOKEN,
    TOKEN_SIGNATURE,
    EnrolmentRequest,
    SignedRequest,
    instance_id,
)
from agent.wire.token import AccessToken
from relay.database.connection_form import ConnectionForm
from relay.database.engine import Database
from relay.database.enrolments import Enrolled, EnrolmentAttempt, enrol
from relay.database.records import Actor
from relay.database.tables import AuditEventRow, ChangeRow
from relay.records import Mode

NOW = 1_800_000_000
BY = Actor("cli:test", "local")
RELAY = "https://relay.example.com"
STORE_KEY = "CANARYSTOREKEYCANARYSTOREKEY0123"


@dataclass
class Clock:
    """Stands until it is moved."""

    now: float

    def __call__(self) -> float:
        return self.now


def form(**changed: Any) -> ConnectionForm:
    """A cloud connection that can be taken, but for what is changed."""
    right = ConnectionForm("Shop", Mode.CLOUD, "https://www.example.com/prestashop", SecretStr(STORE_KEY))
    return dataclasses.replace(right, **changed)


@dataclass
class Installation:
    """An agent's own key, and how it asks for its certificate."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    relay: str = RELAY
    host_name: str = "shop-server"
    visit: bool = False

    @property
    def public_key(self) -> str:
        return self.key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    @property
    def id(self) -> str:
        return instance_id(self.public_key)

    def attempt(self, now: int, token: SecretStr | None = None) -> EnrolmentAttempt:
        request = EnrolmentRequest(
            public_key=self.public_key,
            host_name=self.host_name,
            version="1",
            stores=["http://shop.lan"],
            visit=self.visit,
        )
        access = AccessToken.parse(token.get_secret_value()) if token else None
        signed = SignedRequest.sign(request, relay=self.relay, time=now, key=self.key, token=access)
        return read(signed.body, signed.headers)

    async def enrol(
        self, database: Database, token: SecretStr | None = None, *, online: frozenset[str] = frozenset()
    ) -> Enrolled:
        return await send(database, self.attempt(database.now(), token), online=online)


def read(body: bytes, headers: dict[str, str]) -> EnrolmentAttempt:
    return EnrolmentAttempt.of(
        body=body,
        time=headers[TIME],
        nonce=headers[NONCE],
        instance_signature=headers[INSTANCE_SIGNATURE],
        token_id=headers.get(TOKEN),
        token_signature=headers.get(TOKEN_SIGNATURE),
    )


async def send(
    database: Database, attempt: EnrolmentAttempt, *, online: frozenset[str] = frozenset(), **more: Any
) -> Enrolled:
    return await enrol(database, attempt, relay=RELAY, is_online=online.__contains__, source="198.51.100.7", **more)


async def written(database: Database) -> tuple[list[tuple[str, str]], list[tuple[str, str, bool]]]:
    """Audit events as (action, subject) and changes as (kind, subject, revoked), in order."""
    async with database.reading() as session:
        events = await session.scalars(select(AuditEventRow).order_by(AuditEventRow.seq))
        noted = [(event.action, event.subject) for event in events]
        rows = await session.scalars(select(ChangeRow).order_by(ChangeRow.seq))
        return noted, [(row.kind, row.subject, row.revoked) for row in rows]
