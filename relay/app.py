"""The relay as a process: the only module that knows all the others. Builds, starts, drains, stops."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib.metadata import version
from urllib.parse import urlsplit

import structlog
import uvloop

from agent.wire.enrolment import Endpoint
from agent.wire.logs import set_up
from agent.wire.memory import keep_heap
from agent.wire.systemd import Notifier
from relay.api.connection_tests import agents_of
from relay.api.parts import Parts
from relay.api.surface import build
from relay.database import authorities, instances, uses
from relay.database.directory import Directory
from relay.database.engine import Database
from relay.database.errors import DatabaseError, DatabaseUnavailable
from relay.database.files import serving
from relay.database.records import Actor
from relay.database.setup import prepare
from relay.gateway.asgi import Asgi, AsgiRequest
from relay.gateway.direct import DirectRoute
from relay.gateway.front import Front
from relay.gateway.gateway import DirectoryUnavailableError, Gateway
from relay.gateway.hall import Hall
from relay.gateway.routes import Routes
from relay.prestashop.connection_test import ConnectionTest
from relay.records import Caller, Change, Connection
from relay.settings import Address, Settings
from relay.tunnels.admission import Admission
from relay.tunnels.authority import Authority, Identity
from relay.tunnels.registry import Registry
from relay.tunnels.server import Acceptor, Listening, listen

log = structlog.get_logger()

NODE = "local"
CONNECTIONS = 10_000
"""HTTP connections at once."""
BACKLOG = 4096
GRACE_SECONDS = 30.0
"""For requests under way, when the relay is told to stop."""
SEEN_SECONDS = 60.0
"""How often the database is told which instances are here, and which credentials were used."""


def serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; the exit status. Raises DatabaseError, which says what cannot be mended."""
    set_up()
    keep_heap()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold every store's key
    try:
        with serving(settings.database_place):
            return uvloop.run(_serve(settings))
    except PortError as error:
        log.error(str(error))
        return 1


async def _serve(settings: Settings) -> int:
    async with AsyncExitStack() as stack:
        database = await settings.open_database()
        stack.push_async_callback(database.close)
        await prepare(database, by=Actor("relay", "serve"))
        relay = Relay(settings, database, await _authority(database))
        await relay.start(stack)
        await _told_to_stop()
        Notifier().stopping("draining")
        await relay.drain()
    log.info("stopped")
    return 0


async def _authority(database: Database) -> Authority:
    keys = await authorities.load(database)
    return Authority(
        user_ca=keys.user_ca.private_key, host_ca=keys.host_ca.private_key, host_key=keys.ssh_host_key.private_key
    )


class Relay:
    """One node: its listeners, what they share, and the tasks that keep time."""

    def __init__(self, settings: Settings, database: Database, authority: Authority) -> None:
        loop = asyncio.get_running_loop()
        self._settings = settings
        self._database = database
        self._authority = authority
        self._directory = _Remembered(database, clock=loop.time)
        self._registry = Registry(loop.time)
        self._admission = Admission(loop.time)
        self._routes = Routes(self._registry, DirectRoute(own_names=frozenset({_host(settings.url())})))
        self._gateway = Gateway(self._directory, self._routes, loop.time)
        self._http = _bind(settings.http)
        self._ssh = _bind(settings.ssh)
        self._server: asyncio.Server | None = None
        self._acceptor: Acceptor | None = None

    async def start(self, stack: AsyncExitStack) -> None:
        await self._directory.start()
        self._directory.subscribe(self._act_on)
        url = self._settings.url(_port(self._http))
        endpoint = self._endpoint()
        self._asgi = Asgi(build(self._parts(url, endpoint)))
        self._hall = Hall(self._gateway, self._start_app, connections=CONNECTIONS)
        listening = Listening(self._registry, self._admission, self._revoked, lambda: self._directory.healthy)
        self._acceptor = await listen(listening, self._authority, self._ssh)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Front(self._hall), sock=self._http, backlog=BACKLOG)
        for steps in (self._directory.watch(), self._keep_time(), self._tell_who_is_here()):
            stack.push_async_callback(_cancelled, asyncio.create_task(steps))
        dial = str(Address(endpoint.host, endpoint.port))
        log.info("relay ready", url=url, http=_name(self._http), ssh=_name(self._ssh), agents_dial=dial)
        Notifier().ready(f"serving {url}")

    async def drain(self) -> None:
        """Take nothing new, let requests under way finish within the grace period, then part with the agents."""
        if self._server:
            self._server.close()
        if self._acceptor:
            self._acceptor.close()
        self._hall.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await self._hall.emptied()
        self._registry.cut(lambda _tunnel: True)
        await self._tell_what_was_used()

    def _endpoint(self) -> Endpoint:
        address = self._settings.ssh_address(_port(self._ssh))
        return Endpoint(transport="tcp", node=NODE, host=address.host, port=address.port)

    def _parts(self, url: str, endpoint: Endpoint) -> Parts:
        return Parts(
            database=self._database,
            directory=self._directory,
            registry=self._registry,
            authority=self._authority,
            connection_test=ConnectionTest(self._gateway, self._routes, self._registry, agents_of(self._database)),
            public_url=url,
            endpoints=[endpoint],
            ready=self._ready,
            version=version("postern"),
            clock=time.time,
            node=NODE,
            used=self._gateway.used,
        )

    async def _ready(self) -> Mapping[str, str]:
        listening = self._server is not None and self._server.is_serving()
        return {
            "database": "ok" if self._directory.healthy else "the database does not answer",
            "ssh": "ok" if self._acceptor and self._acceptor.serving else "the SSH listener is closed",
            "http": "ok" if listening and not self._hall.draining else "the relay is shutting down",
        }

    def _start_app(self, front: Front, transport: asyncio.Transport, head: bytes) -> AsgiRequest:
        return self._asgi.start(transport, head, lambda persistent: front.finish(persistent=persistent))

    def _revoked(self, identity: Identity) -> bool:
        return self._directory.revocations.is_revoked(identity.agent, identity.instance, identity.token)

    def _act_on(self, changes: list[Change]) -> None:
        """Changes come from the database, whoever made them: a command line's revoke reaches a running relay."""
        for change in changes:
            if change.kind == "connection":
                self._gateway.forget(change.subject)
            if change.revoked:
                cut = self._registry.cut(lambda tunnel, gone=change.subject: gone in _names(tunnel.identity))  # type: ignore[misc]  # bound now, not when called
                if cut:
                    log.info("tunnels cut", subject=change.subject, kind=change.kind, tunnels=cut)

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._hall.sweep()
            self._gateway.sweep()

    async def _tell_who_is_here(self) -> None:
        while True:
            await asyncio.sleep(SEEN_SECONDS)
            here = {tunnel.identity.instance: self._database.now() for tunnel in self._registry}
            with contextlib.suppress(DatabaseError):
                await instances.seen(self._database, here)
            await self._tell_what_was_used()

    async def _tell_what_was_used(self) -> None:
        used = frozenset(self._gateway.used)
        self._gateway.used.clear()
        try:
            await uses.note(self._database, used, self._database.now())
        except DatabaseError:
            self._gateway.used.update(used)


class _Remembered(Directory):
    """The database's directory, failing in the gateway's words."""

    async def connection(self, connection: str) -> Connection | None:
        try:
            return await super().connection(connection)
        except DatabaseUnavailable:
            raise DirectoryUnavailableError from None

    async def caller(self, sha256: str) -> Caller | None:
        try:
            return await super().caller(sha256)
        except DatabaseUnavailable:
            raise DirectoryUnavailableError from None


class PortError(Exception):
    """An address cannot be listened on."""


def _bind(address: Address) -> socket.socket:
    """A bound socket, not listening yet."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
    except OSError as error:
        raise PortError(f"cannot listen on {address}: {error.strerror}") from None
    sock.setblocking(False)
    return sock


def _port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def _name(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return str(Address(host, port))


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _names(identity: Identity) -> tuple[str, str, str]:
    return identity.agent, identity.instance, identity.token


async def _told_to_stop() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
