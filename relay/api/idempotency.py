"""Creations that may be sent again: `Idempotency-Key` makes of every repeat the first one's answer."""

from __future__ import annotations

import json
from typing import Annotated

import structlog
from fastapi import Depends, Header, Request, Response

from relay.api.answers import Answer
from relay.api.parts import Serving
from relay.api.problems import invalid
from relay.database.engine import Database
from relay.database.errors import DatabaseUnavailable
from relay.database.once import KeyedRequest, Once
from relay.records import Caller

log = structlog.get_logger()

KEY_CHARACTERS = 255
REPLAYED = "Idempotency-Replayed"
_KEPT_HEADERS = ("etag", "location")


async def _keyed(
    request: Request,
    parts: Serving,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Chosen by the caller, new for each creation or change (a UUID, say). For an hour at least the "
            f"same request with the same key does nothing and is answered as the first was, with `{REPLAYED}: true`.",
            examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
        ),
    ] = None,
) -> Database:
    if key is None:
        return parts.database
    if not (1 <= len(key.strip()) <= len(key) <= KEY_CHARACTERS and key.isascii() and key.isprintable()):
        raise invalid([("Idempotency-Key", f"1 to {KEY_CHARACTERS} printable ASCII characters")])
    caller: Caller = request.state.caller
    content = b"\n".join((request.method.encode(), request.url.path.encode(), await request.body()))
    once = Once(parts.database, KeyedRequest(caller.account, caller.id, key, content))
    request.state.once = once
    return once


Creating = Annotated[Database, Depends(_keyed)]
"""The database to create in: with a key in the request, one that spends the key in the same transaction."""


async def keep(request: Request, response: Response) -> None:
    """After a creation: keep its answer, if it had a key. The creation stands even if that fails."""
    once = getattr(request.state, "once", None)
    if not isinstance(once, Once) or response.status_code != 201:
        return
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    kept = {"headers": headers, "body": json.loads(bytes(response.body))}
    try:
        await once.keep(json.dumps(kept).encode())
    except DatabaseUnavailable as error:
        log.warning("an answer was not kept for repeats", reason=str(error))


def replay(answer: bytes) -> Response:
    """The answer that was kept."""
    kept = json.loads(answer)
    return Answer(kept["body"], kept.get("status", 201), {**kept["headers"], REPLAYED: "true"})
