"""The relay's own protocol on the HTTP listener: judges every head, serves `/to/` itself, hands the rest to FastAPI.

The choice is made per request, since reverse proxies send `/to/` and `/v1` down the same connection. Stock servers
lower-case names, answer `Expect` themselves, cannot pass 1xx on and have no deadline for headers; this one does none
of that. One request of a connection is under way at a time; what was pipelined behind it waits in `_unread`.
"""

from __future__ import annotations

import asyncio
import enum
import re
from collections.abc import Callable
from typing import Protocol, cast

import structlog

from relay.gateway.body import Body, Chunked, Counted
from relay.gateway.errors import MALFORMED_BY_STATUS, GatewayError, answer
from relay.gateway.exchange import Exchange
from relay.gateway.gateway import Gateway
from relay.gateway.http1 import HEAD_BYTES, REQUEST_LINE_BYTES, MalformedError, RequestHead, read_request
from relay.gateway.target import RefusedTargetError, judge

log = structlog.get_logger()

HEAD_SECONDS = 10.0
"""For a whole head, from its first byte (or the connection's beginning) on."""
IDLE_SECONDS = 75.0
"""Between two requests: longer than the pools of common clients keep a connection."""
STALL_SECONDS = 60.0
"""A request body, or a reader, that does not move for so long is cut."""
LINGER_SECONDS = 2.0
"""After a last answer, what still comes is read away, so that a reset does not destroy the answer (RFC 9112 §9.6)."""
PIPELINED_BYTES = 64 * 1024

_BARE_LF = re.compile(rb"(?<!\r)\n")


class State(enum.Enum):
    HEAD = enum.auto()
    FORWARDING = enum.auto()
    APP = enum.auto()
    LINGERING = enum.auto()


class App(Protocol):
    """One request handed to FastAPI."""

    def feed(self, data: bytes, /) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def connection_lost(self, exc: Exception | None, /) -> None: ...


class Hall:
    """What the connections of a listener share. `start_app` hands a request's head over to FastAPI."""

    def __init__(
        self, gateway: Gateway, start_app: Callable[[Front, asyncio.Transport, bytes], App], *, connections: int
    ) -> None:
        self.gateway = gateway
        self.start_app = start_app
        self.limit = connections
        self.fronts: set[Front] = set()
        self.draining = False
        self._empty = asyncio.Event()

    def sweep(self) -> None:
        """Enforce the deadlines of all connections; called once a second."""
        now = self.gateway.clock()
        for front in tuple(self.fronts):
            front.sweep(now)

    def drain(self) -> None:
        """Take no further request on any connection; those under way go on to their end."""
        self.draining = True
        for front in tuple(self.fronts):
            front.drain()
        self._note_empty()

    async def emptied(self) -> None:
        """Wait until the last connection of a draining hall is gone."""
        await self._empty.wait()

    def leave(self, front: Front) -> None:
        self.fronts.discard(front)
        self._note_empty()

    def _note_empty(self) -> None:
        if self.draining and not self.fronts:
            self._empty.set()


class Front(asyncio.Protocol):
    """One connection of a connector, a browser or an agent that enrols."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._state = State.HEAD
        self._unread = b""
        self._body: Body | None = None
        self._exchange: Exchange | None = None
        self._app: App | None = None
        self._request: RequestHead | None = None
        self._writing_paused = False
        self._half_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._moved = self._hall.gateway.clock()
        self._unsent = 0
        self._idle = False
        if len(self._hall.fronts) >= self._hall.limit:
            self._transport.abort()
            return
        self._hall.fronts.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._hall.leave(self)
        self._state = State.LINGERING
        exchange, self._exchange = self._exchange, None
        app, self._app = self._app, None
        if exchange:
            exchange.client_gone()
        if app:
            app.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._state is State.LINGERING:
            return
        if self._body and not self._body.ended:
            self._moved = self._hall.gateway.clock()
            self._pass_body(data)
            return
        self._unread = self._unread + data if self._unread else data
        if self._state is State.HEAD:
            self._read_head()
        elif len(self._unread) > PIPELINED_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """A client may half-close after its request and still be answered."""
        self._half_closed = True
        if self._state in {State.HEAD, State.LINGERING} or (self._body and not self._body.ended):
            self._transport.close()
        return True

    def pause_writing(self) -> None:
        self._writing_paused = True
        self._moved = self._hall.gateway.clock()
        if self._exchange:
            self._exchange.client_paused()
        elif self._app:
            self._app.pause_writing()

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._exchange:
            self._exchange.client_resumed()
        elif self._app:
            self._app.resume_writing()

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def finish(self, *, persistent: bool) -> None:
        """The answer is written whole: on to the next request, or an orderly end."""
        body_ended = self._body is None or self._body.ended
        self._exchange = self._app = self._body = None
        if not persistent or not body_ended or self._half_closed or self._hall.draining:
            self._close_gently(unread=not body_ended)
            return
        self._state = State.HEAD
        self._moved = self._hall.gateway.clock()
        self._idle = True
        self._transport.resume_reading()
        if self._unread:
            asyncio.get_running_loop().call_soon(self._read_head)

    def fail(self, error: GatewayError) -> None:
        """Answer with an error of the relay's own, in PrestaShop's shape."""
        request = self._request
        body_ended = self._body is None or self._body.ended
        persistent = bool(request and request.persistent and body_ended and not self._hall.draining)
        json_wanted = bool(request and request.fields.json)
        head_only = bool(request and request.method == b"HEAD")
        self._transport.write(answer(error, json_wanted=json_wanted, head_only=head_only, close=not persistent))
        self.finish(persistent=persistent)

    def abort(self) -> None:
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """Look whether something that was expected has taken too long."""
        waited = now - self._moved
        if self._state is State.HEAD:
            limit = IDLE_SECONDS if self._idle and not self._unread else HEAD_SECONDS
            if waited > limit:
                self._time_out()
        elif self._state is State.LINGERING:
            if self._transport.get_write_buffer_size():
                self._watch_reader(now, waited)
            elif waited > LINGER_SECONDS:
                self._transport.abort()
        elif self._writing_paused:
            self._watch_reader(now, waited)
        elif self._body and not self._body.ended:
            if waited > STALL_SECONDS and self._state is State.FORWARDING:
                self._give_up(GatewayError("request_timeout"))
        elif self._exchange and self._hall.gateway.overdue(self._exchange, now):
            self._exchange.fail(GatewayError("store_timeout"))

    def drain(self) -> None:
        if self._state is State.HEAD and not self._unread:
            self._transport.close()

    def _watch_reader(self, now: float, waited: float) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._moved = unsent, now
        elif waited > STALL_SECONDS:
            self._transport.abort()

    def _time_out(self) -> None:
        if self._unread:
            self._give_up(GatewayError("request_timeout"))
        else:
            self._transport.close()

    def _read_head(self) -> None:
        if self._state is not State.HEAD:
            return
        if self._idle:
            self._idle, self._moved = False, self._hall.gateway.clock()
        if self._unread.startswith(b"\r\n"):
            self._unread = self._unread[2:]
        end = self._unread.find(b"\r\n\r\n")
        try:
            if end < 0:
                self._bound_head(len(self._unread))
                return
            self._bound_head(end)
            head, self._unread = self._unread[: end + 2], self._unread[end + 4 :]
            request = read_request(head)
            self._start(request, head)
        except MalformedError as error:
            self._request = None
            self._give_up(GatewayError(MALFORMED_BY_STATUS[error.status], error.detail))

    def _bound_head(self, size: int) -> None:
        """Refuse early what is too long already, and line ends that no CRLF will ever follow."""
        if size > REQUEST_LINE_BYTES and self._unread.find(b"\r\n", 0, REQUEST_LINE_BYTES) < 0:
            raise MalformedError("the request line is too long", 414)
        if size > HEAD_BYTES:
            raise MalformedError("the header is too large", 431)
        if size == len(self._unread) and _BARE_LF.search(self._unread):
            raise MalformedError("a line ends in LF without CR (RFC 9112 §2.2)")

    def _start(self, request: RequestHead, head: bytes) -> None:
        self._request = request
        if request.method in {b"TRACE", b"CONNECT"}:
            raise MalformedError("TRACE and CONNECT are not forwarded")
        if request.target == b"*":
            self._answer_asterisk(request)
            return
        expects = request.fields.expects
        if expects is not None and expects.lower() != b"100-continue":
            raise MalformedError("the expectation is not known", 417)
        self._body = _body_of(request)
        if request.target.startswith(b"/to/") or not request.target.startswith(b"/"):
            self._forward(request)
        else:
            self._hand_over(head)

    def _forward(self, request: RequestHead) -> None:
        self._state = State.FORWARDING
        if request.fields.navigates:
            self.fail(GatewayError("navigation_refused"))
            return
        if request.fields.upgrade:
            self.fail(GatewayError("path_refused", "Upgrade is not forwarded"))
            return
        try:
            target = judge(request.target)
        except RefusedTargetError as error:
            self.fail(GatewayError("path_refused", error.detail))
            return
        gateway = self._hall.gateway
        self._exchange = Exchange(self, request, target, gateway, gateway.clock())
        gateway.begin(self._exchange)
        self._pass_unread()

    def _hand_over(self, head: bytes) -> None:
        self._state = State.APP
        self._app = self._hall.start_app(self, self._transport, head + b"\r\n")
        self._pass_unread()

    def _answer_asterisk(self, request: RequestHead) -> None:
        """`OPTIONS *` asks the server itself (RFC 9110 §9.3.7); no other method may."""
        if request.method != b"OPTIONS" or request.has_body:
            raise MalformedError("`*` goes with OPTIONS only")
        self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.finish(persistent=request.persistent)

    def _pass_unread(self) -> None:
        if self._body and not self._body.ended and self._unread:
            data, self._unread = self._unread, b""
            self._pass_body(data)

    def _pass_body(self, data: bytes) -> None:
        body = self._body
        if body is None:
            return
        try:
            passed, self._unread = body.take(data)
        except MalformedError as error:
            self._give_up(GatewayError(MALFORMED_BY_STATUS[error.status], error.detail))
            return
        if self._exchange:
            self._exchange.take_body(passed, ended=body.ended)
        elif self._app and passed:
            self._app.feed(passed)

    def _give_up(self, error: GatewayError) -> None:
        """The request cannot be understood to its end: answer if nothing was answered yet, then close."""
        exchange, self._exchange = self._exchange, None
        app, self._app = self._app, None
        if app:
            self._transport.abort()
            app.connection_lost(None)
            return
        if exchange:
            if exchange.answering:
                self._transport.abort()
                return
            exchange.client_gone()
        request = self._request
        json_wanted = bool(request and request.fields.json)
        head_only = bool(request and request.method == b"HEAD")
        self._transport.write(answer(error, json_wanted=json_wanted, head_only=head_only, close=True))
        self._body = None
        self._close_gently(unread=True)

    def _close_gently(self, *, unread: bool) -> None:
        if (unread or self._unread) and not self._half_closed and self._transport.can_write_eof():
            self._state = State.LINGERING
            self._moved = self._hall.gateway.clock()
            self._unread = b""
            self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._state = State.LINGERING
            self._transport.close()


def _body_of(request: RequestHead) -> Body | None:
    if request.fields.chunked:
        return Chunked()
    return Counted(request.fields.length) if request.fields.length else None
