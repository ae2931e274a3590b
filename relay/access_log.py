"""One line for each request that is over: what was asked, how it ended, and where its time went.

The lines are JSON written by hand: each costs a few microseconds of the core that forwards. None holds a query, a
header or a body, nor a part of a path that is long enough to be a key.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from typing import Literal

import structlog

from relay.gateway.errors import GatewayError
from relay.gateway.exchange import Exchange
from relay.gateway.http1 import RequestHead

PATH_CHARACTERS = 200
PATH_BYTES = 800
"""What is looked through and remembered of a longer one."""
METHOD_CHARACTERS = 20
KEY_CHARACTERS = 32
"""What is as long as a store's key, an access key or a token is not repeated."""
_PERHAPS_A_KEY = re.compile(rf"[^/]{{{KEY_CHARACTERS},}}")
_PROBES = frozenset({"/livez", "/readyz", "/metrics"})

log = structlog.get_logger()


Which = Literal["all", "failed", "none"]
"""Of which requests there are lines. `failed`: those that the relay refused or could not bring to an end, those that a
store answered with 5xx, and those whose caller left."""


class AccessLog:
    """`put` takes each line with its end."""

    def __init__(self, which: Which, put: Callable[[str], object], clock: Callable[[], float] = time.time) -> None:
        self._which = which
        self._put = put
        self._clock = clock
        self._second = 0
        self._moment = ""

    def over(self, exchange: Exchange) -> None:
        """An exchange has ended, whoever ended it."""
        if self._leaves_out(failed=exchange.error is not None or exchange.status >= 500 or exchange.left):
            return
        self._put(
            f'{{"event":"request","level":"info","timestamp":"{self._now()}","request":"req_{exchange.number:016x}",'
            f'"method":{_method(exchange.request.method)},"connection":"{exchange.target.connection}",'
            f'"path":{_path(exchange.target.path)},{_outcome(exchange)}{_way(exchange)},"bytes_in":{exchange.bytes_in},'
            f'"bytes_out":{exchange.bytes_out},"total_ms":{(exchange.ended - exchange.began) * 1000:.1f}}}\n'
        )

    def refused(self, request: RequestHead, number: int, error: GatewayError) -> None:
        """A request that got no further than its head; its address, which may be anything, is not repeated."""
        if self._which == "none":
            return
        self._put(
            f'{{"event":"request","level":"info","timestamp":"{self._now()}","request":"req_{number:016x}",'
            f'"method":{_method(request.method)},"path":null,"status":null,"code":"{error.failure.code}",'
            f'"origin":"{error.failure.origin}","outcome":"{error.outcome}"}}\n'
        )

    def answered(self, *, number: int, method: str, path: str, status: int, seconds: float, **more: str) -> None:
        """A request to the typed surface. `path` as the surface describes it, without what stood in its braces."""
        if (path in _PROBES and status < 400) or self._leaves_out(failed=status >= 500):
            return
        extra = "".join(f',"{name}":{quoted(value)}' for name, value in more.items() if value)
        self._put(
            f'{{"event":"request","level":"info","timestamp":"{self._now()}","request":"req_{number:016x}",'
            f'"method":{_method(method.encode())},"path":{quoted(path)},"status":{status}{extra},'
            f'"total_ms":{seconds * 1000:.1f}}}\n'
        )

    def _leaves_out(self, *, failed: bool) -> bool:
        return self._which != "all" and (self._which == "none" or not failed)

    def _now(self) -> str:
        now = self._clock()
        second = int(now)
        if second != self._second:
            self._second, self._moment = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._moment}.{int((now - second) * 1000):03d}Z"


def tell(line: str) -> None:
    """Say a line as the ordinary log says its own, for people who look on."""
    fields = json.loads(line)
    del fields["level"], fields["timestamp"]
    log.info(fields.pop("event"), **fields)


def _outcome(exchange: Exchange) -> str:
    error, status = exchange.error, exchange.status
    text = f'"status":{status}' if status else '"status":null'
    if error:
        failure = error.failure
        text += f',"code":"{failure.code}","origin":"{failure.origin}","outcome":"{error.outcome}"'
    if exchange.left:
        text += ',"left":true'
    return text + ',"retried":true' if exchange.retried else text


def _way(exchange: Exchange) -> str:
    """Through whom it went, and how long the hops took: waiting for a turn and a tunnel, and the store's silence."""
    text, connection, sent = "", exchange.connection, exchange.sent_at
    if connection:
        text = f',"account":"{connection.account}"'
        if connection.agent:
            text += f',"agent":"{connection.agent}"'
    if sent:
        text += f',"waited_ms":{(sent - exchange.began) * 1000:.1f}'
        if exchange.first_at:
            text += f',"store_ms":{(exchange.first_at - sent) * 1000:.1f}'
        if exchange.opener != exchange.number:
            text += f',"channel_of":"req_{exchange.opener:016x}"'
    trace = exchange.request.fields.trace
    return f'{text},"trace":"{trace}"' if trace else text


@functools.lru_cache(maxsize=64)
def _method(method: bytes) -> str:
    return quoted(method[:METHOD_CHARACTERS].decode("latin-1"))


def _path(target: bytes) -> str:
    path = target.partition(b"?")[0].partition(b"&")[0]
    if len(path) > PATH_BYTES:
        path = path[:PATH_BYTES].rpartition(b"/")[0]  # what is cut in two may have been a key
    return _quoted_path(path)


@functools.lru_cache(maxsize=4096)
def _quoted_path(raw: bytes) -> str:
    path = raw.decode("latin-1")
    return quoted(_PERHAPS_A_KEY.sub("…", path)[:PATH_CHARACTERS])
