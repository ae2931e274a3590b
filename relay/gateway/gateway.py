"""Brings exchanges to stores: who is calling, which connection, whose turn it is, and a line to send on.

What is known is decided at once, in the loop turn in which the request came; only what must be waited for (the
database, a turn, a tunnel, a new channel) becomes a task.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import structlog

from relay import request_ids
from relay.gateway.credentials import judge_key, judge_token, presented
from relay.gateway.errors import GatewayError
from relay.gateway.exchange import Exchange
from relay.gateway.http1 import RequestHead
from relay.gateway.pool import Pool, StoreLine
from relay.gateway.routes import Route
from relay.gateway.traffic import Ledger
from relay.gateway.turns import Stores
from relay.records import MISSING, Caller, Connection, Missing

log = structlog.get_logger()

IN_FLIGHT = 4096
"""Requests under way on this node."""
IN_FLIGHT_PER_ACCOUNT = 512
"""An account's share of them."""
PROGRESS_SECONDS = 300.0
"""A store that sends nothing for so long has failed, unless its connection says otherwise; PrestaShop sends no byte
before its whole answer is made."""


class DirectoryUnavailableError(Exception):
    """The database is away, and what was asked for is not remembered."""


class Directory(Protocol):
    """Connections and callers, remembered; MISSING where the slow call must be made first."""

    def peek_connection(self, id_: str, /) -> Connection | Missing | None: ...

    async def connection(self, id_: str, /) -> Connection | None: ...

    def peek_caller(self, digest: str, /) -> Caller | Missing | None: ...

    async def caller(self, digest: str, /) -> Caller | None: ...


class Gateway:
    """All exchanges of a node. `begin` is called by the front, the rest by the exchanges themselves."""

    def __init__(self, directory: Directory, route: Route, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._route = route
        self.clock = clock
        self.draining = False
        self.used: set[str] = set()
        """Digests of the credentials that were accepted, until somebody writes them down and clears the set."""
        self.traffic = Ledger(clock)
        self.on_over: Callable[[Exchange], object] = _nothing
        """Called with every exchange that is over, in the loop turn in which it is: it must be quick."""
        self.on_refused: Callable[[RequestHead, int, GatewayError], object] = _nothing
        """The same for requests that never became an exchange, with the number that they were given."""
        self._stores = Stores(clock)
        self._pools: dict[str, Pool] = {}
        self._entered: dict[Exchange, Pool] = {}
        self._accounts: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._queued: dict[Exchange, asyncio.Task[Any] | None] = {}
        """Those that wait for their turn: who has gone must not stand in the way of others."""

    def __len__(self) -> int:
        """Exchanges that have been let in and are not over."""
        return len(self._entered)

    @property
    def waiting(self) -> int:
        """Exchanges that wait for their turn at a store."""
        return sum(pool.waiting for pool in self._pools.values())

    def begin(self, exchange: Exchange) -> None:
        pool = None
        try:
            connection = self._admit(exchange)
            if connection is not None:
                pool = self._enter_account(exchange, connection)
                if pool.enter(exchange):
                    self._entered[exchange] = pool
                    line = pool.take(retryable=exchange.retryable)
                    if line:
                        line.begin(exchange, pool.asking.head(exchange))
                        return
        except GatewayError as error:
            exchange.fail(error)
            return
        self._spawn(exchange, self._begin_slowly(exchange, pool))

    def carry(self, exchange: Exchange, connection: Connection) -> None:
        """Begin an exchange of the relay's own, which needs no credential; the connection may be saved nowhere."""
        exchange.own = connection
        exchange.number = request_ids.bound_number() or exchange.number
        self.begin(exchange)

    def again(self, exchange: Exchange) -> None:
        """Send once more, on a new line: the old one died before a byte of an answer."""
        self._spawn(exchange, self._begin_on_new_line(exchange))

    def over(self, exchange: Exchange) -> None:
        """Give back what the exchange held."""
        exchange.ended = self.clock()
        pool = self._entered.pop(exchange, None)
        if pool:
            pool.leave(exchange)
        elif task := self._queued.get(exchange):
            task.cancel()
        connection = exchange.connection
        if connection:
            self._accounts[connection.account] -= 1
            if exchange.look:
                return
            self.traffic.of(connection).note(exchange)
        elif exchange.error:
            self.traffic.refuse(exchange.error)
        self.on_over(exchange)

    def refuse(self, request: RequestHead | None, error: GatewayError) -> str:
        """Note what is answered to a request that never became an exchange; the id that it gets."""
        number = request_ids.new()
        self.traffic.refuse(error)
        if request:
            self.on_refused(request, number, error)
        return request_ids.text(number)

    def forget(self, connection_id: str) -> None:
        """The connection has changed: its lines are not used for new requests."""
        pool = self._pools.pop(connection_id, None)
        if pool:
            pool.retire()

    def judge_again(self) -> None:
        """Credentials or connections have changed: what is under way ends if its caller may no longer do it."""
        for exchange in tuple(self._entered):
            try:
                known = self._admit(exchange) is not None
            except GatewayError as error:
                exchange.fail(error)
            else:
                if not known:
                    self._spawn(exchange, self._judge_slowly(exchange))

    def sweep(self) -> None:
        """Close idle lines, forget idle pools, look after the stores' turns; called once a second."""
        self._stores.sweep([pool.turns for pool in self._pools.values()])
        for id_, pool in list(self._pools.items()):
            pool.sweep()
            if pool.empty:
                self.forget(id_)
        for account in [a for a, n in self._accounts.items() if n <= 0]:
            del self._accounts[account]
        self.traffic.sweep()

    def overdue(self, exchange: Exchange, moved: float, now: float) -> bool:
        """Whether the store has been silent for longer than any may be, since the connector last `moved` at least."""
        limit = exchange.connection.answer_timeout if exchange.connection else PROGRESS_SECONDS
        return exchange.sent and now - max(exchange.progress, moved) > limit

    def _spawn(self, exchange: Exchange, steps: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(self._guard(exchange, steps))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, exchange: Exchange, steps: Coroutine[Any, Any, None]) -> None:
        request_ids.bind(exchange.number)
        try:
            await steps
        except GatewayError as error:
            exchange.fail(error)
        except DirectoryUnavailableError:
            exchange.fail(GatewayError("relay_unavailable"))
        except Exception:
            log.exception("an exchange failed in the relay")
            exchange.fail(GatewayError("relay_fault"))

    async def _begin_slowly(self, exchange: Exchange, pool: Pool | None) -> None:
        if pool is None:
            connection = await self._look_up(exchange)
            if exchange.finished():
                return
            pool = self._enter_account(exchange, connection)
        if exchange not in self._entered and not exchange.finished():
            await self._wait_to_enter(exchange, pool)
            if exchange.finished():
                pool.leave(exchange)
                return
            self._entered[exchange] = pool
            await self._look_again(exchange)
        line = pool.take(retryable=exchange.retryable) if exchange in self._entered else None
        if line:
            exchange.progress = self.clock()
            line.begin(exchange, pool.asking.head(exchange))
        else:
            await self._begin_on_new_line(exchange)

    async def _wait_to_enter(self, exchange: Exchange, pool: Pool) -> None:
        """Raises GatewayError: it is not the store that is busy where all wait for its agent."""
        self._queued[exchange] = asyncio.current_task()
        try:
            await pool.wait_to_enter(exchange)
        except GatewayError:
            if self._route.away(pool.connection):
                raise GatewayError("agent_offline", "so many requests wait for it already") from None
            raise
        finally:
            del self._queued[exchange]

    async def _begin_on_new_line(self, exchange: Exchange) -> None:
        pool = self._entered.get(exchange)
        if pool is None:
            return
        line = StoreLine(pool, *await self._route.open(pool.connection))
        try:
            await self._look_again(exchange)
        except BaseException:
            line.release(reusable=True)
            raise
        if exchange.finished():
            line.release(reusable=True)
            return
        if line.closing:
            raise GatewayError(line.lost_code)
        exchange.progress = self.clock()
        line.begin(exchange, pool.asking.head(exchange))

    def _admit(self, exchange: Exchange) -> Connection | None:
        """The connection that the caller may use, or None if something must be looked up. Raises GatewayError."""
        if exchange.own:
            return exchange.own
        connection = self._directory.peek_connection(exchange.target.connection)
        if connection is MISSING:
            return None
        key, token = presented(exchange)
        if token:
            caller = self._directory.peek_caller(token)
            if caller is MISSING:
                return None
            allowed = judge_token(exchange, connection, caller)
        else:
            allowed = judge_key(connection, key)
        self.used.add(token or key)
        return allowed

    async def _look_up(self, exchange: Exchange) -> Connection:
        if exchange.own:
            return exchange.own
        connection = await self._directory.connection(exchange.target.connection)
        key, token = presented(exchange)
        if token:
            allowed = judge_token(exchange, connection, await self._directory.caller(token))
        else:
            allowed = judge_key(connection, key)
        self.used.add(token or key)
        return allowed

    async def _look_again(self, exchange: Exchange) -> None:
        """After a wait: raises GatewayError unless the caller may still do this, and the connection is what it was."""
        if await self._look_up(exchange) != exchange.connection:
            raise GatewayError("connection_changed")

    async def _judge_slowly(self, exchange: Exchange) -> None:
        with contextlib.suppress(DirectoryUnavailableError):
            await self._look_up(exchange)

    def _enter_account(self, exchange: Exchange, connection: Connection) -> Pool:
        if self._accounts[connection.account] >= IN_FLIGHT_PER_ACCOUNT:
            raise GatewayError("account_busy")
        if len(self._entered) >= IN_FLIGHT:
            raise GatewayError("relay_overloaded")
        self._accounts[connection.account] += 1
        pool = self._pool(connection)
        exchange.connection, exchange.store_key = connection, pool.asking.key
        return pool

    def _pool(self, connection: Connection) -> Pool:
        pool = self._pools.get(connection.id)
        if pool and (pool.connection is connection or pool.connection == connection):
            return pool
        if pool:
            pool.retire()
        pool = self._pools[connection.id] = Pool(connection, self._stores.of(connection), self.clock)
        return pool


def _nothing(*_: object) -> None:
    pass
