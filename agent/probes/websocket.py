"""The WebSocket beside the relay's HTTPS: whether the upgrade passes everything on the way, and SSH through it."""

from __future__ import annotations

import base64
import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from agent.https import trust_anchors
from agent.probes.certificates import no_tls
from agent.probes.road import Head, Road
from agent.probes.step import Chain, StepError
from agent.wire.websocket import PATH, SUBPROTOCOL

NAMED_BYTES = 64
"""The relay's name lies in the first message; its frame has a head of a few bytes."""


async def websocket(chain: Chain, road: Road | None, url: str, ca_file: Path | None, ticket: SecretStr | None) -> None:
    """The step `websocket`. Without a ticket the relay's 401 says that it is reached; with one, its SSH must answer."""
    remedy = "does a proxy or firewall on the way let WebSockets through?"
    await chain.step("websocket", lambda: _upgrade(road, url, ca_file, ticket), remedy)


def tunnel_url(relay: str) -> str:
    """Where a relay takes tunnels, if it has not said otherwise."""
    return relay.replace("http", "ws", 1) + PATH


async def _upgrade(road: Road | None, url: str, ca_file: Path | None, ticket: SecretStr | None) -> tuple[None, str]:
    assert road is not None  # noqa: S101 - the steps before gave it
    parts = urlsplit(url)
    fields = [
        "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
    ]  # fmt: skip
    if ticket:
        fields.append(f"Authorization: Bearer {ticket.get_secret_value()}")
    tls = trust_anchors(ca_file) if parts.scheme == "wss" else None
    try:
        async with road.open(tls) as wire:
            head = await wire.ask(parts.path, parts.netloc, *fields)
            judge(head, asked=ticket is not None)
            if head.status == 401:
                return None, "the relay asks for a ticket (401), as it should: the way is open"
            if b"SSH-" not in await wire.reader.read(NAMED_BYTES):
                raise StepError("the upgrade passes (101), but no SSH comes through", _INSPECTED)
    except ssl.SSLError as error:
        raise StepError(no_tls(error), "see the line about TLS") from None
    return None, "the upgrade passes (101), and SSH answers through it"


def judge(head: Head, *, asked: bool) -> None:
    """What the answer to an upgrade means; `asked`: with a ticket. Raises StepError but for 101, or 401 without one."""
    if head.status == 101 or (head.status == 401 and not asked):
        return
    if head.status == 401:
        raise StepError("the relay does not take this installation's ticket (401)", "restart the agent")
    if head.status == 404:
        raise StepError("what answers there knows no tunnels (404)", "update the relay, or look at its reverse proxy")
    raise StepError(f"the upgrade does not pass: it is answered {head.status}", _INSPECTED)


_INSPECTED = (
    "have whoever runs the proxy or firewall let WebSockets to the relay pass (the headers Upgrade and Connection); a "
    "reverse proxy in front of the relay must pass them on too"
)
