"""Requests that are carried out once however often they are sent: the spent keys, and the answers kept for repeats."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from relay.database.audit import Event
from relay.database.engine import TRANSACTION_SECONDS, Database
from relay.database.errors import Conflict, Invalid
from relay.database.secrets import DoesNotOpen, Place, UnknownMasterKey
from relay.database.tables import IdempotencyKeyRow

KEPT_SECONDS = 3600
"""How long a key is remembered with its answer, which may hold what is shown once: sealed, and not for longer."""


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request whose sender gave it a key. `account` and `sender` are ids, `content` all that makes up the request."""

    account: str
    sender: str
    key: str
    content: bytes

    @property
    def id(self) -> str:
        """The sender's key as it is remembered: 64 hex digits, and nobody else's."""
        return hashlib.sha256(f"{self.account}\n{self.sender}\n{self.key}".encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class Repeated(Exception):  # noqa: N818 - not an error: the answer is there
    """The request was carried out before; `answer` is what was kept of it."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("carried out before")
        self.answer = answer


class Once(Database):
    """A database for one keyed request: its writing transaction also spends the key, so that both or neither happen."""

    def __init__(self, database: Database, request: KeyedRequest) -> None:
        vars(self).update(vars(database))
        self._request = request

    @contextlib.asynccontextmanager
    async def writing(self, *, seconds: float = TRANSACTION_SECONDS) -> AsyncIterator[AsyncSession]:
        """As any database's. Raises Repeated, Conflict `answer_not_kept`, Invalid `Idempotency-Key` as well."""
        async with super().writing(seconds=seconds) as session:
            await self._spend(session)
            yield session

    async def keep(self, answer: bytes, event: Event | None = None) -> None:
        """Keep the answer for repeats, sealed, and note the event with it. Raises DatabaseUnavailable."""
        sealed = self.keys.seal(answer, self._place)
        async with super().writing() as session:
            await session.execute(update(IdempotencyKeyRow).where(self._mine).values(answer_sealed=sealed))
            if event:
                await event.note(session, self.now())

    async def look(self) -> None:
        """Has this request been begun before? Raises Repeated with what was kept, Conflict, Invalid as `writing`."""
        async with super().reading() as session:
            row = await session.get(IdempotencyKeyRow, self._request.id)
            if row is not None and row.forget_at > self.now():
                raise Repeated(self._kept(row))

    async def begin(self, note: bytes, *, seconds: int) -> None:
        """Spend the key for so long on what happens outside the database, with a note in the answer's place.

        The note stands until `keep`: it is what a repeat is told if nobody comes back with an answer. Raises as
        `writing`.
        """
        async with self.writing() as session:
            values = {"answer_sealed": self.keys.seal(note, self._place), "forget_at": self.now() + seconds}
            await session.execute(update(IdempotencyKeyRow).where(self._mine).values(**values))

    async def begin_again(self, old: bytes, note: bytes) -> None:
        """Take over from whoever left the old note and did not come back. Raises Conflict if somebody else did."""
        async with super().writing() as session:
            row = await session.get(IdempotencyKeyRow, self._request.id, with_for_update=True)
            if row is None or self._kept(row) != old:
                raise _not_kept()
            row.answer_sealed = self.keys.seal(note, self._place)

    async def forget(self) -> None:
        """Give the key back: what it was spent on has not happened. Raises DatabaseUnavailable."""
        async with super().writing() as session:
            await session.execute(delete(IdempotencyKeyRow).where(self._mine))

    @property
    def _mine(self) -> ColumnElement[bool]:
        return IdempotencyKeyRow.id == self._request.id

    @property
    def _place(self) -> Place:
        bound = (self._request.account, self._request.fingerprint)
        return Place("idempotency_keys", self._request.id, "answer_sealed", bound)

    async def _spend(self, session: AsyncSession) -> None:
        now = self.now()
        await session.execute(delete(IdempotencyKeyRow).where(IdempotencyKeyRow.forget_at <= now))
        row = await session.get(IdempotencyKeyRow, self._request.id)
        if row is not None:
            raise Repeated(self._kept(row))
        values = {"id": self._request.id, "fingerprint": self._request.fingerprint, "forget_at": now + KEPT_SECONDS}
        await session.execute(insert(IdempotencyKeyRow).values(**values))

    def _kept(self, row: IdempotencyKeyRow) -> bytes:
        if row.fingerprint != self._request.fingerprint:
            raise Invalid("Idempotency-Key", "this key was used for another request: make a new one for each")
        with contextlib.suppress(DoesNotOpen, UnknownMasterKey):
            if row.answer_sealed is not None:
                return self.keys.open(row.answer_sealed, self._place).get_secret_value()
        raise _not_kept()


def _not_kept() -> Conflict:
    return Conflict(
        "answer_not_kept",
        "this request was carried out, and its answer is not here, or not yet: repeat it in a moment, or look for "
        "what it made",
    )
