"""The other door for agents, on the HTTP listener: a ticket is asked for, HTTP is left, and SSH begins as over TCP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable

import structlog
from websockets.http11 import Request
from websockets.protocol import State

from agent.wire.websocket import WebSocket, server_frames
from relay.tunnels.admission import Admission

TICKET_SECONDS = 5.0
"""How long the look-up of a ticket may take."""
RETRY_SECONDS = 5
"""What an agent is told that must come again."""
CLOSE_SECONDS = 2.0
"""How long a refusal may take to leave."""
WAITING_BYTES = 64 * 1024
"""What may arrive while a ticket is looked up."""

_TICKET = re.compile(rb"\r\n(?i:authorization:[ \t]*bearer) +([A-Za-z0-9_-]{43})[ \t]*\r\n")
"""The front has refused heads with two of these."""

log = structlog.get_logger()


class TicketsUnavailableError(Exception):
    """Whether a ticket is good cannot be found out now."""


class TunnelDoor:
    """Takes requests for `/v1/agent/tunnel` from the HTTP listener, counted by `admission` like TCP connections.

    `admits(sha256)` says whether a ticket (its digest in hex) is good, `take(transport, remote)` lets SSH begin on a
    WebSocket's transport, which is counted anew.
    """

    def __init__(
        self,
        admission: Admission,
        admits: Callable[[str], Awaitable[bool]],
        take: Callable[[asyncio.Transport, str], None],
    ) -> None:
        self.admission = admission
        self.admits = admits
        self.take = take
        self._open = True
        self._knocks: set[asyncio.Task[None]] = set()

    def knock(self, transport: asyncio.Transport, remote: str, head: bytes, rest: bytes) -> None:
        """Answer a request from `remote`: its head was judged (with its empty line), `rest` came behind it."""
        knock = _Knock(self, transport, remote, rest)
        ticket = _TICKET.search(head)
        if not self._open:
            knock.refuse(503, "relay_unavailable", "the relay is shutting down")
        elif self.admission.arrive(remote):
            knock.refuse(429, "relay_overloaded", "too many from this address, or in all, want to log in")
        elif not ticket:
            knock.leave()
            knock.turn_away()
        else:
            task = asyncio.ensure_future(knock.look_up(head, hashlib.sha256(ticket[1]).hexdigest()))
            self._knocks.add(task)
            task.add_done_callback(self._knocks.discard)

    def close(self) -> None:
        """Take no new tunnels; those that stand are not touched."""
        self._open = False


class _Knock(asyncio.Protocol):
    """One request, until it is refused or has become a WebSocket."""

    def __init__(self, door: TunnelDoor, transport: asyncio.Transport, remote: str, rest: bytes) -> None:
        self._door = door
        self._transport = transport
        self._remote = remote
        self._rest = rest
        self._gone = False
        self._deadline: asyncio.TimerHandle | None = None
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        if self._deadline:
            return
        self._rest += data
        if len(self._rest) > WAITING_BYTES:
            self._transport.pause_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._gone = True
        if self._deadline:
            self._deadline.cancel()

    async def look_up(self, head: bytes, sha256: str) -> None:
        """The request has its place in the admission, and gives it back here."""
        try:
            async with asyncio.timeout(TICKET_SECONDS):
                good = await self._door.admits(sha256)
        except (TicketsUnavailableError, TimeoutError):
            self.leave()
            self.refuse(503, "database_unavailable", "the ticket cannot be looked up just now")
            return
        except BaseException:
            self.leave()
            self._transport.abort()
            raise
        self.leave()
        if self._gone:
            return
        if good:
            self._switch(head)
        else:
            self.turn_away()

    def leave(self) -> None:
        self._door.admission.leave(self._remote)

    def turn_away(self) -> None:
        self._door.admission.fail(self._remote)
        detail = "the ticket of the last enrolment is asked for, as Authorization: Bearer"
        self.refuse(401, "unauthenticated", detail, "WWW-Authenticate: Bearer")

    def refuse(self, status: int, code: str, detail: str, *fields: str) -> None:
        if status in {429, 503}:
            fields = (*fields, f"Retry-After: {RETRY_SECONDS}")
        self._end(_problem(status, code, detail, fields))

    def _switch(self, head: bytes) -> None:
        frames = server_frames()
        frames.receive_data(head)
        request = next((event for event in frames.events_received() if isinstance(event, Request)), None)
        if request:
            frames.send_response(frames.accept(request))
        answer = b"".join(frames.data_to_send())
        if frames.state is not State.OPEN:
            why = str(frames.handshake_exc)
            known = frames.handshake_exc and re.match(rb"HTTP/1\.1 426 ", answer)
            fields = ("Upgrade: websocket",) if known else ()
            self._end(_problem(426 if known else 400, "malformed", why, fields))
            return
        self._transport.write(answer)
        websocket = WebSocket(
            frames, self._transport, {"postern_remote": self._remote, "postern_transport": "websocket"}
        )
        self._transport.resume_reading()
        self._door.take(websocket, self._remote)
        websocket.begin(self._rest)

    def _end(self, answer: bytes) -> None:
        if self._gone:
            return
        self._rest = b""
        self._transport.write(answer)
        self._deadline = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)
        self._transport.close()


_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    426: "Upgrade Required",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


def _problem(status: int, code: str, detail: str, fields: tuple[str, ...]) -> bytes:
    """An RFC 9457 problem, as `/v1` answers them."""
    members = {
        "type": f"/docs#problem-{code}",
        "title": _TITLES[status],
        "status": status,
        "detail": detail,
        "code": code,
        "origin": "relay" if status == 503 else "agent",
        "retryable": status in {429, 503},
    }
    body = json.dumps(members).encode()
    lines = [
        f"HTTP/1.1 {status} {_TITLES[status]}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *fields,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
