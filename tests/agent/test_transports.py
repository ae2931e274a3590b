"""The ways to the relay: directly and through proxies, by TCP and by WebSocket, and what is wrong with each."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agent import opening, transports
from agent.dialling import PathError
from agent.https import trust_anchors
from agent.opening import Ways
from agent.proxy import HEAD_BYTES, Proxies, ProxyError
from agent.resolver import Resolver
from agent.transports import TcpDialer, TicketRefusedError, WebSocketDialer
from agent.wire.enrolment import Endpoint
from agent.wire.ssh import SECOND_VERSION
from agent.wire.websocket import PATH
from tests.system.certificates import Certificates

HOST = "127.0.0.1"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Its port; what is still connected at the end is cut."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)

    running = await asyncio.start_server(serve, HOST, 0, ssl=tls)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()
        for writer in writers:
            writer.transport.abort()


def saying(answer: bytes, *, close: bool = False) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(answer)
        if close:
            writer.close()

    return handle


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


def tcp(port: int, host: str = HOST) -> Endpoint:
    return Endpoint(transport="tcp", node="n1", host=host, port=port)


def web(port: int, scheme: str = "ws", host: str = HOST) -> Endpoint:
    url = f"{scheme}://{host}:{port}{PATH}"
    return Endpoint(transport="websocket", node="n1", host=host, port=port, url=url)


def ways(proxy: str | None = None, tls: ssl.SSLContext | None = None) -> Ways:
    return Ways(Resolver(), Proxies.of(SecretStr(proxy) if proxy else None, {}), tls)


def websocket(by: Ways | None = None, ca: Path | None = None, ticket: str | None = "a-ticket") -> WebSocketDialer:
    secret = SecretStr(ticket) if ticket else None
    return WebSocketDialer(by or ways(), trust_anchors(ca), lambda: secret)


async def wrong(dial: Awaitable[Any], kind: type[PathError] = PathError) -> PathError:
    with pytest.raises(kind) as caught:
        await dial
    return caught.value


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dial has half a second."""
    monkeypatch.setattr(transports, "DIAL_SECONDS", 0.5)


async def test_tcp_stands_when_the_relay_has_named_itself() -> None:
    """The agent has said first what it is; what comes behind the relay's name is for SSH."""
    heard: list[bytes] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())
        writer.write(b"a line before\r\nSSH-2.0-relay\r\nmore")

    async with server(relay) as port:
        dialled = await TcpDialer(Resolver()).dial(tcp(port), SECOND_VERSION)
        dialled.abandon()
    assert heard == [b"SSH-2.0-postern second\r\n"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (silent, "takes connections, but SSH does not come through"),
        (saying(b"", close=True), "takes connections and closes them"),
        (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 9000), "answers, but not with SSH"),
        (
            saying(b"postern: too many connections wait to log in; try again in a moment\r\n", close=True),
            "turns this machine away: too many connections wait",
        ),
    ],
    ids=["swallowed", "closed", "another protocol", "turned away"],
)
async def test_tcp_that_ssh_does_not_pass_is_no_way(handler: Handler, told: str) -> None:
    """Firewalls that know SSH let TCP connect: that alone says nothing."""
    async with server(handler) as port:
        error = await wrong(TcpDialer(Resolver()).dial(tcp(port)))
        assert told in str(error)
        assert not error.refused


async def test_a_port_where_nobody_listens() -> None:
    """The system's own error."""
    async with server(silent) as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        await TcpDialer(Resolver()).dial(tcp(port))


async def test_a_name_that_no_longer_resolves_is_dialled_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that is gone takes nobody off the air."""
    async with server(saying(b"SSH-2.0-relay\r\n")) as port:
        resolver = Resolver()
        dialer = TcpDialer(resolver)
        (await dialer.dial(tcp(port, "localhost"))).abandon()

        async def gone(*_: Any) -> Any:
            raise TimeoutError

        monkeypatch.setattr(resolver, "resolve", gone)
        (await dialer.dial(tcp(port, "localhost"))).abandon()
        error = await wrong(dialer.dial(tcp(port, "other.test")))
        assert "the name other.test could not be looked up" in str(error)


UPGRADE_ANSWERS = [
    (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "does not take this instance's ticket", True, None),
    (b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\n\r\n", "too much to do", True, 7.0),
    (b"HTTP/1.1 503 Busy\r\nretry-after: 3\r\n\r\n", "too much to do", True, 3.0),
    (b"HTTP/1.1 404 Not Found\r\n\r\n", r"keep WebSockets from passing", False, None),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", r"\(200\)", False, None),
    (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "does not switch", False, None),
    (b"SSH-2.0-relay\r\n", "is no web server", False, None),
    (b"HTTP/1.1 abc\r\n\r\n", "is no web server", False, None),
    (b"HTTP/1.1 101 X\r\nA: " + b"x" * HEAD_BYTES + b"\r\n\r\n", "is no web server", False, None),
]


@pytest.mark.parametrize(("answer", "told", "refused", "after"), UPGRADE_ANSWERS)
async def test_answers_to_the_upgrade(answer: bytes, told: str, refused: bool, after: float | None) -> None:
    """Each in one sentence; no body is waited for, no head longer than it may be is kept."""
    async with server(saying(answer)) as port:
        kind = TicketRefusedError if b"401" in answer else PathError
        error = await wrong(websocket().dial(web(port)), kind)
    assert (error.refused, error.retry_after) == (refused, after)
    assert re.search(told, str(error))
    assert "a-ticket" not in str(error)


@pytest.mark.usefixtures("impatient")
async def test_an_upgrade_that_nobody_answers() -> None:
    """Silence and an early end are told apart."""
    for handler, told in ((silent, "does not answer the request"), (saying(b"HTTP/1.1", close=True), "closes the")):
        async with server(handler) as port:
            assert told in str(await wrong(websocket().dial(web(port))))


async def test_the_ticket_travels_as_bearer_to_the_address_that_was_named() -> None:
    """With the subprotocol, without compression."""
    heard: list[bytes] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with server(relay) as port:
        await wrong(websocket().dial(web(port)))
    lines = heard[0].decode().split("\r\n")
    assert lines[0] == f"GET {PATH} HTTP/1.1"
    assert {f"Host: {HOST}:{port}", "Authorization: Bearer a-ticket", "Sec-WebSocket-Protocol: postern.ssh.v1"} < set(
        lines
    )
    assert "extensions" not in heard[0].decode().lower()


@pytest.mark.parametrize(
    "url", ["ws://relay.test/x", "http://127.0.0.1/x", "", "wss://", "wss://h:99999/", "ws://[::1"]
)
async def test_a_ticket_is_sent_in_the_clear_to_this_machine_alone(url: str) -> None:
    """What is no `wss` address is dialled only if it is a loopback one."""
    endpoint = Endpoint(transport="websocket", node="n1", host=HOST, port=1, url=url)
    error = await wrong(websocket().dial(endpoint))
    assert error.refused


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates.make(tmp_path, "relay.test")


def tls_of(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.chain, certificates.key)
    return context


@asynccontextmanager
async def proxy(
    to: Mapping[str, int], *, credentials: str = "", tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[str]]]:
    """A CONNECT proxy that knows these names alone; its port, and the request lines it got."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.partition("\r\n")[0])
        wanted = base64.b64encode(credentials.encode()).decode()
        if credentials and f"Proxy-Authorization: Basic {wanted}" not in head:
            writer.write(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n")
            return
        port = to.get(asked[-1].split(" ")[1])
        if port is None:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        theirs, ours = await asyncio.open_connection(HOST, port)
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, ours))
                group.create_task(_copy(theirs, writer))
        except* ConnectionError:
            pass
        finally:
            ours.transport.abort()

    async with server(serve, tls) as port:
        yield port, asked


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def test_tcp_goes_through_the_proxy_too() -> None:
    """The proxy is asked for the name; the agent looks up nothing of it."""
    async with (
        server(saying(b"SSH-2.0-relay\r\n")) as port,
        proxy({"relay.test:2222": port}, credentials="user:pass") as (at, asked),
    ):
        by = ways(f"http://user:pass@{HOST}:{at}")
        (await TcpDialer(Resolver(), by).dial(tcp(2222, "relay.test"))).abandon()
        assert asked == ["CONNECT relay.test:2222 HTTP/1.1"]


async def test_a_websocket_by_tls_through_a_proxy_by_tls(certificates: Certificates, tmp_path: Path) -> None:
    """The ticket is inside the inner TLS; the proxy's own TLS is verified by the same roots."""
    (tmp_path / "proxy").mkdir()
    theirs = Certificates.make(tmp_path / "proxy", "localhost")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(certificates.ca.read_bytes() + theirs.ca.read_bytes())
    heard: list[bytes] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 401 No\r\n\r\n")

    async with (
        server(relay, tls_of(certificates)) as port,
        proxy({"relay.test:443": port}, tls=tls_of(theirs)) as (at, asked),
    ):
        by = ways(f"https://localhost:{at}", trust_anchors(bundle))
        await wrong(websocket(by, bundle).dial(web(443, "wss", "relay.test")), TicketRefusedError)
        assert asked == ["CONNECT relay.test:443 HTTP/1.1"]
        assert b"Bearer a-ticket" in heard[0]
        error = await wrong(TcpDialer(Resolver(), ways(f"https://localhost:{at}")).dial(tcp(22, "r.test")), ProxyError)
        assert "no TLS with the proxy" in str(error)


async def test_an_unknown_certificate_is_told_with_its_issuer(certificates: Certificates) -> None:
    """As behind a TLS-inspecting proxy whose CA nobody has given; the ticket is not sent. With the CA it works."""
    heard: list[bytes] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1000))
        writer.write(b"HTTP/1.1 401 No\r\n\r\n")

    async with server(relay, tls_of(certificates)) as port, proxy({"relay.test:443": port}) as (at, _):
        by = ways(f"http://{HOST}:{at}")
        error = await wrong(websocket(by).dial(web(443, "wss", "relay.test")))
        assert "signed by 'Test CA'" in str(error)
        assert "--ca-file" in str(error)
        assert not any(b"ticket" in each for each in heard)
        await wrong(websocket(by, certificates.ca).dial(web(443, "wss", "relay.test")), TicketRefusedError)


async def test_a_port_without_tls_is_told(certificates: Certificates) -> None:
    """And one that closes."""
    for handler, told in (
        (saying(b"HTTP/1.1 400 plain\r\n\r\n"), "no TLS with"),
        (saying(b"", close=True), "instead of"),
    ):
        async with server(handler) as port:
            assert told in str(await wrong(websocket(ca=certificates.ca).dial(web(port, "wss"))))


PROXY_TROUBLES: list[tuple[Handler, str, bool]] = [
    (saying(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n"), "wants a user name and password", True),
    (saying(b"HTTP/1.1 403 Forbidden\r\n\r\n"), "does not allow relay.test:443", True),
    (saying(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), "cannot reach relay.test:443", False),
    (saying(b"\x16\x03\x01 what"), "is no HTTP proxy", False),
    (saying(b"HTTP/1.1 200 " + b"x" * HEAD_BYTES), "is no HTTP proxy", False),
    (saying(b"HTTP/1.1 2", close=True), "closed the connection when asked for relay.test:443", False),
    (silent, "does not answer when asked for relay.test:443", False),
]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("handler", "told", "refused"), PROXY_TROUBLES)
async def test_a_proxy_in_the_way_is_told_plainly(handler: Handler, told: str, refused: bool) -> None:
    """The same words for both transports; what it says is read within bounds."""
    async with server(handler) as at:
        by = ways(f"http://{HOST}:{at}")
        for dial in (
            websocket(by).dial(web(443, "wss", "relay.test")),
            TcpDialer(Resolver(), by).dial(tcp(443, "relay.test")),
        ):
            error = await wrong(dial)
            assert told in str(error)
            assert error.refused == refused


async def test_a_proxy_that_is_not_there_is_told() -> None:
    """By its own address and not by the relay's."""
    async with server(silent) as at:
        pass
    error = await wrong(websocket(ways(f"http://{HOST}:{at}")).dial(web(443, "wss", "relay.test")))
    assert str(error) == f"the proxy {HOST}:{at} cannot be reached: Connection refused"
    error = await wrong(websocket(ways("http://nosuch.invalid:1")).dial(web(443, "wss", "relay.test")))
    assert str(error).startswith("the name of the proxy nosuch.invalid:1 is not found")


async def test_no_name_smuggles_a_header_into_a_proxy() -> None:
    """Endpoints come from the relay; a name with blanks or line ends is asked of nobody."""
    async with server(silent) as at:
        by = ways(f"http://{HOST}:{at}")
        for host in ("a b", "a\r\nX: y", ""):
            with pytest.raises(ProxyError, match="no name that a proxy could be asked for"):
                await by.open(host, 443, asyncio.get_running_loop().time() + 5)


async def test_what_arrives_before_it_is_taken_is_bounded() -> None:
    """A relay that talks on before SSH begins is not read without end."""

    async def talkative(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-relay\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    async with server(talkative) as port:
        door = await ways().open(HOST, port, asyncio.get_running_loop().time() + 5)
        await asyncio.sleep(0.3)
        assert len(door.waiting) < opening.WAITING_BYTES + 512 * 1024
        assert not door.transport.is_reading()
        door.abort()
