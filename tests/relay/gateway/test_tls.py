"""https stores: verified always and before a byte is sent, by CA or pinned key; a cut never looks like an end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import ssl
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from agent.wire.destination import Destination
from relay.gateway import tls
from relay.gateway.routes import Routes
from relay.records import Mode, StoreUrl, Trust
from tests.relay.gateway.certificates import DAY, NOW, Issued, authority, certificate
from tests.relay.gateway.scene import Direct, Scene, TcpStream, request
from tests.relay.gateway.store import OK, Visit, answering

CA = authority()
OTHER_CA = authority("Other CA")
GOOD = certificate(CA)
MIB = 2**20


@contextlib.asynccontextmanager
async def secured(
    scene: Scene, trust: Trust, shown: Issued = GOOD, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> AsyncIterator[ssl.SSLContext]:
    """The scene's store behind TLS, reached by the real choice of routes over the direct one."""
    routes = Routes(cast("Any", None))
    routes._routes[Mode.ON_PREMISE] = scene.route
    scene.gateway._route = routes
    context = shown.server(version)
    async with scene.store.listening(context) as port:
        scene.change(store=StoreUrl("https", Destination("shop.example", port)), trust=trust)
        yield context


ACCEPTED = {
    "own CA": (Trust(ca_pem=CA.pem), GOOD),
    "pinned key": (Trust(pinned_spki_sha256=GOOD.pin), GOOD),
    "pinned key in capitals": (Trust(pinned_spki_sha256=GOOD.pin.upper()), GOOD),
    "pinned, though self-signed": (Trust(pinned_spki_sha256=(own := certificate(None)).pin), own),
    "pinned, though of another name": (
        Trust(pinned_spki_sha256=(named := certificate(CA, "other.example")).pin),
        named,
    ),
    "pinned, though expired": (
        Trust(pinned_spki_sha256=(old := certificate(CA, begins=NOW - 9 * DAY, ends=NOW - DAY)).pin),
        old,
    ),
}


@pytest.mark.parametrize(("trust", "shown"), ACCEPTED.values(), ids=ACCEPTED.keys())
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_store_that_proves_itself_is_served(
    scene: Scene, trust: Trust, shown: Issued, version: ssl.TLSVersion
) -> None:
    """By the connection's own CA, or by the one key that was pinned; lines are kept and used again."""
    async with secured(scene, trust, shown, version):
        client = await scene.client()
        for method in ("GET", "POST", "GET"):
            assert (await client.ask(method=method)).body == b"ok"
    assert len(scene.store.visits) == 1
    assert scene.store.requests[0].value("Host") == str(scene.connection.store.destination).encode()


REFUSED = {
    "public roots, private CA": (Trust(), GOOD, "issuer"),
    "another CA": (Trust(ca_pem=CA.pem), certificate(OTHER_CA), "issuer"),
    "a CA of the same name": (Trust(ca_pem=CA.pem), certificate(authority()), ""),
    "self-signed": (Trust(ca_pem=CA.pem), certificate(None), "self-signed"),
    "wrong name": (Trust(ca_pem=CA.pem), certificate(CA, "other.example"), "ostname mismatch"),
    "name of a part": (Trust(ca_pem=CA.pem), certificate(CA, "example"), "ostname mismatch"),
    "expired": (Trust(ca_pem=CA.pem), certificate(CA, begins=NOW - 9 * DAY, ends=NOW - DAY), "expired"),
    "not valid yet": (Trust(ca_pem=CA.pem), certificate(CA, begins=NOW + DAY, ends=NOW + 2 * DAY), "not yet valid"),
    "another key than the pinned one": (Trust(pinned_spki_sha256=GOOD.pin), certificate(CA), "pinned"),
    "a pin beside a CA that fits": (Trust(ca_pem=CA.pem, pinned_spki_sha256=OTHER_CA.pin), GOOD, "pinned"),
}


@pytest.mark.parametrize(("trust", "shown", "reason"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_store_that_does_not_is_sent_nothing(
    scene: Scene, trust: Trust, shown: Issued, reason: str, version: ssl.TLSVersion
) -> None:
    """502 `store_tls` with the reason, not sent; not one byte of the request, nor of the key, went out."""
    async with secured(scene, trust, shown, version):
        failed = await scene.ask()
        assert (failed.status, failed.value("Postern-Error"), failed.value("Postern-Origin")) == (
            502,
            b"store_tls",
            b"store",
        )
        assert failed.value("Postern-Outcome") == b"not_sent"
        assert reason in failed.body.decode()
        await scene.until(lambda: all(stream.transport.is_closing() for stream in scene.route.streams))
        assert scene.store.received == b""


async def test_the_stores_name_is_told_and_http_1_1_alone_is_offered(scene: Scene) -> None:
    """SNI is the shop's own name; a store that could speak h2 is not asked to."""
    names: list[str | None] = []
    protocols: list[str | None] = []

    async def behave(visit: Visit) -> None:
        protocols.append(visit.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await answering(OK)(visit)

    scene.store.behave = behave
    async with secured(scene, Trust(ca_pem=CA.pem)) as context:
        context.set_alpn_protocols(["h2", "http/1.1"])
        context.sni_callback = lambda _socket, name, _context: names.append(name)
        assert (await scene.ask()).status == 200
    assert names == ["shop.example"]
    assert protocols == ["http/1.1"]


async def test_a_store_that_speaks_plainly_on_its_port_is_refused(scene: Scene) -> None:
    """http where https was promised: 502 `store_tls`, not a word of HTTP was said."""
    async with secured(scene, Trust(ca_pem=CA.pem)):

        async def behave(visit: Visit) -> None:
            await visit.some()
            visit.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            visit.end()

        async with scene.store.listening() as plain:
            scene.store.behave = behave
            scene.change(store=StoreUrl("https", Destination("shop.example", plain)))
            failed = await scene.ask()
    assert (failed.status, failed.value("Postern-Error")) == (502, b"store_tls")
    assert b"GET" not in scene.store.received


@pytest.mark.parametrize("how", ["end", "abort"])
async def test_a_store_that_closes_during_the_handshake(scene: Scene, how: str) -> None:
    """502 `store_tls`, at once."""
    async with secured(scene, Trust(ca_pem=CA.pem)):

        async def behave(visit: Visit) -> None:
            await visit.some()
            getattr(visit, how)()

        async with scene.store.listening() as plain:
            scene.store.behave = behave
            scene.change(store=StoreUrl("https", Destination("shop.example", plain)))
            failed = await scene.ask()
    assert (failed.status, failed.value("Postern-Error")) == (502, b"store_tls")


async def test_a_handshake_has_a_deadline(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that takes the connection and says nothing: 502 `store_tls` when the time is over, the stream closed."""
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.05)
    async with secured(scene, Trust(ca_pem=CA.pem)), scene.store.listening() as plain:
        scene.change(store=StoreUrl("https", Destination("shop.example", plain)))
        failed = await scene.ask()
        await scene.until(scene.route.streams[0].transport.is_closing)
    assert (failed.status, failed.value("Postern-Error")) == (502, b"store_tls")


async def test_an_end_without_close_notify_is_a_cut(scene: Scene) -> None:
    """A body that lasts until close: only TLS's own end completes it (RFC 8446 §6.1)."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
        await visit.writer.drain()
        await go_on.wait()
        visit.writer.close() if whole else visit.writer.transport.abort()

    scene.store.behave = behave
    async with secured(scene, Trust(ca_pem=CA.pem)):
        for whole in (True, False):
            go_on = asyncio.Event()
            client = await scene.client()
            client.send(request())
            await client.reader.readuntil(b"until the end")
            go_on.set()
            if whole:
                assert await client.rest() == b""
            else:
                with pytest.raises(ConnectionResetError):
                    await client.reader.read()


async def test_a_cut_before_the_answer_is_retried_like_any(scene: Scene) -> None:
    """TLS changes nothing about what may be sent again."""
    left = [1]

    async def behave(visit: Visit) -> None:
        while await visit.request():
            if left[0]:
                left[0] -= 1
                visit.writer.transport.abort()
                return
            visit.send(OK)

    scene.store.behave = behave
    async with secured(scene, Trust(ca_pem=CA.pem)):
        assert (await scene.ask()).body == b"ok"
        left[0] = 1
        await scene.pass_time(1)
        assert (await scene.ask(method="POST")).status == 502
    assert [message.line[:4] for message in scene.store.requests] == [b"GET ", b"GET ", b"POST"]


async def test_bytes_that_are_no_tls_break_the_line(scene: Scene) -> None:
    """Somebody on the way spoils a record: nothing of it is delivered, the answer breaks off."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await visit.drained()

    scene.store.behave = behave
    async with secured(scene, Trust(ca_pem=CA.pem)):
        client = await scene.client()
        client.send(request())
        await client.reader.readuntil(b"half")
        scene.route.streams[0].data_received(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        assert await client.rest() == b""
        await scene.until(scene.route.streams[0].transport.is_closing)


async def test_an_upload_on_a_line_that_tls_has_broken_is_answered(scene: Scene) -> None:
    """The body goes on coming after a spoiled record: the caller gets its 502, and the loop no exception."""
    async with secured(scene, Trust(ca_pem=CA.pem)):
        client = await scene.client()
        client.send(request("Content-Length: 100000", method="POST", body=b"x" * 1000))
        visit = await scene.store.visit()
        await scene.until(lambda: visit.received.endswith(b"x" * 1000))
        [front] = scene.hall.fronts
        scene.route.streams[0].data_received(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        front.data_received(b"x" * 1000)
        failed = await client.answer()
    assert (failed.status, failed.value("Postern-Outcome")) == (502, b"sent_unknown")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_large_bodies_both_ways(scene: Scene, version: ssl.TLSVersion) -> None:
    """Eight MiB up and eight back, to the byte."""
    upload, download = os.urandom(8 * MIB), os.urandom(8 * MIB)
    scene.store.behave = answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(download) + download)
    async with secured(scene, Trust(ca_pem=CA.pem), version=version):
        client = await scene.client()
        for _ in range(2):
            client.send(request(f"Content-Length: {len(upload)}", method="PUT", body=upload))
            assert hashlib.sha256((await client.answer()).body).digest() == hashlib.sha256(download).digest()
    assert [hashlib.sha256(message.body).digest() for message in scene.store.requests] == [
        hashlib.sha256(upload).digest()
    ] * 2


class Trickle(TcpStream):
    """Delivers what comes in tiny pieces, one per loop turn, and heeds a pause between them."""

    def __init__(self) -> None:
        super().__init__()
        self._undelivered = bytearray()
        self._paused = False
        self._scheduled = False
        self._ended = False

    def data_received(self, data: bytes) -> None:
        self._undelivered += data
        self._schedule()

    def eof_received(self) -> bool:
        self._ended = True
        self._schedule()
        return True

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._paused:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        piece, self._undelivered = bytes(self._undelivered[:17]), self._undelivered[17:]
        if piece:
            super().data_received(piece)
            self._schedule()
        elif self._ended:
            super().eof_received()


class Slow(Direct):
    async def open(self, connection: Any) -> Any:
        port = connection.store.destination.port
        _, stream = await asyncio.get_running_loop().create_connection(Trickle, "127.0.0.1", port)
        self.streams.append(stream)
        return stream, self


async def test_a_session_through_a_slow_stream(scene: Scene) -> None:
    """Handshake, requests and answers in pieces of 17 bytes, records cut anywhere."""
    scene.route = Slow()
    body = os.urandom(20000)
    chunked = (
        b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:9000], body[9000:])) + b"0\r\n\r\n"
    )
    scene.store.behave = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked)
    async with secured(scene, Trust(ca_pem=CA.pem)):
        client = await scene.client()
        for method in ("GET", "POST"):
            assert (await client.ask(method=method)).body == body
    assert len(scene.store.visits) == 1


def test_there_is_no_way_to_turn_verification_off() -> None:
    """Every trust gives a context that verifies, but for a pin, which is checked by its own code."""
    for trust in (Trust(), Trust(ca_pem=CA.pem)):
        context = tls.context_for(trust)
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert set(Trust.__dataclass_fields__) == {"ca_pem", "pinned_spki_sha256"}
