"""What both ways need: certificates, the stand-in store as a cell wants it, and a form for it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
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
NoStore = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Called with the first bytes that came; the connection is closed behind it."""
TRUSTS: dict[str, Mapping[str, str]] = {"": {}, "ca": {"ca_pem": CA.pem}, "pin": {"pinned_spki_sha256": "0" * 64}}


@dataclass(frozen=True)
class Place:
    """Where a connection leads: a port of this machine (0: none), and the stand-in store there, if it is one."""

    port: int
    store: Store | None = None
    spoken_to: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when something has come to a place that is no store."""


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
    if cell.shown in NO_STORE:
        async with _no_store(NO_STORE[cell.shown], port) as place:
            yield place
        return
    if cell.host not in {SHOP, SECURE}:
        yield Place(0)
        return
    tls: ssl.SSLContext | None = SHOWN[cell.shown].server() if cell.shown else None
    knobs = {"domain": cell.host, **cell.knobs}
    async with Store.serve(port=port, tls=tls, knobs=knobs) as store:
        yield Place(store.port, store)


@contextlib.asynccontextmanager
async def _no_store(answer: NoStore, port: int) -> AsyncIterator[Place]:
    spoken_to = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            heard = await reader.read(65536)
            spoken_to.set()
            await answer(heard, reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with server:
        yield Place(server.sockets[0].getsockname()[1], spoken_to=spoken_to)


async def _plain(_heard: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As nginx does what is no HTTP: at once."""
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


async def _aged(heard: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """TLS 1.1 and nothing later, as OpenSSL speaks it: what it makes of the caller's hello is sent, an alert too."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = _aged_context().wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(heard)
    with contextlib.suppress(ssl.SSLError):
        tls.do_handshake()
    writer.write(outgoing.read())


def _aged_context() -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        context = SHOWN["good"].server(ssl.TLSVersion.TLSv1_1)
    context.set_ciphers("ALL:@SECLEVEL=0")  # it signs with SHA-1, which OpenSSL refuses from level 1 on
    return context


async def _shut(_heard: bytes, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None: ...


async def _silent(_heard: bytes, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _dripping(_heard: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte of the answer now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


NO_STORE: dict[str, NoStore] = {
    "plain": _plain,
    "aged": _aged,
    "shut": _shut,
    "silent": _silent,
    "dripping": _dripping,
}
"""What may answer where a store should be."""


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
