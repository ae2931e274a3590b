"""Bodies with a bound: how a request's body is read whole, and when it is refused."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.requests import ClientDisconnect

from agent.wire.limits import ENROLMENT_BYTES
from relay.api.problems import ProblemError

BODY_BYTES = 1024 * 1024
"""Largest body of an account's request: a connection with its own CA bundle stays far below."""
BODY_SECONDS = 30.0
"""Deadline for the whole body, so that a slow sender cannot keep a place."""


async def read_body(request: Request, most: int) -> bytes:
    """The body, at most `most` bytes. Raises ProblemError `body_too_large`, `malformed`."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > most:
        raise _too_large(most)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(request, most)
    except TimeoutError:
        raise ProblemError("malformed", f"the body did not arrive within {BODY_SECONDS:.0f} s") from None
    except ClientDisconnect:
        raise ProblemError("malformed", "the body ended early") from None


def check_json(request: Request) -> None:
    """Raises ProblemError `not_json` unless the body is declared as JSON."""
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != "application/json":
        raise ProblemError("not_json", "send the body as JSON, with Content-Type: application/json")


async def _read(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise _too_large(most)
    return bytes(body)


def _too_large(most: int) -> ProblemError:
    return ProblemError("body_too_large", f"a body here has at most {most // 1024} KiB")


__all__ = ["BODY_BYTES", "ENROLMENT_BYTES", "check_json", "read_body"]
