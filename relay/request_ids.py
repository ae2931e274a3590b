"""What a request is called: in answers of the relay's own, in every log line about it, and to the agent."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from random import getrandbits

import structlog

HEADER = "Postern-Request"
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


def new() -> int:
    """Random: counting up, it would tell tenants of each other."""
    return getrandbits(64)


def text(number: int) -> str:
    return f"req_{number:016x}"


def bind(number: int) -> None:
    """Name the request in every log line of this task, and of those that it begins."""
    structlog.contextvars.bind_contextvars(request=text(number))


def naming(number: int) -> AbstractContextManager[None]:
    """The same for the length of a block."""
    return structlog.contextvars.bound_contextvars(request=text(number))


def bound() -> str:
    """The id of the request that this task serves; empty: of none."""
    return str(structlog.contextvars.get_contextvars().get("request", ""))


def bound_number() -> int:
    """The same as a number; 0: of none."""
    return int(bound().removeprefix("req_") or "0", 16)


def trace_of(traceparent: bytes | None) -> str:
    """The trace id of a `traceparent` field (W3C Trace Context, §3.2.2); empty: there is none, or it is not valid."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return match[1].decode() if match else ""
