"""Enrolments: signatures checked, facts gathered, the rules asked, and what they decide written down in one stroke."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from agent.wire.limits import CLOCK_SKEW_SECONDS
from agent.wire.refusal import EnrolmentRefusal
from relay.database import audit, changes, instances, tickets
from relay.database.engine import Database
from relay.database.enrolment_attempt import EnrolmentAttempt, check_instance_signature, check_token_signature
from relay.database.enrolment_rules import (
    INSTANCE_UNKNOWN,
    Admitted,
    Facts,
    Holder,
    InstanceFacts,
    Kind,
    TokenFacts,
    check_clock,
    decide,
)
from relay.database.errors import Conflict, EnrolmentRefused
from relay.database.names import is_id
from relay.database.records import Actor
from relay.database.tables import AgentRow, AgentTokenRow, EnrolmentNonceRow, InstanceRow
from relay.database.tickets import NewTicket

LIMIT_EVENT_SECONDS = 3600
"""A clone that keeps knocking is reported once per hour and key."""

Admit = Callable[[str], AbstractContextManager[object]]
"""Entered with the account's id once signatures have proved whose enrolment it is, before anything is written."""
IsOnline = Callable[[str], bool]
"""Whether the instance of this id has a tunnel now."""

__all__ = ["Enrolled", "EnrolmentAttempt", "enrol"]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a certificate is made of."""

    account: str
    agent: str
    agent_name: str
    instance: str
    token: str
    """The agent token that the instance now belongs to."""
    serial: int
    """Of the certificate: higher than any this key was given before."""
    kind: Kind
    ticket: NewTicket
    displaced: str | None = None


async def enrol(
    database: Database,
    attempt: EnrolmentAttempt,
    *,
    relay: str,
    is_online: IsOnline,
    source: str,
    also_known_as: Sequence[str] = (),
    admit: Admit = nullcontext,
) -> Enrolled:
    """Admit an instance and give it its place, or renew it.

    `relay` is this relay's address as `relay_url` spells it, `also_known_as` what the request was addressed to: with
    these `relay_mismatch` is told from `signature_invalid`. Raises EnrolmentRefused, DatabaseUnavailable.
    """
    check_clock(attempt.time, database.now())
    check_instance_signature(attempt, relay, also_known_as)
    async with database.reading() as session:
        # Whoever proves nothing is turned away here, without taking the writer's turn
        account = (await _read_proof(session, attempt, relay)).agent.account
    try:
        async with _entered(admit(account)), database.writing() as session:
            proof = await _read_proof(session, attempt, relay)
            by = Actor(attempt.instance, source)
            now = database.now()
            outcome = await _Enrolment(session, attempt, proof, by, now, NewTicket.make(now)).settle(is_online)
    except Conflict:
        raise EnrolmentRefused(EnrolmentRefusal.RELAY_OVERLOADED, "another enrolment is under way: try again") from None
    if isinstance(outcome, EnrolmentRefused):
        raise outcome
    return outcome


@asynccontextmanager
async def _entered(manager: AbstractContextManager[object]) -> AsyncIterator[None]:
    with manager:
        yield


@dataclass(frozen=True, slots=True)
class _Proof:
    """The rows that the signatures speak for."""

    agent: AgentRow
    """Of the shown token; without one, of the instance."""
    shown: AgentTokenRow | None
    instance: InstanceRow | None
    instance_token: AgentTokenRow | None


async def _read_proof(session: AsyncSession, attempt: EnrolmentAttempt, relay: str) -> _Proof:
    """Raises EnrolmentRefused for a token or instance that is unknown, and a token's signature that does not fit."""
    shown = await _read_shown(session, attempt, relay)
    instance = await session.get(InstanceRow, attempt.instance)
    if instance is None:
        if shown is None:
            raise EnrolmentRefused(EnrolmentRefusal.INSTANCE_UNKNOWN, INSTANCE_UNKNOWN)
        return _Proof(await session.get_one(AgentRow, shown.agent), shown, None, None)
    agent = await session.get_one(AgentRow, instance.agent if shown is None else shown.agent)
    return _Proof(agent, shown, instance, await session.get_one(AgentTokenRow, instance.token))


async def _read_shown(session: AsyncSession, attempt: EnrolmentAttempt, relay: str) -> AgentTokenRow | None:
    if attempt.token_id is None:
        return None
    row = await session.get(AgentTokenRow, attempt.token_id) if is_id(attempt.token_id, AgentTokenRow.prefix) else None
    if row is None:
        raise EnrolmentRefused(EnrolmentRefusal.TOKEN_UNKNOWN, "the relay does not know this access token")
    check_token_signature(attempt, bytes.fromhex(row.public_key), relay)
    return row


@dataclass(frozen=True, slots=True)
class _Enrolment:
    """One enrolment within its transaction."""

    session: AsyncSession
    attempt: EnrolmentAttempt
    proof: _Proof
    by: Actor
    now: int
    ticket: NewTicket

    async def settle(self, is_online: IsOnline) -> Enrolled | EnrolmentRefused:
        """A refusal is returned, not raised: the nonce, and what was noted about it, are kept."""
        facts = await self._facts(is_online)
        try:
            admitted = decide(facts)
        except EnrolmentRefused as refused:
            if refused.refusal is EnrolmentRefusal.INSTANCE_LIMIT:
                await self._note_limit()
            return refused
        if admitted.kind is Kind.RENEWAL and self.proof.instance is not None:
            visit = self.attempt.request.visit and self.proof.shown is None
            return await (self._lend if visit else self._renew)(admitted, self.proof.instance)
        return await self._place(admitted)

    async def _facts(self, is_online: IsOnline) -> Facts:
        agent, shown = self.proof.agent, self.proof.shown
        return Facts(
            now=self.now,
            nonce_seen=await self._spend_nonce(),
            shown=None if shown is None else _token_facts(shown),
            instance=_instance_facts(self.proof),
            agent_revoked=agent.revoked_at is not None,
            places=agent.places,
            holders=await self._holders(is_online),
        )

    async def _spend_nonce(self) -> bool:
        """Whether the nonce was seen before; it is remembered for as long as its time could be accepted."""
        nonce, forget_at = self.attempt.nonce, self.attempt.time + CLOCK_SKEW_SECONDS
        await self.session.execute(delete(EnrolmentNonceRow).where(EnrolmentNonceRow.forget_at < self.now))
        if await self.session.get(EnrolmentNonceRow, nonce) is not None:
            return True
        await self.session.execute(insert(EnrolmentNonceRow).values(nonce=nonce, forget_at=forget_at))
        return False

    async def _holders(self, is_online: IsOnline) -> tuple[Holder, ...]:
        agent = self.proof.agent
        theirs = InstanceRow.account == agent.account, InstanceRow.agent == agent.id, InstanceRow.revoked_at.is_(None)
        others = select(InstanceRow).where(*theirs, InstanceRow.id != self.attempt.instance)
        return tuple(Holder(row.id, is_online(row.id), row.last_seen_at) for row in await self.session.scalars(others))

    async def _lend(self, admitted: Admitted, row: InstanceRow) -> Enrolled:
        """A visit counts its certificate and has a ticket for a while; nothing else is changed by it."""
        row.serial = max(row.serial + 1, self.now)
        tickets.lend(row, self.ticket)
        await self.session.flush()
        return self._enrolled(admitted, row.serial)

    async def _renew(self, admitted: Admitted, row: InstanceRow) -> Enrolled:
        if row.token != admitted.token:
            await self._note("instance.change_token", token=admitted.token)
        request = self.attempt.request
        row.token = admitted.token
        row.host_name, row.version, row.stores = request.host_name, request.version, list(request.stores)
        row.serial, row.last_seen_at = max(row.serial + 1, self.now), self.now
        tickets.replace(row, self.ticket)
        await self.session.flush()
        return self._enrolled(admitted, row.serial)

    async def _place(self, admitted: Admitted) -> Enrolled:
        """Put the instance on a place: off goes whoever held it, and itself from the agent that it leaves."""
        serial = self.now
        if self.proof.instance is not None:
            serial = max(self.proof.instance.serial + 1, self.now)
            await self._remove(self.proof.instance, "instance.move")
        if admitted.displaced is not None:
            await self._remove(await self.session.get_one(InstanceRow, admitted.displaced), "instance.displace")
        await self._insert(admitted, serial)
        await changes.append(self.session, "instance", self.attempt.instance, at=self.now)
        request = self.attempt.request
        await self._note(
            "instance.enrol", token=admitted.token, host_name=request.host_name, stores=list(request.stores)
        )
        return self._enrolled(admitted, serial)

    async def _remove(self, row: InstanceRow, action: str) -> None:
        await instances.remove(self.session, row, by=self.by, at=self.now, action=action)

    async def _insert(self, admitted: Admitted, serial: int) -> None:
        request, agent = self.attempt.request, self.proof.agent
        await self.session.execute(
            insert(InstanceRow).values(
                id=self.attempt.instance,
                account=agent.account,
                agent=agent.id,
                token=admitted.token,
                public_key=request.public_key,
                host_name=request.host_name,
                version=request.version,
                stores=list(request.stores),
                serial=serial,
                enrolled_at=self.now,
                last_seen_at=self.now,
                revoked_at=None,
                ticket_sha256=self.ticket.sha256,
                ticket_expires_at=self.ticket.expires_at,
            )
        )

    async def _note_limit(self) -> None:
        """Report a possible clone: another key with the same token."""
        last = await audit.last_at(self.session, "instance.refuse", self.attempt.instance)
        if last is None or self.now - last >= LIMIT_EVENT_SECONDS:
            host_name = self.attempt.request.host_name
            await self._note("instance.refuse", host_name=host_name, reason="instance_limit: possibly a clone")

    async def _note(self, action: str, **details: object) -> None:
        agent = self.proof.agent
        subject = self.attempt.instance
        await audit.note(
            self.session, self.by, action, subject, at=self.now, account=agent.account, agent=agent.id, **details
        )

    def _enrolled(self, admitted: Admitted, serial: int) -> Enrolled:
        return Enrolled(
            account=self.proof.agent.account,
            agent=self.proof.agent.id,
            agent_name=self.proof.agent.name,
            instance=self.attempt.instance,
            token=admitted.token,
            serial=serial,
            kind=admitted.kind,
            ticket=self.ticket,
            displaced=admitted.displaced,
        )


def _token_facts(row: AgentTokenRow) -> TokenFacts:
    return TokenFacts(row.id, row.agent, row.created_at, row.expires_at, revoked=row.revoked_at is not None)


def _instance_facts(proof: _Proof) -> InstanceFacts | None:
    row, token = proof.instance, proof.instance_token
    if row is None or token is None:
        return None
    return InstanceFacts(row.agent, revoked=row.revoked_at is not None, token=_token_facts(token))
