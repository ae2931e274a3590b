"""Request smuggling: what is ambiguous is refused with 400 and a closed connection, and the store sees not one byte."""

from __future__ import annotations

import asyncio

import pytest

from relay.gateway.front import Front
from tests.relay.gateway.message import CutError
from tests.relay.gateway.scene import ACCESS_KEY, API, DEADLINE, Scene, basic, request
from tests.relay.gateway.store import OK

CHUNKED_END = b"0\r\n\r\n"
TARGET = f"{API}/products"


def post(*fields: str, body: bytes = b"hello", version: str = "1.1") -> bytes:
    return request(*fields, method="POST", body=body, version=version)


def raw(line: bytes, *fields: bytes, host: bytes | None = b"Host: relay.example") -> bytes:
    """A request of exact lines; the fields that let it through stand behind those given."""
    lines = [line, *fields, b"Authorization: " + basic(ACCESS_KEY).encode()]
    lines += [host] if host is not None else []
    return b"\r\n".join([*lines, b"", b""])


def get(*fields: bytes, host: bytes | None = b"Host: relay.example") -> bytes:
    return raw(b"GET %s HTTP/1.1" % TARGET.encode(), *fields, host=host)


LENGTHS = {
    "CL and TE": post("Content-Length: 5", "Transfer-Encoding: chunked", body=CHUNKED_END),
    "TE and CL": post("Transfer-Encoding: chunked", "Content-Length: 5", body=CHUNKED_END),
    "two different CL": post("Content-Length: 5", "Content-Length: 6"),
    "two equal CL": post("Content-Length: 5", "Content-Length: 5"),
    "CL as a list": post("Content-Length: 5, 5"),
    **{
        f"CL {value!r}": post(f"Content-Length: {value}")
        for value in ("+5", "-0", "-5", "0x5", "5_0", "05", "00", '"5"', '"5 "', "5 5", "5,", ",5", "5.0", "5e0", "",
                      " ", str(2**64), str(2**63), "9" * 30, "\xef\xbc\x95", "\xb2", "5\x0b", "\x0c5", "5\xa0")
    },
}  # fmt: skip

CODINGS = {
    **{
        f"TE {value!r}": post(f"Transfer-Encoding: {value}", body=CHUNKED_END)
        for value in ("xchunked", "chunkedx", "chunked, identity", "identity", ", chunked", "chunked,", "chunked, chunked",
                      '"chunked"', "'chunked'", "chunked;q=1", "chunked; q=1", "chunked\x0b", "\x0bchunked", "chunked\x0c",
                      "\x0cchunked", "chunked\x00", "\x00chunked", "chunked\xa0", "\xa0chunked", "chunked\x85",
                      "\x85chunked", "", "chun ked", "chunked chunked", "c\xc4\xa7unked")
    },
    "TE twice": post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=CHUNKED_END),
    "TE chunked, then identity": post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=CHUNKED_END),
    "TE identity, then chunked": post("Transfer-Encoding: identity", "Transfer-Encoding: chunked", body=CHUNKED_END),
    "TE with a space before the colon": post("Transfer-Encoding : chunked", body=CHUNKED_END),
    "TE with a tab before the colon": post("Transfer-Encoding\t: chunked", body=CHUNKED_END),
    "TE behind a space as first field":
        raw(b"POST %s HTTP/1.1" % TARGET.encode(), b" Transfer-Encoding: chunked") + CHUNKED_END,
    "TE behind a tab as first field":
        raw(b"POST %s HTTP/1.1" % TARGET.encode(), b"\tTransfer-Encoding: chunked") + CHUNKED_END,
    "TE folded": post("Transfer-Encoding:\r\n chunked", body=CHUNKED_END),
    "TE in HTTP/1.0": post("Transfer-Encoding: chunked", body=CHUNKED_END, version="1.0"),
}  # fmt: skip

FIELDS = {
    "obs-fold with a space": get(b"X-Note: one\r\n two"),
    "obs-fold with a tab": get(b"X-Note: one\r\n\ttwo"),
    "obs-fold before the first field": get(b" folded"),
    "empty folded line": get(b"X-Note: one\r\n "),
    "name with a space": get(b"X Note: one"),
    "name with a NUL": get(b"X\x00Note: one"),
    "name outside ASCII": get(b"X-N\xf6te: one"),
    "name with a colon first": get(b": one"),
    "empty name": get(b":"),
    "name in brackets": get(b"X(Note): one"),
    "line without a colon": get(b"X-Note"),
    "space before the colon": get(b"X-Note : one"),
    "NUL in a value": get(b"X-Note: o\x00ne"),
    "bell in a value": get(b"X-Note: o\x07ne"),
    "DEL in a value": get(b"X-Note: o\x7fne"),
    "bare CR in a value": get(b"X-Note: one\rtwo"),
    "bare CR that hides a field": get(b"X-Note: one\rTransfer-Encoding: chunked"),
    "bare CR at the end of a value": get(b"X-Note: one\r"),
    "bare CR instead of CRLF": get(b"X-Note: one").replace(b"one\r\n", b"one\r"),
    "bare LF in a value": get(b"X-Note: one\nX-Other: two"),
    "bare LF that hides a field": get(b"X-Note: one\nTransfer-Encoding: chunked"),
    "LF CR": get(b"X-Note: one\n\rX-Other: two"),
    "CR CR LF": get(b"X-Note: one\r\r\nX-Other: two"),
    "bare LF behind the request line": get().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n"),
    "bare LF everywhere": get().replace(b"\r\n", b"\n"),
    "bare CR everywhere": get().replace(b"\r\n", b"\r") + b"\r\n\r\n",
    "bare LF as empty line": get()[:-2] + b"\n",
    **{
        f"{name.decode()} in disguise": get(name + b": 5")
        for name in (b"Content_Length", b"content_length", b"CONTENT_LENGTH", b"Transfer_Encoding", b"Keep_Alive",
                     b"Proxy_Connection", b"Proxy_Authorization")
    },
}  # fmt: skip

HOSTS = {
    "Host missing": get(host=None),
    "two Hosts": get(b"Host: relay.example"),
    "two different Hosts": get(b"Host: other.example"),
    **{
        f"Host {value!r}": get(host=b"Host: " + value)
        for value in (b"a@b", b"a/b", b"a\\b", b"", b" ", b"a, b", b"a,b", b"a b", b"a?b", b"a#b", b"[::1", b"a:b",
                      b"a:80:80", b"a:", b":80", b"a:8080808", b"\xe4", b"a%00b")
    },
}  # fmt: skip

TARGETS = {
    "GET *": raw(b"GET * HTTP/1.1"),
    "POST *": raw(b"POST * HTTP/1.1"),
    "CONNECT authority": raw(b"CONNECT shop.example:80 HTTP/1.1"),
    "CONNECT path": raw(b"CONNECT %s HTTP/1.1" % TARGET.encode()),
    "TRACE": raw(b"TRACE %s HTTP/1.1" % TARGET.encode()),
    "trace in lower case": raw(b"trace %s HTTP/1.1" % TARGET.encode()),
    "TRACE *": raw(b"TRACE * HTTP/1.1"),
}

REQUEST_LINES = {
    line.decode("latin-1"): raw(line.replace(b"TARGET", TARGET.encode()))
    for line in (b"GET  TARGET HTTP/1.1", b"GET TARGET  HTTP/1.1", b"GET TARGET\tHTTP/1.1", b"GET\tTARGET HTTP/1.1",
                 b" GET TARGET HTTP/1.1", b"GET TARGET HTTP/1.1 ", b"GET TARGET HTTP/1.10", b"GET TARGET HTTP/1.2",
                 b"GET TARGET HTTP/2.0", b"GET TARGET HTTP/2", b"GET TARGET HTTP/0.9", b"GET TARGET HTTP/01.1",
                 b"GET TARGET HTTP/1.01", b"GET TARGET http/1.1", b"GET TARGET HTTP 1.1", b"GET TARGET HTTPS/1.1",
                 b"GET TARGET", b"GET", b"GET TARGET x HTTP/1.1", b"GET TAR\x00GET HTTP/1.1", b"GET TARGET\xe9 HTTP/1.1",
                 b"GET TARGET\x7f HTTP/1.1", b"G(T TARGET HTTP/1.1", b"G\x00T TARGET HTTP/1.1", b"G\xc9T TARGET HTTP/1.1",
                 b" TARGET HTTP/1.1", b"GET TARGET HTTP/1.1\rX: y", b"\x16\x03\x01\x02\x00", b"SSH-2.0-OpenSSH_9.2")
}  # fmt: skip

NOMINATED = {
    f"Connection: {value}": request(f"Connection: {value}")
    for value in ("close, content-length", "content-length", "Content-Length", "transfer-encoding", "host", "HOST",
                  "authorization", "x-forwarded-for, authorization", "close, Host", "keep-alive,host")
}  # fmt: skip

REFUSED = LENGTHS | CODINGS | FIELDS | HOSTS | TARGETS | REQUEST_LINES | NOMINATED

OTHER_STATUS = {
    "request line of 64 KiB": (414, request(target=TARGET + "?" + "a" * 65536)),
    "request line of 64 KiB without an end": (414, b"GET /" + b"a" * 65536),
    "101 fields": (431, request(*[f"X-{n}: {n}" for n in range(101)])),
    "65 KiB of fields": (431, request(*[f"X-{n}: " + "a" * 1000 for n in range(66)])),
    "65 KiB of fields without an end": (431, request(*[f"X-{n}: " + "a" * 1000 for n in range(66)])[:-4]),
    "unknown coding before chunked": (501, post("Transfer-Encoding: gzip, chunked", body=CHUNKED_END)),
    "unknown expectation": (417, post("Expect: 200-ok", "Content-Length: 5")),
}


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
    """Cut anywhere into two packets, a vector is refused all the same, and so it is behind a good request."""
    loop = asyncio.get_running_loop()
    for cut in {1, len(data) // 3, len(data) // 2, len(data) - 3, len(data) - 1}:
        front, transport = Front(scene.hall), Recorder()
        front.connection_made(transport)
        front.data_received(data[:cut])
        if not transport.sent:
            front.data_received(data[cut:])
        assert transport.sent.startswith(b"HTTP/1.1 400 "), cut
        assert transport.ended
        front.connection_lost(None)
    await loop.shutdown_asyncgens()
    assert not scene.route.streams


class Recorder(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


PASSING = {
    "absolute-form with another Host": (request(target=f"http://other.example{TARGET}"), b"/api/products"),
    "absolute-form with https": (request(target=f"https://relay.example:8443{TARGET}"), b"/api/products"),
    "request line of 8,000 octets": (
        request(target=TARGET + "?" + "a" * (8000 - len(f"GET {TARGET}? HTTP/1.1"))),
        b"/api/products?" + b"a" * (8000 - len(f"GET {TARGET}? HTTP/1.1")),
    ),
    "100 fields": (request(*[f"X-{n}: {n}" for n in range(98)]), b"/api/products"),
    "a tab before the coding": (post("Transfer-Encoding:\tchunked", body=CHUNKED_END), b"/api/products"),
    "the coding in capitals": (post("TRANSFER-ENCODING: CHUNKED", body=CHUNKED_END), b"/api/products"),
    "blanks around the length": (post("Content-Length: \t5 \t"), b"/api/products"),
    "other names with _": (request("X_Note: one", "_: two"), b"/api/products"),
    "every token character in a name": (request("!#$%&'*+-.^_`|~09azAZ: one"), b"/api/products"),
    "empty values": (request("X-Note:", "X-Other: "), b"/api/products"),
    "values outside ASCII": (request("X-Note: \xe9\xff"), b"/api/products"),
    "an empty line before the request line": (b"\r\n" + request(), b"/api/products"),
    "HTTP/1.0 without Host": (
        b"GET %s HTTP/1.0\r\nAuthorization: %s\r\n\r\n" % (TARGET.encode(), basic(ACCESS_KEY).encode()),
        b"/api/products",
    ),
    "Connection names TE": (request("Connection: TE, close", "TE: trailers"), b"/api/products"),
    "Host with a port": (get(host=b"Host: relay.example:8443"), b"/api/products"),
    "Host is an IPv6 address": (get(host=b"Host: [2001:db8::1]:8443"), b"/api/products"),
}


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


CHUNKS = {
    "size 0x5": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size +5": b"+5\r\nhello\r\n0\r\n\r\n",
    "size -1": b"-1\r\nhello\r\n0\r\n\r\n",
    "size 5_": b"5_\r\nhello\r\n0\r\n\r\n",
    "size behind a space": b" 5\r\nhello\r\n0\r\n\r\n",
    "size before a space": b"5 \r\nhello\r\n0\r\n\r\n",
    "empty size": b"\r\nhello\r\n0\r\n\r\n",
    "size of an extension only": b";a=b\r\nhello\r\n0\r\n\r\n",
    "no hexadecimal digit": b"g\r\nhello\r\n0\r\n\r\n",
    "17 hexadecimal digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "17 large hexadecimal digits": b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "bare LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "bare CR behind the size": b"5\rhello\r\n0\r\n\r\n",
    "CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;a\x00b\r\nhello\r\n0\r\n\r\n",
    "extension of 64 KiB": b"5;" + b"a" * 65536 + b"\r\nhello\r\n0\r\n\r\n",
    "data not followed by CRLF": b"5\r\nhelloX\r\n0\r\n\r\n",
    "data followed by LF": b"5\r\nhello\n0\r\n\r\n",
    "data followed by CR": b"5\r\nhello\r0\r\n\r\n",
    "data longer than its size": b"3\r\nhello\r\n0\r\n\r\n",
    "data shorter than its size": b"7\r\nhello\r\n0\r\n\r\n",
    "trailer without a colon": b"5\r\nhello\r\n0\r\nX-Note\r\n\r\n",
    "trailer folded": b"5\r\nhello\r\n0\r\nX-Note: a\r\n b\r\n\r\n",
    "trailer with a space before the colon": b"5\r\nhello\r\n0\r\nX-Note : a\r\n\r\n",
    "trailer with a bare CR": b"5\r\nhello\r\n0\r\nX-Note: a\rb\r\n\r\n",
    "trailer with a bare LF": b"5\r\nhello\r\n0\r\nX-Note: a\n\r\n",
    "bare LF as last line": b"5\r\nhello\r\n0\r\n\n",
    "second size -0": b"5\r\nhello\r\n-0\r\n\r\n",
}


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


@pytest.mark.parametrize("body", [b"", b"5\r\nhel", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n0\r\nX: y\r\n"])
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


async def test_pipelined_requests_are_answered_in_order_each_by_its_own_answer(scene: Scene) -> None:
    """Twenty requests at once, bodies among them, come back in their order, and one at a time reaches the store."""

    async def echo(visit: object) -> None:
        while message := await visit.request():  # type: ignore[attr-defined]
            body = message.target + b" " + message.body
            visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))  # type: ignore[attr-defined]

    scene.store.behave = echo
    client = await scene.client()
    for n in range(20):
        body = b"body %d" % n if n % 2 else b""
        fields = [f"Content-Length: {len(body)}"] if body else []
        client.send(request(*fields, method="POST" if body else "GET", target=f"{API}/orders/{n}", body=body))
    for n in range(20):
        expected = b"/api/orders/%d body %d" % (n, n) if n % 2 else b"/api/orders/%d " % n
        assert (await client.answer()).body == expected


async def test_pipelined_requests_are_answered_though_the_client_has_half_closed(scene: Scene) -> None:
    """Who sends three requests and ends its side gets three answers, then the end."""
    client = await scene.client()
    client.send(request() * 3)
    client.half_close()
    for _ in range(3):
        assert (await client.answer()).body == b"ok"
    assert await client.rest() == b""


TOKEN_CHARACTERS = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
POSITIONS = {
    "before the name": (b"%sTransfer-Encoding: chunked", TOKEN_CHARACTERS),
    "within the name": (b"Transfer%s-Encoding: chunked", TOKEN_CHARACTERS + b":"),
    "instead of the hyphen": (b"Transfer%sEncoding: chunked", TOKEN_CHARACTERS.replace(b"_", b":")),
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
        from tests.relay.gateway.message import read_message  # noqa: PLC0415 - only here

        pieces = [data]

        async def source() -> bytes:
            return pieces.pop() if pieces else b""

        await read_message(source, bytearray())

    asyncio.run(read(OK))
    with pytest.raises(CutError):
        asyncio.run(read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"))
