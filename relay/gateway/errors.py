"""Whose fault is it: every failure that the relay answers under /to/, in one table, in PrestaShop's own shape."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from email.utils import formatdate
from enum import StrEnum
from xml.sax.saxutils import escape


class Origin(StrEnum):
    CALLER = "caller"
    RELAY = "relay"
    TUNNEL = "tunnel"
    AGENT = "agent"
    STORE = "store"


class Outcome(StrEnum):
    """What became of the request."""

    NOT_SENT = "not_sent"
    SENT_UNKNOWN = "sent_unknown"
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class Failure:
    """One row: the stable code, the number in PrestaShop's `<code>` (9000 and up: none of PrestaShop's own)."""

    code: str
    number: int
    status: int
    reason: str
    origin: Origin
    sentence: str
    retry_after: int | None = None


def _table(*rows: Failure) -> dict[str, Failure]:
    return {row.code: row for row in rows}


FAILURES = _table(
    Failure("malformed", 9000, 400, "Bad Request", Origin.CALLER, "The request is not plain HTTP/1.1"),
    Failure("path_refused", 9001, 400, "Bad Request", Origin.CALLER, "This address is not forwarded"),
    Failure("unauthenticated", 9002, 401, "Unauthorized", Origin.CALLER,
            "Send the connection's access key as HTTP Basic user, or an API token as Bearer"),
    Failure("forbidden", 9003, 403, "Forbidden", Origin.CALLER, "This credential may not do that"),
    Failure("not_found", 9004, 404, "Not Found", Origin.CALLER, "There is no such connection"),
    Failure("navigation_refused", 9005, 403, "Forbidden", Origin.CALLER,
            "This address is for programs. To look at it, call it with curl or another HTTP client, not in a browser"),
    Failure("expectation_failed", 9006, 417, "Expectation Failed", Origin.CALLER, "Only Expect: 100-continue is known"),
    Failure("uri_too_long", 9007, 414, "URI Too Long", Origin.CALLER, "The address is longer than 16 KiB"),
    Failure("head_too_large", 9008, 431, "Request Header Fields Too Large", Origin.CALLER,
            "The header is larger than 64 KiB or has more than 100 fields"),
    Failure("coding_unknown", 9009, 501, "Not Implemented", Origin.CALLER, "The only transfer coding is `chunked`"),
    Failure("request_timeout", 9010, 408, "Request Timeout", Origin.CALLER, "The request did not arrive in time"),
    Failure("account_busy", 9020, 429, "Too Many Requests", Origin.RELAY,
            "This account has as many requests under way as its share allows", 1),
    Failure("store_busy", 9021, 503, "Service Unavailable", Origin.RELAY,
            "This store is given as many requests at once as it may have, and the queue is full", 2),
    Failure("relay_overloaded", 9022, 503, "Service Unavailable", Origin.RELAY, "The relay is at its limits", 2),
    Failure("relay_unavailable", 9023, 503, "Service Unavailable", Origin.RELAY,
            "The relay cannot look the connection up at the moment", 5),
    Failure("connection_changed", 9025, 503, "Service Unavailable", Origin.RELAY,
            "The connection was changed while the request waited", 1),
    Failure("relay_fault", 9024, 500, "Internal Server Error", Origin.RELAY, "Something went wrong in the relay"),
    Failure("agent_offline", 9030, 503, "Service Unavailable", Origin.AGENT,
            "The agent of this connection is not connected. Look whether its machine and its service are running", 10),
    Failure("agent_busy", 9031, 503, "Service Unavailable", Origin.AGENT, "The agent has too many connections open", 2),
    Failure("agent_fault", 9032, 502, "Bad Gateway", Origin.AGENT, "Something went wrong in the agent; see its log"),
    Failure("store_not_published", 9033, 502, "Bad Gateway", Origin.AGENT,
            "The agent does not publish this store. Add it to the agent with --store"),
    Failure("tunnel_lost", 9040, 502, "Bad Gateway", Origin.TUNNEL,
            "The tunnel to the agent broke, and the request may or may not have been carried out"),
    Failure("store_dns", 9050, 502, "Bad Gateway", Origin.STORE, "The agent's network does not know the store's name"),
    Failure("store_refused", 9051, 502, "Bad Gateway", Origin.STORE, "The store's machine refuses the connection"),
    Failure("store_unreachable", 9052, 502, "Bad Gateway", Origin.STORE, "There is no way to the store's machine"),
    Failure("store_timeout", 9053, 504, "Gateway Timeout", Origin.STORE, "The store did not answer in time"),
    Failure("store_tls", 9054, 502, "Bad Gateway", Origin.STORE, "The store's certificate could not be verified"),
    Failure("store_forbidden", 9057, 502, "Bad Gateway", Origin.CALLER,
            "The relay calls public addresses only. Use mode on-premise, with an agent in the store's network"),
    Failure("store_closed_early", 9055, 502, "Bad Gateway", Origin.STORE,
            "The store closed the connection without a whole answer"),
    Failure("store_bad_answer", 9056, 502, "Bad Gateway", Origin.STORE, "The store's answer is not plain HTTP/1.1"),
)  # fmt: skip

MALFORMED_BY_STATUS = {400: "malformed", 414: "uri_too_long", 417: "expectation_failed", 431: "head_too_large",
                       501: "coding_unknown"}  # fmt: skip


class GatewayError(Exception):
    """A failure on the way of one request. `detail` is for people; `outcome` says whether the store may have it."""

    def __init__(
        self, code: str, detail: str = "", outcome: Outcome = Outcome.NOT_SENT, *, retry_after: int | None = None
    ) -> None:
        """`retry_after` in seconds, where more is known than the table says."""
        super().__init__(f"{code}: {detail}")
        self.failure = FAILURES[code]
        if retry_after is not None:
            self.failure = replace(self.failure, retry_after=retry_after)
        self.detail = detail
        self.outcome = outcome

    @property
    def message(self) -> str:
        return f"{self.failure.sentence}: {self.detail}." if self.detail else f"{self.failure.sentence}."

    @property
    def retryable(self) -> bool:
        return self.failure.retry_after is not None and self.outcome is Outcome.NOT_SENT


def answer(
    error: GatewayError, *, json_wanted: bool, head_only: bool, close: bool, request: str | None = None
) -> bytes:
    """The whole HTTP answer, in the shape that PrestaShop gives its own errors, so that stock clients show it.

    `request` is the id of the exchange that failed.
    """
    failure = error.failure
    body = _json(failure.number, error.message) if json_wanted else _xml(failure.number, error.message)
    lines = [
        f"HTTP/1.1 {failure.status} {failure.reason}",
        f"Content-Type: {'application/json' if json_wanted else 'text/xml;charset=utf-8'}",
        f"Content-Length: {len(body)}",
        f"Date: {formatdate(usegmt=True)}",
        "Cache-Control: no-store",
        "Content-Security-Policy: sandbox",
        "X-Content-Type-Options: nosniff",
        f"Postern-Error: {failure.code}",
        f"Postern-Origin: {failure.origin}",
        f"Postern-Outcome: {error.outcome}",
    ]
    if request:
        lines.append(f"Postern-Request: {request}")
    if failure.status == 401:
        lines.append('WWW-Authenticate: Basic realm="Postern: the access key of the connection as user, no password"')
    if error.retryable:
        lines.append(f"Retry-After: {failure.retry_after}")
    if close:
        lines.append("Connection: close")
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head if head_only else head + body


def _json(number: int, message: str) -> bytes:
    return json.dumps({"errors": [{"code": number, "message": message}]}, ensure_ascii=False).encode()


def _xml(number: int, message: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<prestashop xmlns:xlink="http://www.w3.org/1999/xlink">\n<errors>\n'
        f"<error>\n<code><![CDATA[{number}]]></code>\n<message>{escape(message)}</message>\n</error>\n"
        "</errors>\n</prestashop>\n"
    ).encode()
