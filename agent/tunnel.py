"""One tunnel: an SSH connection that publishes the stores, from its dial to its end, every step with a deadline."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncssh
import structlog
from asyncssh.listener import SSHTCPClientListener

from agent.enrolment import Admission
from agent.failure import said
from agent.forwarder import IDLE_SECONDS, Forwarder
from agent.logs import printable
from agent.resolver import Resolver
from agent.transports import Dialer
from agent.wire import ssh
from agent.wire.carrier import Dialled
from agent.wire.destination import Store
from agent.wire.enrolment import Endpoint
from agent.wire.limits import DIAL_SECONDS, LOGIN_SECONDS, PACKET_BYTES, WINDOW_BYTES

PUBLISH_SECONDS = 10.0
"""Deadline for the relay's word on all stores."""
CLOSE_SECONDS = 3.0
"""How long a clean goodbye may take."""
OPEN_SECONDS = 2 * DIAL_SECONDS + LOGIN_SECONDS + PUBLISH_SECONDS
"""More than the steps of `Tunnel.open` can take together."""

log = structlog.get_logger()


class TunnelError(Exception):
    """A tunnel could not be opened. `refused`: the relay was there and said no."""

    def __init__(self, sentence: str, *, refused: bool = False) -> None:
        super().__init__(sentence)
        self.refused = refused


class LoginRefusedError(TunnelError):
    """The relay does not take this certificate, or nothing under it: a new one is needed."""

    def __init__(self, what: str = "the relay does not take this instance's certificate") -> None:
        super().__init__(f"{what}; asking for a new one", refused=True)


class Tunnel:
    """A standing tunnel. `lost` ends when it does; `close` ends it."""

    def __init__(
        self, ssh_connection: asyncssh.SSHClientConnection, end: _End, admission: Admission, endpoint: Endpoint
    ) -> None:
        self.admission = admission
        self.endpoint = endpoint
        self.since = time.time()
        self._stood_at = time.monotonic()
        self.published: tuple[Store, ...] = ()
        self._ssh = ssh_connection
        self._end = end
        self._forwarder = end.forwarder
        self._sweeping = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)

    @classmethod
    async def open(cls, admission: Admission, endpoint: Endpoint, dialer: Dialer, resolver: Resolver) -> Tunnel:
        """Dial, log in, publish. Raises TunnelError."""
        where = f"{endpoint.host}:{endpoint.port}"
        dialled = await _dial(dialer, endpoint, where)
        end = _End(Forwarder(resolver))
        connection = await _log_in(dialled, admission, endpoint, end, where)
        tunnel = cls(connection, end, admission, endpoint)
        try:
            await tunnel._publish()
        except BaseException:
            tunnel.abort()
            raise
        return tunnel

    @property
    def channels(self) -> int:
        return self._forwarder.channels

    @property
    def age(self) -> float:
        """Seconds since the login."""
        return time.monotonic() - self._stood_at

    @property
    def address(self) -> str:
        """Where the relay was found, as `address:port`."""
        peer = self._ssh.get_extra_info("peername") or (self.endpoint.host, self.endpoint.port)
        return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"

    @property
    def standing(self) -> bool:
        return not self._end.reason.done()

    async def lost(self) -> str:
        """Wait for the end of the tunnel; the reason in a sentence."""
        return await asyncio.shield(self._end.reason)

    def leave(self) -> None:
        """Take no more channels; those that run go on."""
        self._forwarder.leave()

    async def done(self) -> None:
        """Wait until no channel is left."""
        await self._forwarder.empty()

    async def close(self) -> None:
        """Say goodbye and end, within CLOSE_SECONDS."""
        self._end.wanted = True
        self._sweeping.cancel()
        self._ssh.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._ssh.wait_closed()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        self._end.wanted = True
        self._sweeping.cancel()
        self._ssh.abort()
        self._forwarder.abort()

    async def _publish(self) -> None:
        stores = self.admission.stores
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                granted = await asyncio.gather(*(self._publish_one(store) for store in stores))
        except TimeoutError:
            raise TunnelError(f"the relay did not confirm the stores within {PUBLISH_SECONDS:.0f} s") from None
        except (asyncssh.Error, OSError) as error:
            raise TunnelError(f"the connection broke while publishing the stores: {printable(str(error))}") from None
        self.published = tuple(store for store, ok in zip(stores, granted, strict=True) if ok)
        if not self.published:
            raise LoginRefusedError("the relay takes this certificate, but none of the stores")

    async def _publish_one(self, store: Store) -> bool:
        name, factory = store.destination, self._forwarder.factory(store)
        window: dict[str, int] = {"window": WINDOW_BYTES, "max_pktsize": PACKET_BYTES}
        # asyncssh lists a name a loop turn after the relay's word; a channel that comes with that word would be refused
        names: dict[Any, Any] = self._ssh._remote_listeners  # noqa: SLF001 - no public way to list it before
        names[name.host, name.port] = SSHTCPClientListener(
            self._ssh, factory, name.host, name.port, encoding=None, errors="strict", **window
        )
        try:
            await self._ssh.create_server(factory, name.host, name.port, encoding=None, **window)
        except asyncssh.ChannelListenError:
            names.pop((name.host, name.port), None)
            log.error("the relay refused to publish a store", store=store.origin)
            return False
        return True

    def _sweep(self) -> None:
        self._forwarder.sweep()
        self._sweeping = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)


class _End(asyncssh.SSHClient):
    """Hears the end of an SSH connection, and takes everything below it down at once."""

    def __init__(self, forwarder: Forwarder) -> None:
        self.forwarder = forwarder
        self.reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.wanted = False
        """Whether we end it ourselves."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.forwarder.abort()
        if not self.reason.done():
            self.reason.set_result("closed" if self.wanted else _reason(exc))


async def _dial(dialer: Dialer, endpoint: Endpoint, where: str) -> Dialled:
    try:
        async with asyncio.timeout(2 * DIAL_SECONDS):
            return await dialer.dial(endpoint)
    except TimeoutError:
        raise TunnelError(f"{where} does not answer: does the firewall let this machine out to it?") from None
    except OSError as error:
        raise TunnelError(f"{where} cannot be reached: {said(error)}") from None


async def _log_in(
    dialled: Dialled, admission: Admission, endpoint: Endpoint, end: _End, where: str
) -> asyncssh.SSHClientConnection:
    trusted: tuple[list[Any], list[Any], list[Any]] = ([], list(admission.host_cas), [])
    options: dict[str, Any] = ssh.CLIENT | {
        "tunnel": dialled,
        "client_factory": lambda: end,
        "username": admission.agent_id,
        "client_keys": [admission.credentials],
        "known_hosts": lambda _host, _address, _port: trusted,
        "host_key_alias": admission.host_principal,
        "login_timeout": LOGIN_SECONDS,
        "preferred_auth": "publickey",
    }
    try:
        async with asyncio.timeout(LOGIN_SECONDS):
            return await asyncssh.connect(endpoint.host, endpoint.port, **options)
    except (TimeoutError, asyncssh.ConnectionLost):
        raise TunnelError(f"{where} takes connections, but does not finish an SSH login") from None
    except asyncssh.HostKeyNotVerifiable as error:
        raise TunnelError(
            f"what answers at {where} is not the relay that the access token names ({printable(error.reason)})",
            refused=True,
        ) from None
    except asyncssh.PermissionDenied:
        raise LoginRefusedError from None
    except asyncssh.Error as error:
        raise TunnelError(f"{where} refuses the SSH connection: {printable(error.reason)}", refused=True) from None
    except (OSError, ValueError) as error:
        raise TunnelError(f"the SSH login at {where} failed: {printable(str(error))}") from None


def _reason(exc: Exception | None) -> str:
    if exc is None:
        return "the relay closed it"
    if isinstance(exc, asyncssh.ConnectionLost):
        return "the relay stopped answering" if "not responding" in str(exc) else "the connection was lost"
    if isinstance(exc, asyncssh.DisconnectError):
        return f"the relay ended it: {printable(exc.reason)}"
    return f"the connection broke: {printable(str(exc) or type(exc).__name__)}"
