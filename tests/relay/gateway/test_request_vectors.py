"""Request smuggling: what is ambiguous is refused with 400 and a closed connection, and the store sees not one byte."""

from __future__ import annotations

import asyncio

import pytest

from relay.gateway.front import Front
from tests.relay.gateway.message import CutError, read_message
from tests.relay.gateway.request_vectors import (
    CHUNKED_END,
    CHUNKS,
    FIELDS,
    HOSTS,
    LENGTHS,
    OTHER_STATUS,
    PASSING,
    REFUSED,
    TARGET,
    TARGETS,
    post,
    raw,
)
from tests.relay.gateway.scene import DEADLINE, Recorder, Scene, request
from tests.relay.gateway.store import OK


async def refused(scene: Scene, data: bytes, status: int) -> None:
    """Sent on a connection of its own, it is answered so, and the connection and the store are left alone."""
    client = await scene.client()
    client.send(data)
    answer = await client.answer()
    assert answer.status == status
    assert answer.value("Connection") == b"close"
    assert answer.value("Postern-Origin") == b"caller"
    assert answer.value("Postern-Outcome") == b"not_sent"
    assert await client.rest() == b""
    assert scene.store.received == b""
    assert (await scene.ask()).status == 200
    assert [message.target for message in scene.store.requests] == [b"/api/products"]


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
async def test_ambiguous_requests_get_400_and_a_closed_connection_and_the_store_sees_nothing(
    scene: Scene, data: bytes
) -> None:
    """Each vector: 400, close, not one byte at the store; the next caller is served as if nothing had been."""
    await refused(scene, data, 400)


@pytest.mark.parametrize(("status", "data"), OTHER_STATUS.values(), ids=OTHER_STATUS.keys())
async def test_what_has_a_status_of_its_own_is_refused_with_it(scene: Scene, status: int, data: bytes) -> None:
    """Too long: 414 and 431. Unknown coding: 501. Unknown expectation: 417."""
    await refused(scene, data, status)


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
async def test_a_refusal_does_not_depend_on_how_the_bytes_arrive(scene: Scene, data: bytes) -> None:
    """Cut into two packets, at its ends or in its middle, a vector is refused all the same."""
    for cut in {1, len(data) // 3, len(data) // 2, len(data) - 3, len(data) - 1}:
        front, transport = Front(scene.hall), Recorder()
        front.connection_made(transport)
        front.data_received(data[:cut])
        if not transport.sent:
            front.data_received(data[cut:])
        assert transport.sent.startswith(b"HTTP/1.1 400 "), cut
        assert transport.ended
        front.connection_lost(None)
    assert not scene.route.streams


@pytest.mark.parametrize(("data", "target"), PASSING.values(), ids=PASSING.keys())
async def test_legal_forms_pass(scene: Scene, data: bytes, target: bytes) -> None:
    """What the RFC allows and nobody reads in two ways goes through: one request, with this target."""
    client = await scene.client()
    client.send(data)
    assert (await client.answer()).status == 200
    assert [message.target for message in scene.store.requests] == [target]


async def test_options_asterisk_is_answered_by_the_relay_itself(scene: Scene) -> None:
    """`OPTIONS *` asks the server in front; the connection stays in use, and says so where it does not."""
    client = await scene.client()
    client.send(raw(b"OPTIONS * HTTP/1.1"))
    assert (await client.answer()).status == 204
    client.send(raw(b"OPTIONS * HTTP/1.1", b"Connection: close"))
    last = await client.answer()
    assert (last.status, last.value("Connection")) == (204, b"close")
    assert await client.rest() == b""
    assert scene.store.received == b""


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS.keys())
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "body apart"])
async def test_bad_chunks_get_400_and_never_make_a_whole_request(scene: Scene, body: bytes, *, apart: bool) -> None:
    """The caller gets 400 and a closed connection; what the store has of the request is broken off unfinished."""
    client = await scene.client()
    head = post("Transfer-Encoding: chunked", body=b"")
    client.send(head if apart else head + body)
    if apart:
        visit = await scene.store.visit()
        await scene.until(lambda: b"\r\n\r\n" in visit.received)
        client.send(body)
    answer = await client.answer()
    assert (answer.status, answer.value("Connection")) == (400, b"close")
    assert answer.value("Postern-Outcome") == (b"sent_unknown" if apart else b"not_sent")
    assert await client.rest() == b""
    await scene.until(lambda: all(visit.ended.is_set() for visit in scene.store.visits))
    assert scene.store.requests == []
    assert not scene.store.received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "body", [b"", b"5\r\nhel", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n0\r\nX: y\r\n"]
)
async def test_a_missing_last_chunk_breaks_the_stores_connection(scene: Scene, body: bytes) -> None:
    """A caller that ends its connection inside a chunked body never makes it look complete to the store."""
    client = await scene.client()
    client.send(post("Transfer-Encoding: chunked", body=b""))
    visit = await scene.store.visit()
    await scene.until(lambda: b"\r\n\r\n" in visit.received)
    client.send(body)
    client.half_close()
    assert await client.rest() == b""
    await scene.until(visit.ended.is_set)
    assert scene.store.requests == []
    assert not visit.received.endswith(b"0\r\n\r\n")


async def test_a_cut_body_of_known_length_breaks_the_stores_connection(scene: Scene) -> None:
    """A caller that ends its connection before its Content-Length is not made up for."""
    client = await scene.client()
    client.send(post("Content-Length: 5", body=b"hell"))
    visit = await scene.store.visit()
    await scene.until(lambda: visit.received.endswith(b"hell"))
    client.half_close()
    assert await client.rest() == b""
    await scene.until(visit.ended.is_set)
    assert scene.store.requests == []


async def test_trailers_and_extensions_end_at_the_relay(scene: Scene) -> None:
    """Trailers never become fields: Content-Length, Host and Authorization in them reach nobody."""
    trailers = b"Content-Length: 99\r\nHost: evil.example\r\nAuthorization: Basic eDo=\r\nX-Note: one\r\n"
    body = b"5;a=b;c\r\nhello\r\n6\r\n world\r\n000;d\r\n" + trailers + b"\r\n"
    client = await scene.client()
    client.send(post("Transfer-Encoding: chunked", "Trailer: X-Note", body=body))
    assert (await client.answer()).status == 200
    [message] = scene.store.requests
    assert message.framed == b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    assert message.body == b"hello world"
    assert message.value("Trailer") is None


async def test_a_good_request_with_a_bad_one_behind_it_is_answered_first(scene: Scene) -> None:
    """Pipelining: the first is answered, the second gets 400, the connection closes; the store saw the first alone."""
    vectors = [LENGTHS["CL and TE"], FIELDS["bare LF everywhere"], HOSTS["Host missing"], TARGETS["TRACE"]]
    for number, vector in enumerate(vectors, 1):
        client = await scene.client()
        client.send(request() + vector + request())
        assert (await client.answer()).body == b"ok"
        assert (await client.answer()).status == 400
        assert await client.rest() == b""
        assert len(scene.store.requests) == number


TOKEN_CHARACTERS = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
READ_AS_THEMSELVES = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""To CGI every other character of a name is `_`, so that it would read as the framing field."""
POSITIONS = {
    "before the name": (b"%sTransfer-Encoding: chunked", TOKEN_CHARACTERS),
    "within the name": (b"Transfer%s-Encoding: chunked", TOKEN_CHARACTERS + b":"),
    "instead of the hyphen": (b"Transfer%sEncoding: chunked", READ_AS_THEMSELVES + b"-:"),
    "before the colon": (b"Transfer-Encoding%s: chunked", TOKEN_CHARACTERS),
    "instead of the colon": (b"Transfer-Encoding%s chunked", b":"),
    "behind the colon": (b"Transfer-Encoding:%schunked", b" \t"),
    "within the value": (b"Transfer-Encoding: chun%sked", b""),
    "behind the value": (b"Transfer-Encoding: chunked%s", b" \t"),
}


@pytest.mark.asyncio(loop_factories=["uvloop"])
@pytest.mark.parametrize(("form", "legal"), POSITIONS.values(), ids=POSITIONS.keys())
async def test_every_byte_around_transfer_encoding(scene: Scene, form: bytes, legal: bytes) -> None:
    """256 bytes at each position: 200 for the legal forms alone, else 400; the store reads as many as got 200."""
    for byte in range(256):
        line = form % bytes([byte])
        client = await scene.client()
        client.send(raw(b"POST %s HTTP/1.1" % TARGET.encode(), line) + CHUNKED_END)
        status = (await client.answer()).status
        expected = 200 if byte in legal else 400
        assert status == expected, (line, status)
        client.leave()
    assert len(scene.store.requests) == len(legal)


async def test_an_error_answer_reaches_a_client_that_is_still_sending(scene: Scene) -> None:
    """Lingering close (RFC 9112 §9.6): 8 MiB of body in flight do not destroy the answer by a reset."""
    client = await scene.client()
    client.send(request("Content-Length: 8388608", method="POST", auth=None))
    sending = asyncio.create_task(send_all(client.writer, b"x" * 2**23))
    answer = await client.answer()
    assert answer.status == 401
    assert answer.value("Connection") == b"close"
    assert await client.rest() == b""
    async with asyncio.timeout(DEADLINE):
        await sending


async def send_all(writer: asyncio.StreamWriter, data: bytes) -> None:
    for start in range(0, len(data), 65536):
        writer.write(data[start : start + 65536])
        await writer.drain()


async def test_lingering_has_an_end(scene: Scene) -> None:
    """A client that never stops sending is cut two seconds after its last answer."""
    client = await scene.client()
    client.send(request("Content-Length: 8388608", method="POST", auth=None))
    assert (await client.answer()).status == 401
    await scene.pass_time(2)
    assert len(scene.hall.fronts) == 1
    await scene.pass_time(2)
    await scene.until(lambda: not scene.hall.fronts)


async def test_what_a_client_sends_behind_its_last_answer_is_not_served(scene: Scene) -> None:
    """Behind `Connection: close` nothing is taken any more."""
    client = await scene.client()
    client.send(request("Connection: close") + request())
    first = await client.answer()
    assert first.value("Connection") == b"close"
    assert await client.rest() == b""
    assert len(scene.store.requests) == 1


def test_the_reader_of_the_tests_tells_cut_from_whole() -> None:
    """The tests' own reader would notice: an answer without its last chunk is none."""

    async def read(data: bytes) -> None:
        pieces = [data]

        async def source() -> bytes:
            return pieces.pop() if pieces else b""

        await read_message(source, bytearray())

    asyncio.run(read(OK))
    with pytest.raises(CutError):
        asyncio.run(read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"))
