"""What a node serves from: connections and callers as remembered, kept true by following `changes`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import structlog

from relay.database import agent_keys, changes, connections, tickets, tokens
from relay.database.engine import Database
from relay.database.errors import DatabaseUnavailable, DatabaseUnusable
from relay.database.revocations import REMEMBER_SECONDS, Revocations
from relay.database.secrets import DoesNotOpen, UnknownMasterKey
from relay.database.shelf import Shelf
from relay.records import MISSING, AgentKey, Caller, Change, Connection, Missing, Ticket

POLL_SECONDS = 0.5
"""At least so often `changes` is read: what is revoked ends within 1 s."""
SERVE_SECONDS = 600.0
"""How long what is remembered serves while the database is away."""
HEALTHY_SECONDS = 5.0
"""A database that has not answered for so long is reported as away."""
REMEMBERED = 20_000
"""Connections, and callers: some 2 KB each."""
ABSENCES = 4_096

Follower = Callable[[list[Change]], None]

log = structlog.get_logger()


class Directory:
    """Connections by id and API tokens by SHA-256; `clock` is monotonic seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self.revocations = Revocations(clock)
        self._database = database
        self._clock = clock
        self._connections = Shelf(self._load_connection, present=REMEMBERED, absent=ABSENCES)
        self._callers = Shelf(self._load_caller, present=REMEMBERED, absent=ABSENCES)
        self._agent_keys = Shelf(self._load_agent_key, present=REMEMBERED, absent=ABSENCES)
        self._tickets = Shelf(self._load_ticket, present=REMEMBERED, absent=ABSENCES)
        self._followers: list[Follower] = []
        self._seq = 0
        self._confirmed_at = float("-inf")
        self._failing = False
        self._woken = asyncio.Event()

    async def start(self) -> None:
        """Take position in `changes` and read what was revoked lately. Raises DatabaseUnavailable."""
        self._seq, recent = await changes.since(self._database, self._database.now() - REMEMBER_SECONDS)
        self.revocations.apply(recent)
        self._confirmed_at = self._clock()

    def subscribe(self, follower: Follower) -> None:
        """Have each batch of changes told, once the directory itself has taken it in."""
        self._followers.append(follower)

    async def watch(self) -> None:
        """Follow `changes` until cancelled. A database that is away is waited for."""
        while True:
            self._woken.clear()
            if await self._poll() < changes.BATCH:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._woken.wait()

    def wake(self) -> None:
        """Look at once: somebody says that there is something new."""
        self._woken.set()

    @property
    def healthy(self) -> bool:
        """Whether the database has answered lately."""
        return self.silence < HEALTHY_SECONDS

    @property
    def silence(self) -> float:
        """Seconds since the database last answered."""
        return self._clock() - self._confirmed_at

    def peek_connection(self, connection: str) -> Connection | Missing | None:
        """What is remembered of it; MISSING: ask `connection`."""
        return self._connections.peek(connection) if self._trusted else MISSING

    async def connection(self, connection: str) -> Connection | None:
        """The connection, None where there is none. Raises DatabaseUnavailable, never answers None for that."""
        found = self.peek_connection(connection)
        return await self._connections.look_up(connection) if found is MISSING else found

    def peek_caller(self, sha256: str) -> Caller | Missing | None:
        """What is remembered of the token with this digest (hex); None: unknown, revoked or expired."""
        found = self._callers.peek(sha256) if self._trusted else MISSING
        return self._unexpired(found) if isinstance(found, Caller) else found

    async def caller(self, sha256: str) -> Caller | None:
        """As `peek_caller`, asking the database where nothing is remembered. Raises DatabaseUnavailable."""
        found = self.peek_caller(sha256)
        return await self._callers.look_up(sha256) if found is MISSING else found

    async def agent_key(self, agent: str, digest: str) -> AgentKey | None:
        """The key with this digest (hex) that may log in as the agent. Raises DatabaseUnavailable."""
        named = f"{agent} {digest}"
        found = self._agent_keys.peek(named) if self._trusted else MISSING
        return await self._agent_keys.look_up(named) if found is MISSING else found

    async def ticket(self, sha256: str) -> Ticket | None:
        """The tunnel ticket with this digest (hex); None: unknown, revoked or expired. Raises DatabaseUnavailable."""
        found = self._tickets.peek(sha256) if self._trusted else MISSING
        ticket = await self._tickets.look_up(sha256) if found is MISSING else found
        if ticket is None or ticket.expires_at <= self._database.now():
            return None
        return None if self.revocations.is_revoked(ticket.agent, ticket.instance, ticket.token) else ticket

    def apply(self, batch: Sequence[Change]) -> None:
        """Forget what the changes have made untrue."""
        for change in batch:
            if change.kind == "connection":
                self._connections.drop(change.subject)
            elif change.kind == "api_token":
                self._callers.drop_where(lambda caller, gone=change.subject: caller.id == gone)  # type: ignore[misc]  # bound now
            elif change.kind in {"agent", "agent_key"}:
                self._agent_keys.drop_where(lambda key, gone=change.subject: gone in {key.id, key.agent})  # type: ignore[misc]  # bound now
            if change.revoked and change.kind in {"agent", "agent_token", "instance"}:
                self._tickets.drop_where(lambda t, gone=change.subject: gone in {t.agent, t.token, t.instance})  # type: ignore[misc]  # bound now
        self.revocations.apply(batch)

    @property
    def _trusted(self) -> bool:
        return self._clock() - self._confirmed_at <= SERVE_SECONDS

    def _unexpired(self, caller: Caller) -> Caller | None:
        expired = caller.expires_at is not None and caller.expires_at <= self._database.now()
        return None if expired else caller

    async def _poll(self) -> int:
        """Read and act on what is new; how many changes there were."""
        try:
            batch = await changes.after(self._database, self._seq)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look must follow: revocations come this way
            self._note_away(error)
            return 0
        if self._failing:
            log.info("database back")
        self._failing = False
        if batch:
            self._seq = batch[-1].seq
            self.apply(batch)
            self._tell(batch)
        self._confirmed_at = self._clock()
        return len(batch)

    def _note_away(self, error: Exception) -> None:
        if not self._failing:
            log.warning("database away", reason=str(error), served_from_memory_for=f"{SERVE_SECONDS:.0f}s")
        self._failing = True

    def _tell(self, batch: list[Change]) -> None:
        for follower in self._followers:
            try:
                follower(batch)
            except Exception:
                log.exception("a follower of changes failed")

    async def _load_connection(self, connection: str) -> Connection | None:
        try:
            return await connections.load(self._database, connection)
        except (UnknownMasterKey, DoesNotOpen, DatabaseUnusable) as error:
            log.error("store key does not open", connection=connection, reason=str(error))
            raise DatabaseUnavailable(str(error)) from error

    async def _load_caller(self, sha256: str) -> Caller | None:
        return await tokens.caller(self._database, sha256)

    async def _load_agent_key(self, named: str) -> AgentKey | None:
        agent, _, digest = named.rpartition(" ")
        return await agent_keys.find(self._database, agent, digest)

    async def _load_ticket(self, sha256: str) -> Ticket | None:
        return await tickets.find(self._database, sha256)
