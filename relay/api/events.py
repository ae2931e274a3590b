"""`/v1/events`: what happens, as it happens, as Server-Sent Events (HTML Standard, section 9.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Any

from fastapi import Header, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from relay.api.answers import HEADERS
from relay.api.authentication import AccountNamed, StatusCaller, account_router, authenticate, narrowed
from relay.api.openapi import refusals
from relay.api.parts import Parts, Serving
from relay.api.problems import ProblemError
from relay.api.shares import ShareExceededError
from relay.database.errors import DatabaseUnavailable
from relay.database.records import EVERY_ACCOUNT, Accounts
from relay.health.feed import MissedError, Notice, Subscription

EVENT_STREAM = "text/event-stream"
LOOK_SECONDS = 1.0
"""How often it is asked whether the token is still good, and whether the relay is about to leave."""
QUIET_LOOKS = 5
"""After so many without an event a comment is sent: no proxy takes the line for dead, and who has left is noticed."""
AGAIN_MILLISECONDS = 2000
"""When a browser comes back after the end."""

router = account_router("/v1/events", "events")

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="Go on after this event; browsers send it by themselves.", max_length=32),
]


@router.get(
    "",
    summary="Follow what happens",
    responses=refusals("account_busy")
    | {
        200: {
            "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
            "description": "Events, until somebody leaves.",
        }
    },
    response_class=StreamingResponse,
)
async def get_events(
    parts: Serving,
    asking: StatusCaller,
    request: Request,
    account: AccountNamed = None,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """Each event has an `id`, a kind (`agent.offline`, `store.unreachable`, `changed`, …) and `data`: a JSON object
    with `at`, `account`, `agent`, `connection` and `details`.

    What came since `Last-Event-ID` is told first. Where that is no longer known, `missed` says to look at everything
    anew. The stream ends when its token does, and when this node leaves: come back then.
    """
    sees = narrowed(asking, account)
    held = AsyncExitStack()
    try:
        held.enter_context(parts.listeners.one(asking.caller.account))
    except ShareExceededError:
        raise ProblemError("account_busy", "too many follow the events; wait for some of them to end") from None
    subscription = held.enter_context(parts.feed.subscription())
    return _Events(_told(parts, request, sees, subscription, last_event_id), held)


class _Events(StreamingResponse):
    """`held` is given back at the end, however it comes."""

    media_type = EVENT_STREAM

    def __init__(self, lines: AsyncGenerator[str], held: AsyncExitStack) -> None:
        super().__init__(lines, headers={**HEADERS, "X-Accel-Buffering": "no"})
        self._lines = lines
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held, aclosing(self._lines):
            await super().__call__(scope, receive, send)


async def _told(
    parts: Parts, request: Request, sees: Accounts, subscription: Subscription, last: str | None
) -> AsyncGenerator[str]:
    yield f"retry: {AGAIN_MILLISECONDS}\n\n"
    subscription.taken()
    yield _lines(_since(parts, last), sees)
    quiet = 0
    while await _welcome(parts, request):
        notices: list[Notice] | None = []
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                notices = await subscription.take()
        except TimeoutError:
            quiet += 1
        except MissedError:
            notices = None
        text = _lines(notices, sees)
        if text or quiet >= QUIET_LOOKS:
            quiet = 0
            yield text or ": nothing new\n\n"


def _since(parts: Parts, last: str | None) -> list[Notice] | None:
    """None: it cannot be told."""
    if last is None:
        return []
    try:
        return parts.feed.since(int(last))
    except (ValueError, MissedError):
        return None


async def _welcome(parts: Parts, request: Request) -> bool:
    """Whether the token is still good, and this node stays."""
    if parts.leaving():
        return False
    try:
        await authenticate(parts, request)
    except ProblemError:
        return False
    except DatabaseUnavailable:
        return True
    return True


def _lines(notices: list[Notice] | None, sees: Accounts) -> str:
    if notices is None:
        return 'event: missed\ndata: {"details":{}}\n\n'
    mine = (notice for notice in notices if sees is EVERY_ACCOUNT or notice.account == sees)
    return "".join(f"id: {notice.id}\nevent: {notice.kind}\ndata: {_data(notice)}\n\n" for notice in mine)


def _data(notice: Notice) -> str:
    told: dict[str, Any] = {
        "at": notice.at,
        "account": notice.account,
        "agent": notice.agent,
        "connection": notice.connection,
        "details": dict(notice.details),
    }
    return json.dumps(told, ensure_ascii=True, separators=(",", ":"))
