"""One request and its answer, passed between a connector's connection and a store's, as the bytes come.

Nothing is held: what a store sends is written to the connector in the same loop turn, and whichever side is slow
pauses the other. What decides between sending again and giving up is here too (design promise 3).
"""

from __future__ import annotations

from random import getrandbits
from typing import Protocol

from relay.gateway.body import Body, Chunked, Counted, UntilClose
from relay.gateway.errors import GatewayError, Outcome
from relay.gateway.http1 import BARE_LF, HEAD_BYTES, AnswerHead, MalformedError, RequestHead, read_answer
from relay.gateway.target import Target
from relay.gateway.way import DIRECT, Way
from relay.records import Connection

INTERIM_ANSWERS = 16
"""1xx answers to one request; more are a flood."""
EARLY_BODY_BYTES = 64 * 1024
"""Request body taken in before there is a line to the store."""
_GUARD = b"Content-Security-Policy: sandbox\r\nX-Content-Type-Options: nosniff\r\n"
"""A tenant's store must never run script beside the console (design section 5). Browsers heed the first `nosniff`."""


class Client(Protocol):
    """The connector's connection, as an exchange needs it."""

    def write(self, data: bytes, /) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def finish(self, *, persistent: bool) -> None:
        """The answer is complete."""

    def fail(self, error: GatewayError, /) -> None:
        """There is no answer of the store; nothing of one has been written."""

    def abort(self) -> None:
        """The answer broke off: close so that it never looks complete."""


class Line(Protocol):
    """The store's connection, as an exchange needs it."""

    def write(self, data: bytes, /) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def release(self, *, reusable: bool) -> None:
        """The exchange is done with it."""


class Dispatcher(Protocol):
    """Who finds a line for an exchange, and hears when it is over."""

    @property
    def draining(self) -> bool:
        """Whether connectors are told to come back on another connection."""

    def again(self, exchange: Exchange, /) -> None:
        """Nothing was answered and nothing can have been changed: send it on a new line."""

    def over(self, exchange: Exchange, /) -> None: ...


class Exchange:
    """From a judged request to its last byte of answer. Made by the front, given a line by the gateway."""

    __slots__ = (
        "_answer", "_answer_body", "_buffer", "_dispatcher", "_early", "_interim", "_kept", "_line", "_over",
        "_written", "background", "began", "beside", "bytes_in", "bytes_out", "client", "connection", "ended", "era",
        "error", "first_at", "kept", "keyless", "left", "look", "number", "opener", "own", "progress", "request",
        "request_ended", "retried", "sent_at", "store_key", "target", "trial", "way",
    )  # fmt: skip

    def __init__(
        self, client: Client, request: RequestHead, target: Target, dispatcher: Dispatcher, now: float
    ) -> None:
        self.client = client
        self.request = request
        self.target = target
        self.connection: Connection | None = None
        self.store_key = b""
        """What no answer may carry, once the connection is known."""
        self.own: Connection | None = None
        """The connection of an exchange that the relay itself began."""
        self.background = False
        """Whether nobody waits for it: whatever else is asked of the store goes first."""
        self.beside = 0
        """Exchanges at its store when it was let go, itself included."""
        self.kept = False
        """Whether it has the turn there that is kept for what is light."""
        self.era = 0
        """Of the store's limit then."""
        self.look = False
        """Whether it only looks whether the store is well: it is nobody's traffic, and needs no turn there."""
        self.trial = False
        """Whether a person asks with it what is wrong: it goes also where the store wants to be left alone."""
        self.keyless = False
        """Whether it goes without the store's key."""
        self.retried = False
        self.request_ended = not request.has_body
        self.number = getrandbits(64)
        """What tells it from all others; counting up, it would tell tenants of each other."""
        self.opener = 0
        """The number of the exchange for which its line was opened; 0: it had no line."""
        self.way: Way = DIRECT
        """That of the line on which it was sent last."""
        self.progress = self.began = now
        self.sent_at = self.first_at = self.ended = 0.0
        """When its head was given to a line (the last, of two); when the store's final answer began; when it
        was over. Monotonic seconds, as all; 0: never.
        """
        self.error: GatewayError | None = None
        """What the relay answered itself, or why the answer broke off."""
        self.left = False
        """Whether the connector went before the end."""
        self.bytes_in = self.bytes_out = 0
        """Of the bodies, as they were passed on."""
        self._dispatcher = dispatcher
        self._line: Line | None = None
        self._early = bytearray()
        self._buffer = b""
        self._answer: AnswerHead | None = None
        self._answer_body: Body | None = None
        self._interim = 0
        self._kept = False
        """Whether the answer's head has told the connector that its connection stays open."""
        self._written = self._over = False

    @property
    def id(self) -> str:
        """What logs call it, and the relay's own answers; a store's answer stays as it is."""
        return f"req_{self.number:016x}"

    @property
    def status(self) -> int:
        """The store's; 0: it gave none."""
        return self._answer.status if self._answer else 0

    @property
    def answer_fields(self) -> bytes:
        """The lines of the store's final answer that are passed on; nothing before it has come."""
        return self._answer.passed if self._answer else b""

    @property
    def retryable(self) -> bool:
        """GET and HEAD that only read may be sent again (PUT not: PrestaShop mails again)."""
        return self.request.method in {b"GET", b"HEAD"} and self.target.only_reads and not self.request.has_body

    def finished(self) -> bool:
        """Whether it is over: answered, failed, or the connector gone."""
        return self._over

    @property
    def sent(self) -> bool:
        return self._line is not None

    @property
    def answering(self) -> bool:
        """Whether bytes of the answer have gone to the connector."""
        return self._written

    @property
    def _heard(self) -> bool:
        """Whether a byte of an answer has come, interim ones included."""
        return bool(self._buffer or self._interim or self._written)

    def send(self, line: Line, head: bytes) -> None:
        """Begin on a line: the rewritten head, and what has come of the body."""
        self._line = line
        self._buffer = b""
        self.sent_at = self.progress
        early, self._early = self._early, bytearray()
        if early and not self.request_ended:
            self.client.resume_reading()
        line.write(head + early if early else head)

    def take_body(self, data: bytes, *, ended: bool) -> None:
        """The next bytes of the request's body, framed as the store shall get them."""
        self.request_ended = ended
        if self._over or not data:
            return
        self.bytes_in += len(data)
        if self._line:
            self._line.write(data)
            return
        self._early += data
        if len(self._early) > EARLY_BODY_BYTES:
            self.client.pause_reading()

    def client_paused(self) -> None:
        if self._line:
            self._line.pause_reading()

    def client_resumed(self) -> None:
        if self._line:
            self._line.resume_reading()

    def client_gone(self) -> None:
        """The connector left; the store's connection cannot be used again."""
        self.left = self.left or not self._over
        self._end()
        self._release(reusable=False)

    def store_data(self, data: bytes, now: float) -> None:
        self.progress = now
        try:
            if self._answer_body:
                self._pass_body(data)
            else:
                self._read_heads(self._buffer + data if self._buffer else data)
        except MalformedError as error:
            self._break_off(GatewayError("store_bad_answer", error.detail, Outcome.ANSWERED))

    def store_eof(self) -> None:
        """The store will send no more: the end of a body without length, else an early end."""
        if isinstance(self._answer_body, UntilClose):
            self._complete(b"", reusable=False)
        else:
            self.store_lost("store_closed_early")

    def store_lost(self, code: str) -> None:
        """The line broke; `code` says on which hop."""
        if self._over:
            return
        if not self._heard and self.retryable and not self.retried:
            self.retried = True
            self._release(reusable=False)
            self._dispatcher.again(self)
            return
        self._break_off(GatewayError(code, outcome=Outcome.ANSWERED if self._answer else Outcome.SENT_UNKNOWN))

    def store_paused(self) -> None:
        if not self.request_ended:
            self.client.pause_reading()

    def store_resumed(self) -> None:
        if not self.request_ended:
            self.client.resume_reading()

    def fail(self, error: GatewayError) -> None:
        """End it with an error of the relay's own."""
        if self._over:
            return
        if error.outcome is Outcome.NOT_SENT and (self.sent or self.retried):
            error.outcome = Outcome.SENT_UNKNOWN
        self._break_off(error)

    def _read_heads(self, data: bytes) -> None:
        """Pass interim answers on (RFC 9110 §15.2), then the final head with what follows it."""
        while not self._answer:
            end = data.find(b"\r\n\r\n")
            if (len(data) if end < 0 else end) > HEAD_BYTES:
                raise MalformedError("the store's header is larger than 64 KiB")
            if end < 0:
                if BARE_LF.search(data):
                    raise MalformedError("a line of the store's header ends in LF without CR")
                self._buffer = data
                return
            head, data = read_answer(data[: end + 2]), data[end + 4 :]
            if head.status >= 200:
                self._begin_answer(head, data)
            else:
                self._pass_interim(head)

    def _pass_interim(self, head: AnswerHead) -> None:
        self._interim += 1
        if head.status == 101 or self._interim > INTERIM_ANSWERS:
            raise MalformedError("the store switched protocols unasked, or sent too many interim answers")
        if self.request.minor == 1:
            self.client.write(self._without_key(head.status_line + head.passed) + b"\r\n")

    def _begin_answer(self, head: AnswerHead, data: bytes) -> None:
        self._answer = head
        self._buffer = b""
        self.first_at = self.progress
        self._answer_body = body = self._body_of(head)
        passed, rest = body.take(data) if data and not body.ended else (b"", data)
        self.bytes_out = len(passed)
        self._written = True
        self.client.write(self._client_head(head) + passed)
        if body.ended:
            self._complete(rest, reusable=not head.close)

    def _pass_body(self, data: bytes) -> None:
        body = self._answer_body
        if not body:
            return
        passed, rest = body.take(data)
        if passed:
            self.bytes_out += len(passed)
            self.client.write(passed)
        if body.ended:
            self._complete(rest, reusable=self._answer is not None and not self._answer.close)

    def _body_of(self, head: AnswerHead) -> Body:
        if self.request.method == b"HEAD" or head.bodiless:
            return Counted(0)
        if head.chunked:
            return Chunked(plain=self.request.minor == 0)
        return Counted(head.length) if head.length is not None else UntilClose()

    def _persistent(self) -> bool:
        plain_chunks = self.request.minor == 0 and self._answer is not None and self._answer.chunked
        delimited = not isinstance(self._answer_body, UntilClose) and not plain_chunks
        return self.request.persistent and delimited and not self._dispatcher.draining

    def _client_head(self, head: AnswerHead) -> bytes:
        lines = [head.status_line, _GUARD, head.passed]
        if head.chunked and self.request.minor == 1:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        self._kept = self._persistent()
        if not self._kept:
            lines.append(b"Connection: close\r\n")
        elif self.request.minor == 0:
            lines.append(b"Connection: keep-alive\r\n")
        lines.append(b"\r\n")
        return self._without_key(b"".join(lines))

    def _without_key(self, fields: bytes) -> bytes:
        """No answer ever carries the store's key: a redirect by PrestaShop repeats `ws_key` in Location."""
        key = self.store_key
        return fields.replace(key, self.target.ws_key or b"") if key and key in fields else fields

    def _complete(self, rest: bytes, *, reusable: bool) -> None:
        self._end()
        self._release(reusable=reusable and not rest and self.request_ended)
        self.client.finish(persistent=self._kept and self.request_ended)

    def _break_off(self, error: GatewayError) -> None:
        self.error = error
        self._end()
        self._release(reusable=False)
        if self._written:
            self.client.abort()
        else:
            self.client.fail(error)

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._dispatcher.over(self)

    def _release(self, *, reusable: bool) -> None:
        line, self._line = self._line, None
        if line:
            line.release(reusable=reusable)
