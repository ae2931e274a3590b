"""Every request to the typed surface has an id: in its answer, in log lines about it, in the line when it is over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay import request_ids
from relay.records import Caller

if TYPE_CHECKING:
    from relay.api.parts import Parts

FOLLOWED = "/v1/events"
"""Its answers last for hours, and say nothing about how quickly the surface answers."""
NOWHERE = "(nothing is served there)"
"""What stands in the log for an address that is none of ours, and may be anything."""


class Named:
    """Around the whole application, its last resort for errors included."""

    def __init__(self, app: ASGIApp, parts: Parts | None) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        number, began, status = request_ids.new(), time.monotonic(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                named = request_ids.HEADER.lower().encode(), request_ids.text(number).encode()
                message = {**message, "headers": [*message["headers"], named]}
            await send(message)

        try:
            with request_ids.naming(number):
                await self._app(scope, receive, answer)
        finally:
            if self._parts:
                _note(self._parts, scope, number, status, time.monotonic() - began)


def _note(parts: Parts, scope: Scope, number: int, status: int, seconds: float) -> None:
    if _path(scope) != FOLLOWED:
        parts.surface.note(status, seconds)
    caller = scope.get("state", {}).get("caller")
    parts.access_log.answered(
        number=number,
        method=scope["method"],
        path=_path(scope),
        status=status,
        seconds=seconds,
        account=caller.account if isinstance(caller, Caller) else "",
        caller=caller.id if isinstance(caller, Caller) else "",
        trace=request_ids.trace_of(dict(scope["headers"]).get(b"traceparent")),
    )


def _path(scope: Scope) -> str:
    """As the surface describes it, with names in braces instead of what stood there."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", NOWHERE))
