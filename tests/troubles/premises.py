"""What both ways need: certificates, the stand-in store as a cell wants it, and a form for it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from relay.records import Mode
from tests.relay.gateway.certificates import DAY, NOW, Issued, authority, certificate
from tests.store import Store
from tests.troubles.cells import SECURE, SHOP, Cell

CA = authority("CA of the troubles")
SHOWN: dict[str, Issued] = {
    "good": certificate(CA, SECURE),
    "own": certificate(None, SECURE),
    "named": certificate(CA, "other.test"),
    "old": certificate(CA, SECURE, begins=NOW - 9 * DAY, ends=NOW - DAY),
}
TRUSTS: dict[str, Mapping[str, str]] = {"": {}, "ca": {"ca_pem": CA.pem}, "pin": {"pinned_spki_sha256": "0" * 64}}


@dataclass(frozen=True)
class Place:
    """Where a connection leads: a port of this machine (0: none), and the stand-in store there, if it is one."""

    port: int
    store: Store | None = None


@dataclass(frozen=True)
class Met:
    """What a test said."""

    report: Mapping[str, Any]
    authority: str
    key: str

    @property
    def steps(self) -> Mapping[str, Mapping[str, Any]]:
        return {step["name"]: step for step in self.report["steps"]}

    @property
    def failed(self) -> Mapping[str, Any]:
        (failed,) = [step for step in self.steps.values() if step["status"] == "failed"]
        return failed


@contextlib.asynccontextmanager
async def opened(cell: Cell, port: int = 0) -> AsyncIterator[Place]:
    """The store with the cell's trouble; a place without one where that is the trouble."""
    if cell.shown == "plain":
        server = await asyncio.start_server(_refuse, "127.0.0.1", port)
        async with server:
            yield Place(server.sockets[0].getsockname()[1])
        return
    if cell.host not in {SHOP, SECURE}:
        yield Place(0)
        return
    tls: ssl.SSLContext | None = SHOWN[cell.shown].server() if cell.shown else None
    knobs = {"domain": cell.host, **cell.knobs}
    async with Store.serve(port=port, tls=tls, knobs=knobs) as store:
        yield Place(store.port, store)


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As nginx does what is no HTTP: at once."""
    await reader.read(65536)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    writer.close()


def key_of(cell: Cell, place: Place) -> str:
    return place.store.keys.get(cell.key, cell.key) if place.store else "K" * 32


def form_of(cell: Cell, mode: Mode, authority: str, key: str) -> dict[str, Any]:
    scheme = "https" if cell.host == SECURE else "http"
    return {
        "name": cell.trouble[:80],
        "mode": mode.value,
        "store_url": f"{scheme}://{authority}{cell.settings.get('path', '')}",
        "api_key": key,
        "trust": TRUSTS[cell.trust],
    }
