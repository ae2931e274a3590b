"""The connections kept to one store on behalf of one connection: who may use how many, and which may be used again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from math import ceil
from time import time

from agent.wire.stream import Stream
from relay.gateway.asking import Asking
from relay.gateway.errors import GatewayError
from relay.gateway.exchange import Exchange
from relay.gateway.kinds import Kind, kind_of
from relay.gateway.limiter import NOTHING_SECONDS
from relay.gateway.turns import QueueFullError, Turns, Waiter
from relay.gateway.way import Way, store_seconds
from relay.records import Connection

IDLE_SECONDS = 3.0
"""An idle line is closed before the store does it: Apache's KeepAliveTimeout is 5 s."""
FRESH_SECONDS = 1.0
"""What may not be sent twice goes only on a line that has been idle for less, or on a new one."""
QUEUE_SECONDS = 30.0
"""How long a request waits for its turn, …"""
HEAVY_TIMES = 4
"""… and what is heavy so many times as long: it is asked for in numbers, and takes long anyway."""
PAUSE_SECONDS_MOST = 60.0
"""A store that asks to be left alone for longer is asked again after so long."""
QUICK = 16
"""Of a quick store's answers one in so many teaches: each costs microseconds, and there may be thousands a second."""
USUAL_PART = 1 / 4
"""How far one of them moves what is thought to be usual."""
_LIGHT_COST, _HEAVY_COST = 0.1, 1.0
"""Seconds of the store, of kinds that it has not been asked for yet."""
_EXHAUSTED = frozenset({502, 504})
_TOO_MUCH = frozenset({429, 503})
_FAULTS = frozenset({"store_timeout", "store_closed_early", "store_refused", "agent_busy"})
_RETRY_AFTER = re.compile(rb"^retry-after:[ \t]*([^\r\n]{1,40})", re.IGNORECASE | re.MULTILINE)


class StoreLine:
    """One HTTP/1.1 connection to a store: busy with one exchange, or idle in its pool. It is the stream's receiver."""

    def __init__(self, pool: Pool, stream: Stream, way: Way) -> None:
        self._pool = pool
        self._stream = stream
        self._way = way
        self._exchange: Exchange | None = None
        self._congested = False
        self.idle_since = 0.0
        self.opener = 0
        """The number of the exchange for which it was opened: the agent knows it by that."""
        stream.attach(self)

    @property
    def closing(self) -> bool:
        return self._stream.is_closing()

    @property
    def lost_code(self) -> str:
        """The code of the hop that broke it."""
        return self._way.lost_code

    def begin(self, exchange: Exchange, head: bytes) -> None:
        self._exchange = exchange
        exchange.way = self._way
        self.opener = exchange.opener = self.opener or exchange.number
        exchange.send(self, head)
        if self._congested:
            exchange.store_paused()

    def write(self, data: bytes) -> None:
        self._stream.write(data)

    def pause_reading(self) -> None:
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        self._stream.resume_reading()

    def release(self, *, reusable: bool) -> None:
        self._exchange = None
        if reusable and not self.closing:
            self._stream.resume_reading()
            self._pool.keep(self)
        else:
            self._stream.abort()

    def close(self) -> None:
        self._stream.close()

    def data_received(self, data: bytes) -> None:
        if self._exchange:
            self._exchange.store_data(data, self._pool.clock())
        else:
            self._retire()

    def eof_received(self) -> None:
        if self._exchange:
            self._exchange.store_eof()
        else:
            self._retire()

    def connection_lost(self, _exc: Exception | None) -> None:
        exchange, self._exchange = self._exchange, None
        self._pool.discard(self)
        if exchange:
            exchange.store_lost(self.lost_code)

    def pause_writing(self) -> None:
        self._congested = True
        if self._exchange:
            self._exchange.store_paused()

    def resume_writing(self) -> None:
        self._congested = False
        if self._exchange:
            self._exchange.store_resumed()

    def _retire(self) -> None:
        """Bytes or an end while nothing was asked: whatever it means, it is no answer to the next request."""
        self._pool.discard(self)
        self._stream.abort()


class Pool:
    """Lines for one connection's record, and the turns that it holds at its store; a changed record gets another."""

    def __init__(self, connection: Connection, turns: Turns, clock: Callable[[], float]) -> None:
        """`turns` are shared with the account's other connections to the same store."""
        self.connection = connection
        self.asking = Asking(connection)
        self.clock = clock
        self.ceiling = connection.concurrency
        self.active = 0
        self.waiting = 0
        """Exchanges that wait for a turn."""
        self.looks = 0
        """Exchanges that have none, and need none."""
        self.retired = False
        self.turns = turns
        self._idle: list[StoreLine] = []

    def enter(self, exchange: Exchange) -> bool:
        """Take a turn at the store, if one is free now. `leave` must follow.

        Raises GatewayError `store_busy` for a look, which does not wait.
        """
        if exchange.look:
            self._begin_look()
            return True
        turns = self.turns
        open_ = self.active < self.ceiling
        if open_ and turns.active < turns.free:
            turns.active += 1
        elif open_ and _light(exchange) and turns.take_kept():
            exchange.kept = True
        elif not (exchange.trial and open_ and turns.take_in_pause()):
            return False
        self.active += 1
        exchange.beside = turns.active + turns.kept
        exchange.era = turns.limit.era
        return True

    async def wait_to_enter(self, exchange: Exchange) -> None:
        """Take a turn when it is this exchange's. Raises GatewayError `store_busy`."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = self._waiter(exchange, turn)
        patience = QUEUE_SECONDS * (1 if waiter.light else HEAVY_TIMES)
        self._refuse_in_vain(patience)
        self.waiting += 1
        try:
            self.turns.wait(waiter)
            async with asyncio.timeout(patience):
                await turn
        except QueueFullError:
            raise GatewayError("store_busy") from None
        except TimeoutError:
            self._give_up(waiter, turn)
            raise self._busy(f"no turn within {patience:.0f} s") from None
        except asyncio.CancelledError:
            self._give_up(waiter, turn)
            raise
        finally:
            self.waiting -= 1
        exchange.kept = waiter.kept
        exchange.beside = self.turns.active + self.turns.kept
        exchange.era = self.turns.limit.era

    def leave(self, exchange: Exchange) -> None:
        """Give the turn back, and learn of the store from what came of it."""
        if exchange.look:
            self.looks -= 1
            self.turns.looking = False
            return
        turns = self.turns
        beside = turns.active + turns.kept
        self.active -= 1
        turns.give_back(kept=exchange.kept)
        seconds = exchange.first_at - exchange.sent_at
        if turns.free and turns.usual < NOTHING_SECONDS and exchange.error is None and exchange.status < 429:
            turns.skipped += 1
            if turns.skipped % QUICK:
                return
        if exchange.first_at:
            turns.usual += (seconds - turns.usual) * USUAL_PART
        self._learn(exchange, seconds, beside)
        turns.settle()

    def take(self, *, retryable: bool) -> StoreLine | None:
        """An idle line that may carry such a request."""
        limit = IDLE_SECONDS if retryable else FRESH_SECONDS
        while self._idle and self.clock() - self._idle[-1].idle_since < limit:
            line = self._idle.pop()
            if not line.closing:
                return line
        return None

    def keep(self, line: StoreLine) -> None:
        if self.retired:
            line.close()
            return
        line.idle_since = self.clock()
        self._idle.append(line)

    def discard(self, line: StoreLine) -> None:
        if line in self._idle:
            self._idle.remove(line)

    def sweep(self) -> None:
        """Close what has been idle too long; the oldest stand first."""
        now = self.clock()
        while self._idle and now - self._idle[0].idle_since >= IDLE_SECONDS:
            self._idle.pop(0).close()

    def retire(self) -> None:
        """The record has changed or gone: idle lines close, busy ones after their exchange."""
        self.retired = True
        while self._idle:
            self._idle.pop().close()

    @property
    def empty(self) -> bool:
        return not (self.active or self.looks or self._idle or self.waiting)

    def _begin_look(self) -> None:
        if not self.turns.begin_look(self.clock()):
            raise GatewayError("store_busy", "others are served first")
        self.looks += 1

    def _waiter(self, exchange: Exchange, turn: asyncio.Future[None]) -> Waiter:
        kind = _kind(exchange)
        fields = exchange.request.fields
        caller = "relay" if exchange.own else (fields.authorization or exchange.target.ws_key)
        light = kind.light and not exchange.background
        cost = self.turns.limit.expected(kind) or (_LIGHT_COST if light else _HEAVY_COST)
        flow = (self.connection.id, caller, exchange.background, kind)

        def give() -> None:
            if not turn.done():
                turn.set_result(None)

        return Waiter(flow, kind, light, cost, self, give)

    def _give_up(self, waiter: Waiter, turn: asyncio.Future[None]) -> None:
        """Wait no longer. A turn that was given in the same moment goes to the next."""
        if waiter.given:
            self.active -= 1
            self.turns.give_back(kept=waiter.kept)
            self.turns.settle()
        else:
            self.turns.give_up(waiter)
        turn.cancel()

    def _refuse_in_vain(self, patience: float) -> None:
        """Raises GatewayError where the store wants to be left alone for longer than this request waits."""
        if self.turns.paused_until - self.clock() > patience:
            raise self._busy("the store has asked to be left alone for a while")

    def _busy(self, detail: str) -> GatewayError:
        left = ceil(self.turns.paused_until - self.clock())
        return GatewayError("store_busy", detail, retry_after=left if left > 0 else None)

    def _learn(self, exchange: Exchange, seconds: float, beside: int) -> None:
        limit, now, status = self.turns.limit, self.clock(), exchange.status
        if exchange.error or not exchange.first_at:
            self._learn_from_silence(exchange, now)
        elif status in _TOO_MUCH:
            limit.refused(exchange.era, now)
            self._pause(exchange, now)
        elif status in _EXHAUSTED or (status == 500 and not exchange.bytes_out):
            limit.faulted(_kind(exchange), exchange.beside, exchange.era, now)
        elif 200 <= status < 400 and exchange.retryable:
            self._learn_from_answer(exchange, seconds, (exchange.beside, beside), now)

    def _learn_from_answer(self, exchange: Exchange, seconds: float, beside: tuple[int, int], now: float) -> None:
        limit, kind = self.turns.limit, _kind(exchange)
        own = store_seconds(exchange.way, seconds, exchange.sent_at, limit.expected(kind))
        if own is None:
            limit.unclear(exchange.era)
        else:
            limit.answered(kind, own, beside, exchange.era, now)

    def _learn_from_silence(self, exchange: Exchange, now: float) -> None:
        """A connector that leaves an unanswered request behind has waited for at least so long."""
        limit, error = self.turns.limit, exchange.error
        if error and error.failure.code in _FAULTS:
            limit.faulted(_kind(exchange), exchange.beside, exchange.era, now)
        elif exchange.sent_at and exchange.retryable:
            waited = now - exchange.sent_at
            if waited > (limit.expected(_kind(exchange)) or waited):
                self._learn_from_answer(exchange, waited, (exchange.beside, exchange.beside), now)

    def _pause(self, exchange: Exchange, now: float) -> None:
        """Heed the store's Retry-After (RFC 9110 §10.2.3). A 503 for long is no matter of load: a shop whose web server
        does not know `/api` answers its maintenance page there, with an hour.
        """
        found = _RETRY_AFTER.search(exchange.answer_fields)
        seconds = _seconds(found[1].decode("latin-1").strip()) if found else 0.0
        heeded = min(seconds, PAUSE_SECONDS_MOST)
        if heeded > 0 and (heeded == seconds or exchange.status == 429):
            self.turns.pause(now + heeded)


def _kind(exchange: Exchange) -> Kind:
    return kind_of(exchange.request.method, exchange.target.path)


def _light(exchange: Exchange) -> bool:
    return not exchange.background and _kind(exchange).light


def _seconds(text: str) -> float:
    """Of a Retry-After, in seconds or as a date; 0: it says nothing."""
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return parsedate_to_datetime(text).timestamp() - time()
    except (ValueError, OverflowError):
        return 0.0
