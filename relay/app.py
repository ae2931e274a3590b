"""The relay as a process: the only module that knows all the others. Builds, starts, drains, stops."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import resource
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from importlib.metadata import version
from urllib.parse import urlsplit

import structlog
import uvloop

from agent.wire.enrolment import Endpoint
from agent.wire.logs import set_up
from agent.wire.memory import keep_heap
from agent.wire.pages import serve_pages
from agent.wire.systemd import Notifier
from agent.wire.websocket import PATH as TUNNEL_PATH
from relay.access_log import AccessLog, tell
from relay.api import metrics
from relay.api.connection_tests import agents_of
from relay.api.parts import TUNNELS, Parts
from relay.api.surface import build
from relay.background import Background
from relay.database import authorities, instances, overview, uses
from relay.database.cycles import Cycles
from relay.database.deliveries import Deliveries
from relay.database.engine import Database
from relay.database.errors import DatabaseError
from relay.database.files import serving
from relay.database.records import Actor
from relay.database.setup import prepare
from relay.gateway.asgi import Asgi, AsgiRequest
from relay.gateway.direct import DirectRoute
from relay.gateway.front import Front
from relay.gateway.gateway import Gateway
from relay.gateway.hall import Hall
from relay.gateway.routes import Routes
from relay.health.feed import Feed
from relay.health.watching import Watching
from relay.leaving import until_told
from relay.listening.caller import Trusted
from relay.listening.entrance import Entrance
from relay.listening.sockets import BACKLOG, HTTP, METRICS, SSH, SSH_STOCK, PortError, Sockets, names_of, port_of
from relay.log_stream import LogStream
from relay.metrics.loop_lag import LoopLag
from relay.prestashop.connection_test import ConnectionTest
from relay.prestashop.shops import Shops
from relay.prestashop.triggering import Triggering
from relay.records import Change
from relay.remembered import Remembered
from relay.rounds import Rounds
from relay.settings import Address, Settings
from relay.tunnels import stock
from relay.tunnels.admission import Admission
from relay.tunnels.authority import Authority, Identity
from relay.tunnels.door import Doorkeeper, address_of
from relay.tunnels.registry import Registry
from relay.tunnels.server import Acceptor, Listening, listen
from relay.tunnels.tunnel import Tunnel
from relay.tunnels.websocket import TunnelDoor
from relay.webhooks.delivering import Delivering
from relay.webhooks.sending import Guard, Post

log = structlog.get_logger()

NODE = "local"
CONNECTIONS = 10_000
"""HTTP connections at once."""
GRACE_SECONDS = 30.0
"""For requests under way, when the relay is told to stop."""
SEEN_SECONDS = 60.0
"""How often the database is told which instances are here, and which credentials were used."""
RECALL_SECONDS = int(SEEN_SECONDS) + 120
"""Agents that were here so lately are expected back when the relay starts: requests for them are held."""


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
        await until_told(relay.drain, relay.reload, relay.fault)
    log.info("stopped")
    return 1 if relay.fault.is_set() else 0


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
        self._directory = Remembered(database, clock=loop.time)
        self._registry = Registry(loop.time)
        self._admission = Admission(loop.time)
        self._trusted = Trusted(settings.trusted_proxies)
        self._entrance = Entrance(self._trusted, settings.certificate_files, loop.time, handshakes=CONNECTIONS)
        self._routes = Routes(self._registry, DirectRoute(own_names=frozenset({_host(settings.url())})))
        self._gateway = Gateway(self._directory, self._routes, loop.time)
        self._feed = Feed(time.time)
        self._watching = Watching(
            self._registry, self._feed, lambda ids: overview.accounts_of(database, ids), wanted=TUNNELS
        )
        self._lag = LoopLag()
        self._lines = LogStream(sys.stderr.fileno())
        self._access_log = AccessLog(settings.access_log, tell if sys.stderr.isatty() else self._lines.put)
        self._gateway.on_over, self._gateway.on_refused = self._access_log.over, self._access_log.refused
        self._rounds = Rounds(
            database,
            self._gateway,
            self._routes,
            self._registry,
            feed=self._feed,
            find=self._directory.connection,
            version=version("postern"),
            certificate_ends=lambda: self._entrance.certificate.ends if self._entrance.certificate else None,
        )
        self._registry.on_retired = self._release
        self._registry.on_clones = self._report_clone
        self._reports: set[asyncio.Task[None]] = set()
        sockets = Sockets()
        self._http = sockets.open(HTTP, settings.http)
        self._ssh = sockets.open(SSH, settings.ssh)
        self._ssh_stock = sockets.optional(SSH_STOCK, settings.ssh_stock)
        self._metrics = sockets.optional(METRICS, settings.metrics_http)
        self._servers: list[asyncio.Server] = []
        self._acceptors: list[Acceptor] = []
        self.fault = asyncio.Event()
        """Set when something has ended that must run as long as the relay does."""
        self._tasks, self._errands = Background(self.fault.set), Background(self.fault.set)
        self._notifier = Notifier()

    async def start(self, stack: AsyncExitStack) -> None:
        await self._directory.start()
        self._directory.subscribe(self._act_on)
        self._registry.recall(await instances.agents_seen(self._database, self._database.now() - RECALL_SECONDS))
        url = self._settings.url(port_of(self._http[0]))
        endpoint = self._endpoint()
        parts = self._parts(url, endpoint)
        self._asgi = Asgi(build(parts))
        self._hall = Hall(self._gateway, self._start_app, connections=CONNECTIONS, knock=self._knock)
        metrics.measure(
            parts,
            gateway=self._gateway,
            holding=self._routes.holding,
            lag=self._lag,
            http_connections=lambda: len(self._hall.fronts),
            certificate_ends=lambda: self._entrance.certificate.ends if self._entrance.certificate else None,
            lines_dropped=lambda: self._lines.dropped,
        )
        stack.callback(self._lines.close)
        for sock in self._metrics:
            stack.callback((await serve_pages(sock, metrics.pages(parts))).close)
            log.info("metrics served", metrics_http=names_of([sock]))
        await self._listen()
        for steps in (
            self._directory.watch(),
            self._keep_time(),
            self._tell_who_is_here(),
            self._registry.watch.run(),
            self._watching.run(),
            self._lag.run(),
        ):
            self._tasks.begin(steps)
        stack.push_async_callback(self._tasks.end)
        for errand in self._errands_of(parts):
            self._errands.keep(errand)
        stack.push_async_callback(self._errands.end)
        dial = str(Address(endpoint.host, endpoint.port))
        log.info("relay ready", url=url, http=names_of(self._http), ssh=names_of(self._ssh), agents_dial=dial)
        self._notifier.ready(f"serving {url}")

    async def drain(self) -> None:
        """Take nothing new, let requests under way finish within the grace period, then part with the agents.

        Whoever was accepted is served. A socket that systemd holds stays open: those who come wait for the successor.
        """
        self._notifier.stopping("draining")
        self._hall.drain()
        self._errands.stop()
        for server in self._servers:
            server.close()
        for acceptor in self._acceptors:
            acceptor.close()
        self._tunnel_door.close()
        self._registry.drain(GRACE_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await self._entrance.waiting.emptied()
                await self._hall.emptied()
        await self._note_who_is_here()
        self._registry.cut(lambda _tunnel: True, "the relay is shutting down")
        await self._tell_what_was_used()

    def reload(self) -> None:
        """Read again what may change while the relay runs: the certificate."""
        self._entrance.reload()

    async def _listen(self) -> None:
        listening = Listening(self._registry, self._admission, self._revoked, lambda: self._directory.healthy)
        keeper = Doorkeeper(self._admission, self._entrance.plain)
        for sock in self._ssh:
            self._acceptors.append(await listen(listening, self._authority, sock, keeper))
        self._tunnel_door = TunnelDoor(self._admission, self._directory.admits, self._acceptors[0].take)
        name, find = self._settings.ssh_address().host, self._directory.stock_key
        for sock in self._ssh_stock:
            log.info("stock OpenSSH may dial", ssh_stock=names_of([sock]))
            acceptor = await stock.listen(listening, self._authority, sock, keeper=keeper, find=find, name=name)
            self._acceptors.append(acceptor)
        loop, front = asyncio.get_running_loop(), self._entrance.secured(lambda: Front(self._hall))
        for sock in self._http:
            self._servers.append(await loop.create_server(front, sock=sock, backlog=BACKLOG))

    def _endpoint(self) -> Endpoint:
        address = self._settings.ssh_address(port_of(self._ssh[0]))
        return Endpoint(transport="tcp", node=NODE, host=address.host, port=address.port)

    def _parts(self, url: str, endpoint: Endpoint) -> Parts:
        return Parts(
            database=self._database,
            directory=self._directory,
            registry=self._registry,
            authority=self._authority,
            connection_test=ConnectionTest(self._gateway, self._routes, self._registry, agents_of(self._database)),
            shops=Shops(self._gateway, time.monotonic),
            public_url=url,
            endpoints=[endpoint, _websocket(url)],
            ready=self._ready,
            leaving=lambda: self._hall.draining,
            version=version("postern"),
            clock=time.time,
            node=NODE,
            used=self._gateway.used,
            access_log=self._access_log,
            admission=self._admission,
            guard=Guard(frozenset({_host(url)})),
            feed=self._feed,
            watching=self._watching,
            stores=self._rounds.stores,
            traffic=self._gateway.traffic,
        )

    def _errands_of(self, parts: Parts) -> tuple[Callable[[], Coroutine[None, None, None]], ...]:
        """What the relay does of itself: looks for changes in stores, and takes events to their receivers."""
        cycles, deliveries = Cycles(self._database), Deliveries(self._database)
        find, dice = self._directory.connection, random.SystemRandom().random
        triggering = Triggering(cycles, parts.shops, find, clock=time.time, chance=dice, relay=parts.public_url)
        delivering = Delivering(deliveries, Post(parts.guard, time.time), clock=time.time, chance=dice)
        return triggering.run, delivering.run, *self._rounds.errands()

    async def _ready(self) -> Mapping[str, str]:
        listening = any(server.is_serving() for server in self._servers)
        ssh = any(acceptor.serving for acceptor in self._acceptors)
        return {
            "database": "ok" if self._directory.healthy else "the database does not answer",
            "keys": "ok" if self._database.keys.readable else "the file of master keys cannot be read",
            "ssh": "ok" if ssh else "the SSH listener is closed",
            "http": "ok" if listening and not self._hall.draining else "the relay is shutting down",
        }

    def _knock(self, transport: asyncio.Transport, head: bytes, rest: bytes) -> None:
        remote = self._trusted.caller(address_of(transport), head)
        self._tunnel_door.knock(transport, remote, head, rest)

    def _start_app(self, front: Front, transport: asyncio.Transport, head: bytes) -> AsgiRequest:
        remote = self._trusted.caller(address_of(transport), head)
        return self._asgi.start(transport, remote, head, lambda persistent: front.finish(persistent=persistent))

    def _revoked(self, identity: Identity) -> bool:
        return self._directory.revocations.is_revoked(identity.agent, identity.instance, identity.token)

    def _act_on(self, changes: list[Change]) -> None:
        """Changes come from the database, whoever made them: a command line's revoke reaches a running relay."""
        for change in changes:
            if change.kind == "connection":
                self._gateway.forget(change.subject)
            if change.revoked:
                names = functools.partial(_is_named, change.subject)
                cut = self._registry.cut(names, f"{change.kind.replace('_', ' ')} revoked", for_good=True)
                if change.kind == "agent":
                    self._registry.forget(change.subject)
                if cut:
                    log.info("tunnels cut", subject=change.subject, kind=change.kind, tunnels=cut)
        if any(change.kind in {"connection", "api_token", "account"} for change in changes):
            self._gateway.judge_again()
        self._rounds.act_on(changes)
        self._watching.changed(changes)

    async def _keep_time(self) -> None:
        """What has a deadline is looked at here, and from here systemd hears that the relay lives."""
        while True:
            await asyncio.sleep(1)
            for sweep in (self._hall.sweep, self._gateway.sweep, self._entrance.sweep):
                try:
                    sweep()
                except Exception:
                    log.exception("deadlines could not be looked at; those of others are")
            if self._notifier.watchdog_seconds:
                self._notifier.alive()

    async def _tell_who_is_here(self) -> None:
        while True:
            await asyncio.sleep(SEEN_SECONDS)
            await self._note_who_is_here()
            await self._tell_what_was_used()

    async def _note_who_is_here(self) -> None:
        here = {tunnel.identity.instance for tunnel in self._registry}
        with contextlib.suppress(DatabaseError):
            await instances.seen(self._database, here, self._database.now())

    def _report_clone(self, tunnel: Tunnel) -> None:
        self._watching.cloned(tunnel)
        report = asyncio.ensure_future(self._put_on_record(tunnel.identity))
        self._reports.add(report)
        report.add_done_callback(self._reports.discard)

    async def _put_on_record(self, clone: Identity) -> None:
        with contextlib.suppress(DatabaseError):  # it is in the log, and told again when they meet again
            await instances.report_clone(self._database, clone.agent, clone.instance)

    def _release(self, tunnel: Tunnel) -> None:
        """No line is used again that leads through a tunnel which is to end."""
        for connection in tunnel.users or ():
            self._gateway.forget(connection)

    async def _tell_what_was_used(self) -> None:
        used = frozenset(self._gateway.used)
        self._gateway.used.clear()
        try:
            await uses.note(self._database, used, self._database.now())
        except DatabaseError:
            self._gateway.used.update(used)


def _websocket(url: str) -> Endpoint:
    """Where agents find the tunnel's WebSocket: on the relay's own address."""
    parts, scheme = urlsplit(url), "wss" if url.startswith("https://") else "ws"
    port = parts.port or (443 if scheme == "wss" else 80)
    there = url.replace(parts.scheme, scheme, 1) + TUNNEL_PATH
    return Endpoint(transport="websocket", node=NODE, host=parts.hostname or "", port=port, url=there)


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _is_named(subject: str, tunnel: Tunnel) -> bool:
    return subject in {tunnel.identity.agent, tunnel.identity.instance, tunnel.identity.token}
