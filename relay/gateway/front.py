"""The relay's own protocol on the HTTP listener: judges every head, serves `/to/` itself, hands the rest to FastAPI.

The choice is made per request, since reverse proxies send `/to/` and `/v1` down the same connection. Stock servers
lower-case names, answer `Expect` themselves, cannot pass 1xx on and have no deadline for headers; this one does none
of that. One request of a connection is under way at a time; what was pipelined behind it waits in `_unread`.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import re
import socket
import struct
from typing import cast

import structlog

from relay.gateway.body import Body, body_of
from relay.gateway.errors import MALFORMED_BY_STATUS, GatewayError, Outcome, answer
from relay.gateway.exchange import Exchange
from relay.gateway.hall import App, Hall
from relay.gateway.http1 import BARE_LF, HEAD_BYTES, REQUEST_LINE_BYTES, MalformedError, RequestHead, read_request
from relay.gateway.sockets import bound_unsent
from relay.gateway.target import RefusedTargetError, asks_for_json, judge

log = structlog.get_logger()

HEAD_SECONDS = 10.0
"""For a whole head, from its first byte (or the connection's beginning) on."""
IDLE_SECONDS = 75.0
"""Between two requests: longer than the pools of common clients keep a connection."""
PARTING_SECONDS = 1.0
"""When the relay is about to leave: for a request that may be on its way, on a connection that says nothing."""
STALL_SECONDS = 60.0
"""A request body, or a reader, that does not move for so long is cut."""
LEAST_BYTES = 1024
"""What counts as moving: a byte now and then would hold a connection, and a turn at the store, for ever."""
LINGER_SECONDS = 2.0
"""After a last answer, what still comes is read away, so that a reset does not destroy the answer (RFC 9112 §9.6)."""
PIPELINED_BYTES = 64 * 1024

_FORM = re.compile(rb"(?:(?i:https?)://[^/?#]+)?/(to/)?")
"""A path, or an address whose host our own Host replaces (RFC 9112 §3.2)."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends a reset, so that a body that lasts until close never looks complete when it is not."""


class State(enum.Enum):
    HEAD = enum.auto()
    FORWARDING = enum.auto()
    APP = enum.auto()
    LINGERING = enum.auto()


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
        self._reading_paused = False
        self._writing_paused = False
        self._half_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        bound_unsent(transport)
        self._moved = self._hall.gateway.clock()
        self._unsent = self._came = 0
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
            self._came += len(data)
            if self._came >= LEAST_BYTES:
                self._came, self._moved = 0, self._hall.gateway.clock()
            self._pass_body(data)
            return
        self._unread = self._unread + data if self._unread else data
        if self._state is State.HEAD and not self._writing_paused:
            self._read_head()
        elif len(self._unread) > PIPELINED_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """A client may half-close after its requests and still be answered."""
        self._half_closed = True
        if self._state is State.HEAD:
            self._read_head()
        elif self._state is State.LINGERING or (self._body and not self._body.ended):
            self._transport.close()
        return True

    def pause_writing(self) -> None:
        self._writing_paused = True
        self._moved = self._hall.gateway.clock()
        self._unsent = self._transport.get_write_buffer_size()
        if self._exchange:
            self._exchange.client_paused()
        elif self._app:
            self._app.pause_writing()

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._moved = self._hall.gateway.clock()
        if self._exchange:
            self._exchange.client_resumed()
        elif self._app:
            self._app.resume_writing()
        elif self._state is State.HEAD:
            self._next_request()

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def pause_reading(self) -> None:
        self._reading_paused = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._reading_paused = False
        self._moved = self._hall.gateway.clock()
        self._transport.resume_reading()

    def finish(self, *, persistent: bool) -> None:
        """The answer is written whole: on to the next request, or an orderly end."""
        body_ended = self._body is None or self._body.ended
        self._exchange = self._app = self._body = self._request = None
        if not persistent or not body_ended or (self._half_closed and not self._unread):
            self._close_gently(unread=not body_ended)
            return
        self._state = State.HEAD
        self._moved = self._hall.gateway.clock()
        self._idle = True
        if not self._writing_paused:
            self._next_request()

    def fail(self, error: GatewayError) -> None:
        """Answer with an error of the relay's own, in PrestaShop's shape."""
        request = self._request
        body_ended = self._body is None or self._body.ended
        persistent = bool(request and request.persistent and body_ended and not self._hall.draining)
        self._answer(error, close=not persistent, exchange=self._exchange)
        self.finish(persistent=persistent)

    def abort(self) -> None:
        if not self._transport.is_closing() or self._transport.get_write_buffer_size():
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """Look whether something that was expected has taken too long."""
        waited = now - self._moved
        if self._writing_paused:
            self._watch_reader(now, waited)
        elif self._state is State.HEAD:
            if waited > self._patience():
                self._time_out()
        elif self._state is State.LINGERING:
            if self._transport.get_write_buffer_size():
                self._watch_reader(now, waited)
            elif waited > LINGER_SECONDS:
                self._transport.abort()
        elif self._body and not self._body.ended and not self._reading_paused:
            if waited > STALL_SECONDS:
                self._give_up(GatewayError("request_timeout"))
        elif self._exchange and self._hall.gateway.overdue(self._exchange, self._moved, now):
            self._exchange.fail(GatewayError("store_timeout"))

    def drain(self) -> None:
        """What is answered from now on is the last; who says nothing is soon closed by `sweep`."""
        if self._app:
            self._app.shutdown()

    def _watch_reader(self, now: float, waited: float) -> None:
        unsent = self._transport.get_write_buffer_size()
        if self._unsent - unsent >= LEAST_BYTES:
            self._unsent, self._moved = unsent, now
        elif waited > STALL_SECONDS:
            self.abort()
        else:
            self._unsent = max(self._unsent, unsent)

    def _patience(self) -> float:
        """Seconds for a head to come whole."""
        if self._unread:
            return HEAD_SECONDS
        if self._hall.draining:
            return PARTING_SECONDS
        return IDLE_SECONDS if self._idle else HEAD_SECONDS

    def _time_out(self) -> None:
        if self._unread:
            self._give_up(GatewayError("request_timeout"))
        else:
            self._transport.close()

    def _next_request(self) -> None:
        self._transport.resume_reading()
        if self._unread or self._half_closed:
            asyncio.get_running_loop().call_soon(self._read_head)

    def _read_head(self) -> None:
        if self._state is not State.HEAD or self._writing_paused:
            return
        if self._idle:
            self._idle, self._moved = False, self._hall.gateway.clock()
        if self._unread.startswith(b"\r\n"):
            self._unread = self._unread[2:]
        end = self._unread.find(b"\r\n\r\n")
        try:
            if end < 0:
                self._bound_head(len(self._unread))
                if self._half_closed:
                    self._close_gently(unread=False)
                return
            self._bound_head(end)
            head, self._unread = self._unread[: end + 2], self._unread[end + 4 :]
            self._start(read_request(head), head)
        except MalformedError as error:
            self._request = None
            self._give_up(GatewayError(MALFORMED_BY_STATUS[error.status], error.detail))

    def _bound_head(self, size: int) -> None:
        """Refuse early what is too long already, and line ends that no CRLF will ever follow."""
        if size > REQUEST_LINE_BYTES and self._unread.find(b"\r\n", 0, REQUEST_LINE_BYTES) < 0:
            raise MalformedError("the request line is too long", 414)
        if size > HEAD_BYTES:
            raise MalformedError("the header is too large", 431)
        if size == len(self._unread) and BARE_LF.search(self._unread):
            raise MalformedError("a line ends in LF without CR (RFC 9112 §2.2)")

    def _start(self, request: RequestHead, head: bytes) -> None:
        self._request = request
        if request.method.upper() in {b"TRACE", b"TRACK", b"CONNECT"}:
            raise MalformedError("TRACE, TRACK and CONNECT are not forwarded")
        if request.target == b"*":
            self._answer_asterisk(request)
            return
        expects = request.fields.expects
        if expects is not None and expects.lower() != b"100-continue":
            raise MalformedError("the expectation is not known", 417)
        form = _FORM.match(request.target)
        if not form:
            raise MalformedError("the target is neither a path nor an http address")
        self._body = body_of(request)
        self._came = 0
        self._reading_paused = False
        if form[1]:
            self._forward(request)
        elif self._hall.is_tunnel(request):
            self._let_through(head)
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
        if self._hall.draining:
            self._app.shutdown()
        self._pass_unread()

    def _let_through(self, head: bytes) -> None:
        self._state = State.LINGERING
        rest, self._unread = self._unread, b""
        self._transport.resume_reading()
        self._hall.let_through(self, self._transport, head + b"\r\n", rest)

    def _answer_asterisk(self, request: RequestHead) -> None:
        """`OPTIONS *` asks the server itself (RFC 9110 §9.3.7); no other method may."""
        if request.method != b"OPTIONS" or request.has_body:
            raise MalformedError("`*` goes with OPTIONS only")
        persistent = request.persistent and request.minor == 1 and not self._hall.draining
        self._transport.write(b"HTTP/1.1 204 No Content\r\n%s\r\n" % (b"" if persistent else b"Connection: close\r\n"))
        self.finish(persistent=persistent)

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
        if body.ended:
            self._moved = self._hall.gateway.clock()
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
            answering = exchange.answering
            if exchange.sent:
                error.outcome = Outcome.SENT_UNKNOWN
            exchange.error = error
            exchange.client_gone()
            if answering:
                self.abort()
                return
        self._answer(error, close=True, exchange=exchange)
        self._close_gently(unread=True)

    def _answer(self, error: GatewayError, *, close: bool, exchange: Exchange | None) -> None:
        request = self._request
        json_wanted = head_only = False
        if request:
            json = request.fields.json
            json_wanted = asks_for_json(request.target) if json is None else json
            head_only = request.method == b"HEAD"
        id_ = exchange.id if exchange else self._hall.gateway.refuse(request, error)
        self._transport.write(answer(error, json_wanted=json_wanted, head_only=head_only, close=close, request=id_))

    def _close_gently(self, *, unread: bool) -> None:
        if (unread or self._unread) and not self._half_closed and self._transport.can_write_eof():
            self._state = State.LINGERING
            self._moved = self._hall.gateway.clock()
            self._unread = b""
            with contextlib.suppress(OSError):  # the client has reset it meanwhile: the loop is about to say so
                self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._state = State.LINGERING
            self._transport.close()
