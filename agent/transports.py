"""The ways out to the relay: for each kind of endpoint a dialer that gives SSH a transport."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Protocol

from pydantic import SecretStr
from websockets.exceptions import InvalidURI
from websockets.protocol import State
from websockets.uri import parse_uri

from agent import __version__
from agent.dialling import PathError
from agent.https import distrusted, issuer_of, no_trust, retry_after
from agent.logs import printable
from agent.opening import Opening, Ways, within
from agent.proxy import Proxies
from agent.resolver import Resolver
from agent.wire.carrier import Carrier, Dialled
from agent.wire.enrolment import Endpoint
from agent.wire.introduction import begin_introduced, introduction
from agent.wire.limits import DIAL_SECONDS
from agent.wire.loopback import is_loopback
from agent.wire.ssh import FIRST_VERSION
from agent.wire.websocket import WebSocket, client_frames

BANNER_BYTES = 8 * 1024
"""What a server may say before it names itself (RFC 4253 §4.2)."""

_NAME = re.compile(rb"^SSH-(?:2\.0|1\.99)-", re.MULTILINE)
_REFUSAL = re.compile(rb"postern: ([^\r\n]+)")
_STATUS = re.compile(rb"HTTP/1\.1 [1-5][0-9][0-9][ \r]")
_RETRY_AFTER = re.compile(rb"(?im)^retry-after:[ \t]*([^\r\n]{1,40})")


class TicketRefusedError(PathError):
    """The relay was reached, and does not take the ticket of this instance's enrolment."""


class Dialer(Protocol):
    """One way to reach an endpoint, such as plain TCP or a WebSocket through a proxy."""

    async def dial(self, endpoint: Endpoint, version: str = FIRST_VERSION) -> Dialled:
        """Connect within DIAL_SECONDS, until it is known that SSH passes. `version`: how SSH will name this end.

        Raises OSError (PathError with a sentence of its own, TimeoutError included).
        """


class TcpDialer:
    """Plain TCP. It stands when the relay has named itself: what lets TCP pass and not SSH is no way."""

    def __init__(self, resolver: Resolver, ways: Ways | None = None) -> None:
        self._ways = ways or Ways(resolver, Proxies())

    async def dial(self, endpoint: Endpoint, version: str = FIRST_VERSION) -> Dialled:
        ends = asyncio.get_running_loop().time() + DIAL_SECONDS
        opening = await self._ways.open(endpoint.host, endpoint.port, ends)
        try:
            line = introduction(version)
            opening.transport.write(line)
            await _named(opening, f"{endpoint.host}:{endpoint.port}", ends)
        except BaseException:
            opening.abort()
            raise
        return _over_tcp(opening, line)


class WebSocketDialer:
    """A WebSocket over TLS. It stands when the relay has taken the ticket and switched protocols."""

    def __init__(self, ways: Ways, tls: ssl.SSLContext, ticket: Callable[[], SecretStr | None]) -> None:
        self._ways = ways
        self._tls = tls
        self._ticket = ticket

    async def dial(self, endpoint: Endpoint, version: str = FIRST_VERSION) -> Dialled:  # noqa: ARG002 - SSH says it itself, later
        ends = asyncio.get_running_loop().time() + DIAL_SECONDS
        host, port, secure = _address(endpoint)
        opening = await self._ways.open(host, port, ends)
        try:
            if secure:
                await self._start_tls(opening, host, port, ends)
            return await self._upgrade(opening, endpoint.url or "", f"{host}:{port}", ends)
        except BaseException:
            opening.abort()
            raise

    async def _start_tls(self, opening: Opening, host: str, port: int, ends: float) -> None:
        where = f"{host}:{port}"
        try:
            async with within(ends, f"{where} takes connections, but does not answer in TLS"):
                await opening.start_tls(self._tls, host)
        except ssl.SSLCertVerificationError as error:
            raise PathError(distrusted(where, error, await self._issuer(host, port, ends))) from None
        except ssl.SSLError as error:
            raise PathError(f"no TLS with {where}: {printable(error.reason or str(error))}") from None
        except PathError:
            raise
        except OSError:
            raise PathError(f"{where} closes the connection instead of speaking TLS") from None

    async def _issuer(self, host: str, port: int, ends: float) -> str | None:
        """Who signed the certificate that is shown there."""
        try:
            opening = await self._ways.open(host, port, ends)
        except OSError:
            return None
        try:
            async with within(ends, ""):
                await opening.start_tls(no_trust(), host)
            return issuer_of(opening.transport.get_extra_info("ssl_object").getpeercert(binary_form=True))
        except OSError:
            return None
        finally:
            opening.abort()

    async def _upgrade(self, opening: Opening, url: str, where: str, ends: float) -> Dialled:
        frames, ticket = client_frames(url), self._ticket()
        request = frames.connect()
        request.headers["User-Agent"] = f"postern-agent/{__version__}"
        if ticket:
            request.headers["Authorization"] = f"Bearer {ticket.get_secret_value()}"
        frames.send_request(request)
        for part in frames.data_to_send():
            opening.transport.write(part)
        head = await _answer(opening, where, ends)
        frames.receive_data(head)
        frames.events_received()
        if frames.state is not State.OPEN:
            why = printable(str(frames.handshake_exc))
            raise PathError(f"what answers at {where} does not switch to the tunnel's WebSocket: {why}")

        async def start(carrier: Carrier) -> asyncio.BaseTransport:
            waiting = opening.hand_over()
            transport = WebSocket(frames, opening.transport)
            transport.set_protocol(carrier)
            carrier.connection_made(transport)
            transport.begin(waiting)
            return transport

        return Dialled(start, opening.abort)


def _over_tcp(opening: Opening, said: bytes) -> Dialled:
    async def start(carrier: Carrier) -> asyncio.BaseTransport:
        waiting = opening.hand_over()
        opening.transport.set_protocol(carrier)
        begin_introduced(carrier, opening.transport, said)
        carrier.data_received(waiting)
        return opening.transport

    return Dialled(start, opening.abort)


async def _named(opening: Opening, where: str, ends: float) -> None:
    """Wait for the line with which an SSH server names itself; others may stand before it (RFC 4253 §4.2)."""
    try:
        async with within(ends, f"{where} takes connections, but SSH does not come through"):
            shown = await opening.see(lambda data: _NAME.search(data) is not None or len(data) > BANNER_BYTES)
    except PathError:
        raise
    except OSError:
        turned_away = _REFUSAL.match(opening.waiting)
        if turned_away:
            told = printable(turned_away[1].decode("latin-1"))
            raise PathError(f"the relay at {where} turns this machine away: {told}") from None
        raise PathError(f"{where} takes connections and closes them: does the firewall let SSH out?") from None
    if not _NAME.search(shown):
        raise PathError(f"{where} answers, but not with SSH")


async def _answer(opening: Opening, where: str, ends: float) -> bytes:
    """The head of the answer to the upgrade, if it is a good one."""
    try:
        async with within(ends, f"{where} does not answer the request for the tunnel's WebSocket"):
            head = await opening.take_head()
    except PathError:
        raise
    except OSError:
        raise PathError(f"{where} closes the connection when asked for the tunnel's WebSocket") from None
    status = int(head[9:12]) if head and _STATUS.match(head) else 0
    if head is None or not status:
        raise PathError(f"what answers at {where} is no web server")
    if status == 101:
        return head
    wait = _RETRY_AFTER.search(head)
    after = retry_after(wait[1].decode("latin-1")) if wait else None
    if status == 401:
        raise TicketRefusedError(f"the relay at {where} does not take this instance's ticket", refused=True)
    if status in {429, 503}:
        raise PathError(f"{where} has too much to do just now ({status})", refused=True, retry_after=after)
    raise PathError(
        f"what answers at {where} does not switch to the tunnel's WebSocket ({status}): does something on the way "
        "to the relay keep WebSockets from passing?",
        retry_after=after,
    )


def _address(endpoint: Endpoint) -> tuple[str, int, bool]:
    """Host, port, and whether by TLS. A ticket travels in the clear to this very machine alone."""
    try:
        url = parse_uri(endpoint.url or "")
    except (InvalidURI, ValueError):
        url = None
    if url is None or url.user_info or not (url.secure or is_loopback(url.host)):
        raise PathError(f"{printable(endpoint.url or 'nothing')!r} is no address of a tunnel's WebSocket", refused=True)
    return url.host, url.port, url.secure
