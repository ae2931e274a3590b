"""A call of the relay's own to a store: exchange, turn and lines as a connector's, the answer held in memory."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass

from relay.gateway.errors import GatewayError, Outcome
from relay.gateway.exchange import Exchange
from relay.gateway.gateway import Gateway
from relay.gateway.http1 import RequestFields, RequestHead
from relay.gateway.target import Target
from relay.records import Connection

BACKGROUND: ContextVar[bool] = ContextVar("BACKGROUND", default=False)
"""Whether this task works for nobody who waits: what it asks of a store comes after whatever somebody does wait for."""
LOOK_SECONDS = 1.0
"""Between two looks whether a store is silent for too long."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A store's answer. `fields` keep the store's spelling; `seconds` run from the call to the last byte, `served`
    from when it was sent to the first byte.
    """

    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    body: bytes
    seconds: float
    served: float = 0.0

    def field(self, name: str) -> str | None:
        """The first field of that name, in whatever spelling."""
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)


class OutOfTimeError(GatewayError):
    """No whole answer in time; what was not `sent` has only waited for its turn, or for a tunnel."""

    def __init__(self, seconds: float, *, sent: bool) -> None:
        super().__init__("store_timeout", f"no whole answer within {seconds:.0f} s", Outcome.SENT_UNKNOWN)
        self.sent = sent


async def call(  # the parts of a request
    gateway: Gateway,
    connection: Connection,
    path: str,
    *,
    method: str = "GET",
    fields: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
    limit: int,
    deadline: float,
    look: bool = False,
    trial: bool = False,
    keyless: bool = False,
) -> Answer:
    """Send one request to the connection's store. `path` begins with `/api` (its base path is put in front).

    Raises GatewayError: what a connector would be told, and `store_bad_answer` for a body of more than `limit` bytes,
    `store_timeout` after `deadline` seconds, or when the store has been silent for as long as its connection allows.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")
    head = RequestHead(method.encode(), path.encode(), 0, _fields(lines, len(body) or None))
    collector = _Collector(limit)
    target = Target(connection.id, path.encode(), None, overrides_method="method" in path, names_url=False)
    exchange = collector.exchange = Exchange(collector, head, target, gateway, began)
    exchange.look, exchange.trial, exchange.keyless = look, trial, keyless
    exchange.background = BACKGROUND.get()
    gateway.carry(exchange, connection)
    if body:
        exchange.take_body(body, ended=True)
    try:
        async with asyncio.timeout(deadline):
            await _answered(gateway, exchange, collector)
    except TimeoutError:
        exchange.client_gone()
        raise OutOfTimeError(loop.time() - began, sent=exchange.sent_at > 0) from None
    except asyncio.CancelledError:
        exchange.client_gone()
        raise
    return _read(bytes(collector.data), loop.time() - began, exchange.first_at - exchange.sent_at)


async def _answered(gateway: Gateway, exchange: Exchange, collector: _Collector) -> None:
    """Until the answer is whole. Raises TimeoutError, as a connector's exchange is ended by its front."""
    while not (await asyncio.wait([collector.done], timeout=LOOK_SECONDS))[0]:
        if gateway.overdue(exchange, exchange.progress, gateway.clock()):
            raise TimeoutError
    await collector.done


class _Collector:
    """The Client of such an exchange: gathers what a connector would have been sent, up to a limit."""

    exchange: Exchange

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._limit = limit

    def write(self, data: bytes) -> None:
        self.data += data
        if len(self.data) > self._limit and not self.done.done():
            self.done.set_exception(
                GatewayError("store_bad_answer", f"it is larger than {self._limit} bytes", Outcome.ANSWERED)
            )
            self.exchange.client_gone()

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def finish(self, *, persistent: bool) -> None:
        del persistent
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: GatewayError) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def abort(self) -> None:
        self.fail(GatewayError("store_closed_early", outcome=Outcome.ANSWERED))


def _fields(lines: bytes, length: int | None) -> RequestFields:
    """As of an HTTP/1.0 request, so that the answer's body comes without chunks."""
    return RequestFields(
        forwarded=lines,
        length=length,
        chunked=False,
        close=True,
        keep_alive=False,
        host=None,
        authorization=None,
        expects=None,
        upgrade=False,
        navigates=False,
        json=False,
    )


def _read(data: bytes, seconds: float, served: float) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    _, status, reason = first.split(" ", 2)
    pairs = tuple((name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in rest))
    return Answer(int(status), reason, pairs, body, seconds, served)
