"""TLS on the relay's own listener: the front behind it, as over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import ssl
import weakref
from collections.abc import AsyncIterator, Callable

import pytest
import structlog

from relay.gateway.front import LINGER_SECONDS, STALL_SECONDS, Front
from relay.listening import tls
from relay.listening.caller import Trusted
from relay.listening.entrance import Entrance
from relay.listening.tls import TOLD_SECONDS, TlsTransport
from tests.relay.gateway.scene import DEADLINE, Scene, request
from tests.relay.gateway.store import OK, Visit, answering
from tests.relay.listening.conftest import Pair
from tests.relay.listening.test_proxy_protocol import v1
from tests.relay.listening.tls_client import RaggedEndError, TlsClient, dialled

MIB = 1 << 20


class Served:
    """The scene's front behind an entrance with a certificate."""

    def __init__(self, scene: Scene, pair: Pair, trusted: Trusted, most: int = 100) -> None:
        self.scene, self.pair = scene, pair
        self.entrance = Entrance(trusted, pair.files, scene.clock, handshakes=most)
        self.trusting = ssl.create_default_context(cadata=pair.ca.pem)
        self.trusting.set_alpn_protocols(["h2", "http/1.1"])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Served]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self.entrance.secured(lambda: Front(self.scene.hall)), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield self
        server.close()

    @contextlib.asynccontextmanager
    async def client(self, *, before: bytes = b"", receive_buffer: int | None = None) -> AsyncIterator[TlsClient]:
        async with dialled(self.port, self.trusting, before=before, receive_buffer=receive_buffer) as client:
            await client.shake_hands()
            yield client

    @property
    def transports(self) -> list[TlsTransport]:
        return [front._transport for front in self.scene.hall.fronts if isinstance(front._transport, TlsTransport)]


@pytest.fixture
async def served(scene: Scene, pair: Pair) -> AsyncIterator[Served]:
    async with Served(scene, pair, Trusted()).running() as served:
        yield served


async def test_requests_on_a_kept_connection(served: Served) -> None:
    """One handshake, HTTP/1.1 agreed on, and as many requests as the client likes."""
    served.scene.store.behave = answering(OK)
    async with served.client() as client:
        assert client.tls.selected_alpn_protocol() == "http/1.1"
        assert client.tls.version() == "TLSv1.3"
        for _ in range(20):
            assert (await client.ask()).body == b"ok"
        assert len(served.scene.hall.fronts) == 1
        client.half_close()
        assert await client.rest() == b"", "an orderly end on both sides"
    assert len(served.entrance.waiting) == 0


async def test_the_oldest_tls_that_is_spoken(served: Served) -> None:
    """1.2 is served, 1.1 is not."""
    served.scene.store.behave = answering(OK)
    served.trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    async with served.client() as client:
        assert (client.tls.version(), (await client.ask()).body) == ("TLSv1.2", b"ok")
    served.trusting = ssl.create_default_context(cadata=served.pair.ca.pem)
    served.trusting.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        served.trusting.minimum_version = served.trusting.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        async with served.client():
            pass


async def test_64_mib_each_way(served: Served) -> None:
    """Byte for byte, and neither end keeps much of it."""
    body = bytes(range(256)) * (64 * MIB // 256)
    most = [0]

    async def behave(visit: Visit) -> None:
        while await visit.request():
            visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async def watch() -> None:
        while True:
            most[0] = max([most[0], *(transport.get_write_buffer_size() for transport in served.transports)])
            await asyncio.sleep(0.002)

    served.scene.store.behave = behave
    async with served.client() as client:
        watching = asyncio.create_task(watch())
        client.send(request(f"Content-Length: {len(body)}", method="POST"))
        for position in range(0, len(body), MIB):
            client.send(body[position : position + MIB])
            await client.writer.drain()
        async with asyncio.timeout(60):
            got = await client.answer()
        watching.cancel()
    assert served.scene.store.requests[0].body == body
    assert got.body == body
    assert most[0] < MIB


async def test_a_renewed_certificate_is_for_new_connections(served: Served) -> None:
    """Who has a connection keeps it; who comes sees the new one; a broken pair changes nothing."""
    served.scene.store.behave = answering(OK)
    certificate = served.entrance.certificate
    assert certificate
    async with served.client() as old:
        first = old.certificate
        new = ssl.PEM_cert_to_DER_cert(served.pair.issue().pem)
        certificate.look()
        async with served.client() as client:
            assert client.certificate == new != first
            assert (await client.ask()).body == b"ok"
        assert (await old.ask()).body == b"ok"
        served.pair.key.write_text("nothing")
        certificate.look()
        async with served.client() as client:
            assert client.certificate == new
            assert (await client.ask()).body == b"ok"
        assert (await old.ask()).body == b"ok"


async def test_an_early_answer_survives_the_upload_that_it_refuses(served: Served) -> None:
    """401 to an upload under way: close_notify behind it, and what still comes is read away instead of reset."""
    for _ in range(20):
        async with served.client() as client:
            client.send(request(f"Content-Length: {8 * MIB}", method="POST", auth=None))
            client.send(b"x" * MIB)
            got = await client.answer()
            assert (got.status, got.value("Connection")) == (401, b"close")
            client.send(b"x" * MIB)
            assert await client.rest() == b""
    await served.scene.pass_time(LINGER_SECONDS + 1)
    await served.scene.until(lambda: not served.scene.hall.fronts)


async def test_a_client_that_has_said_all_is_still_answered(served: Served) -> None:
    """close_notify ends one direction only (RFC 8446 §6.1), as a half-close of TCP does."""
    go_on = asyncio.Event()

    async def behave(visit: Visit) -> None:
        await visit.request()
        await go_on.wait()
        visit.send(OK)

    served.scene.store.behave = behave
    async with served.client() as client:
        client.send(request())
        client.half_close()
        await served.scene.until(lambda: served.scene.store.requests)
        go_on.set()
        assert (await client.answer()).body == b"ok"
        assert await client.rest() == b""


async def test_a_client_that_is_gone_frees_the_store(served: Served) -> None:
    """An end without close_notify is an end in the middle."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        await visit.drained()

    served.scene.store.behave = behave
    async with served.client() as client:
        client.send(request())
        await served.scene.until(lambda: served.scene.store.requests)
        client.writer.write_eof()
        await served.scene.until(lambda: not served.scene.hall.fronts)
    (visit,) = served.scene.store.visits
    await served.scene.until(visit.ended.is_set)
    await served.scene.until(lambda: not served.scene.held())
    assert len(visit.requests) == 1


@pytest.mark.parametrize("whole", [True, False])
async def test_a_body_that_lasts_until_close_is_whole_only_with_close_notify(served: Served, *, whole: bool) -> None:
    """A store that ends its answer, and one that breaks it: the client can tell."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.send(b"HTTP/1.0 200 OK\r\n\r\nhalf of it")
        await served.scene.until(lambda: any(front._exchange for front in served.scene.hall.fronts))
        await asyncio.sleep(0.05)  # so that the first half is on its way before the store ends
        visit.end() if whole else visit.abort()

    served.scene.store.behave = behave
    async with served.client() as client:
        client.send(request())
        if whole:
            assert (await client.rest()).endswith(b"half of it")
        else:
            with pytest.raises(RaggedEndError):
                await client.rest()


async def test_a_reader_that_stands_still_costs_little_and_is_cut(served: Served) -> None:
    """The store is held back, the buffer is bounded, and after a minute the connection is broken."""
    sent = [0]

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        with contextlib.suppress(ConnectionError):
            while sent[0] < 64 * MIB:
                visit.send(bytes(65536))
                sent[0] += 65536
                await visit.writer.drain()

    served.scene.store.behave = behave
    async with served.client(receive_buffer=65536) as client:
        client.send(request())
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        await served.scene.until(lambda: any(transport._full for transport in served.transports))
        await asyncio.sleep(0.2)  # time for more to come, if anything let it
        assert sent[0] < 12 * MIB, "the store is held back"
        assert served.transports[0].get_write_buffer_size() < MIB
        took = await served.scene.seconds_until(lambda: not served.scene.hall.fronts)
        assert took == pytest.approx(STALL_SECONDS, abs=5)


async def test_a_slow_reader_gets_its_last_answer_whole(served: Served) -> None:
    """`Connection: close` behind two megabytes, read slowly: nothing is cut off when the relay closes."""
    body = bytes(range(256)) * (2 * MIB // 256)
    served.scene.store.behave = answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    async with served.client(receive_buffer=32768) as client:
        client.send(request("Connection: close"))
        await asyncio.sleep(0.3)
        got = await client.answer()
        assert got.body == body
        assert await client.rest() == b""


async def test_what_does_not_speak_tls_is_told(served: Served) -> None:
    """A browser on http:// reads a sentence; it costs no more than that."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(request())
    async with asyncio.timeout(DEADLINE):
        said = await reader.read()
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    head, _, body = said.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"https://" in body
    writer.close()
    assert len(served.entrance.waiting) == 0


async def test_handshakes_have_a_deadline(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent, or stopped in the middle: closed; no front, no request, no place is held."""
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.2)
    async with dialled(served.port, served.trusting) as silent, dialled(served.port, served.trusting) as half:
        half.writer.write(b"\x16\x03\x01\x02\x00\x01")
        await served.scene.until(lambda: len(served.entrance.waiting) == 2)
        for client in (silent, half):
            async with asyncio.timeout(DEADLINE):
                with contextlib.suppress(ConnectionError):
                    assert await client.reader.read() == b""
    await served.scene.until(lambda: len(served.entrance.waiting) == 0)
    assert not served.scene.hall.fronts


async def test_handshakes_are_bounded_in_number(scene: Scene, pair: Pair) -> None:
    """One more than there is room for is turned away; the others go on."""
    scene.store.behave = answering(OK)
    async with contextlib.AsyncExitStack() as stack:
        served = await stack.enter_async_context(Served(scene, pair, Trusted(), most=2).running())
        clients = [await stack.enter_async_context(dialled(served.port, served.trusting)) for _ in range(2)]
        await scene.until(lambda: len(served.entrance.waiting) == 2)
        async with dialled(served.port, served.trusting) as three, asyncio.timeout(DEADLINE):
            with contextlib.suppress(ConnectionError):
                assert await three.reader.read() == b""
        for client in clients:
            await client.shake_hands()
            assert (await client.ask()).body == b"ok"


async def test_failed_handshakes_make_one_line_a_minute(served: Served) -> None:
    """However many there are; the line says how many, and why the last one failed."""
    with structlog.testing.capture_logs() as logs:
        for _ in range(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"\x16\x03\x01\x00\x05hello")
            async with asyncio.timeout(DEADLINE):
                with contextlib.suppress(ConnectionError):
                    await reader.read()
            writer.close()
        await served.scene.until(lambda: len(served.entrance.waiting) == 0)
        for _ in range(int(TOLD_SECONDS) * 3):
            served.scene.clock.forward(1)
            served.entrance.sweep()
    assert [(line["event"], line["count"]) for line in logs] == [("TLS handshakes failed", 30)]
    assert logs[0]["last"]


async def test_the_certificate_is_looked_at_every_few_seconds(served: Served) -> None:
    """And at once when asked."""
    certificate = served.entrance.certificate
    assert certificate
    contexts: list[ssl.SSLContext] = [certificate.context]
    steps: list[Callable[[], None]] = [served.entrance.sweep, served.entrance.reload]
    for step in steps:
        served.pair.issue()
        served.scene.clock.forward(tls.HANDSHAKE_SECONDS)
        step()
        contexts.append(certificate.context)
    assert len({id(context) for context in contexts}) == 3


async def test_a_proxys_header_comes_before_tls(scene: Scene, pair: Pair) -> None:
    """The client behind it is who asks, and its handshake begins where the header ends."""
    seen: list[str] = []
    scene.store.behave = answering(OK)
    trusted = Trusted([ipaddress.ip_network("127.0.0.0/8")])
    async with Served(scene, pair, trusted).running() as served:
        for before in (v1("198.51.100.7"), b""):
            async with served.client(before=before) as client:
                assert (await client.ask()).body == b"ok"
                seen.append(str(served.transports[0].get_extra_info("postern_remote")))
            await scene.until(lambda: not scene.hall.fronts)
    assert seen == ["198.51.100.7", "None"]


async def test_a_peer_that_makes_tls_talk_and_does_not_read_is_cut(served: Served) -> None:
    """While the client takes nothing, the relay writes nothing more for TLS's own sake."""
    served.scene.store.behave = answering(OK)
    async with served.client() as client:
        assert (await client.ask()).body == b"ok"
        transport = served.transports[0]
        transport._full = True
        transport._outgoing.write(b"an answer of TLS itself")
        client.send(request())
        await served.scene.until(lambda: not served.scene.hall.fronts)


async def test_many_connections_come_and_go(served: Served) -> None:
    """Nothing of them stays behind."""
    served.scene.store.behave = answering(OK)
    made: list[weakref.ref[TlsTransport]] = []
    for _ in range(5):
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(served.client()) for _ in range(10)]
            for client in clients:
                assert (await client.ask()).body == b"ok"
            made += [weakref.ref(transport) for transport in served.transports]
        await served.scene.until(lambda: not served.scene.hall.fronts)
    assert len(made) == 50
    await served.scene.until(lambda: gc.collect() >= 0 and not any(ref() for ref in made))
