"""A relay for the check's tests: it answers what a visitor asks, and counts what an enrolment would have changed."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent.wire.enrolment import (
    INSTANCE_SIGNATURE,
    NONCE,
    PATH,
    TIME,
    TOKEN,
    TOKEN_SIGNATURE,
    EnrolmentRequest,
    raw_key,
    signed_bytes,
    verify,
)
from agent.wire.websocket import PATH as TUNNEL_PATH
from tests.agent.fake_relay import Answer, FakeRelay

TICKET = "a-ticket"
BANNER = b"\x82\x0fSSH-2.0-relay\r\n"


class VisitedRelay(FakeRelay):
    """Also takes WebSockets, and judges tokens as a relay does. `public_url` is what enrolments are signed for."""

    def __init__(self) -> None:
        super().__init__()
        self.public_url = ""
        self.places_taken: set[str] = set()
        self.renewals = 0
        self.upgrades: list[int] = []
        self.http_answers: dict[str, Answer] = {}

    @property
    def url(self) -> str:
        return self.public_url or super().url

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path in self.http_answers:
            return self.http_answers[path]
        if path == TUNNEL_PATH:
            return self._upgrade(headers)
        if path == PATH and not self.answers:
            return self._judge(headers, body)
        return super()._answer(method, path, headers, body)

    def _upgrade(self, headers: dict[str, str]) -> Answer:
        assert headers["upgrade"] == "websocket"
        ours = headers.get("authorization") == f"Bearer {TICKET}"
        self.upgrades.append(101 if ours else 401)
        return Answer(101, BANNER, {"Upgrade": "websocket"}) if ours else Answer(401)

    def _judge(self, headers: dict[str, str], body: bytes) -> Answer:
        self._note(headers, body)
        request = EnrolmentRequest.model_validate_json(body)
        message = signed_bytes(self.url, int(headers[TIME.lower()]), headers[NONCE.lower()], body)
        assert verify(raw_key(request.public_key), base64.b64decode(headers[INSTANCE_SIGNATURE.lower()]), message)
        if token_id := headers.get(TOKEN.lower()):
            if token_id not in self.tokens:
                return Answer.problem("token_unknown")
            signature = base64.b64decode(headers[TOKEN_SIGNATURE.lower()])
            if not verify(self.tokens[token_id].public_key, signature, message):
                return Answer.problem("signature_invalid")
            self.places_taken.add(request.public_key)
        elif request.public_key not in self.places_taken:
            return Answer.problem("instance_unknown")
        else:
            self.renewals += 1
        return self._enrol(headers, body)


@asynccontextmanager
async def visited_relay(tls: ssl.SSLContext | None = None) -> AsyncIterator[VisitedRelay]:
    relay = VisitedRelay()
    await relay.start_ssh()
    http = await asyncio.start_server(relay.answer_http, "127.0.0.1", 0, ssl=tls)
    relay.http_port = http.sockets[0].getsockname()[1]
    if tls:
        relay.public_url = f"https://localhost:{relay.http_port}"
    try:
        yield relay
    finally:
        http.close()
        await relay.stop_ssh()


@asynccontextmanager
async def connect_proxy(leads_to: int, credentials: str = "") -> AsyncIterator[ConnectProxy]:
    """`leads_to`: the port on this machine that it finds every name at."""
    proxy = ConnectProxy(leads_to, credentials)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()


class ConnectProxy:
    """An HTTP proxy that knows CONNECT alone; with `credentials` (`user:password`) it asks for them."""

    def __init__(self, leads_to: int, credentials: str) -> None:
        self.port = 0
        self._leads_to = leads_to
        self.asked: list[str] = []
        self.status = 200
        self._wanted = f"basic {base64.b64encode(credentials.encode()).decode()}" if credentials else ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            _, target, _ = head[0].split(" ")
            self.asked.append(target)
            given = next((h.partition(":")[2].strip() for h in head if h.lower().startswith("proxy-auth")), "")
            if self._wanted and given.lower() != self._wanted.lower():
                writer.write(b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')
            elif self.status != 200:
                writer.write(f"HTTP/1.1 {self.status} No\r\nContent-Length: 0\r\n\r\n".encode())
            else:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._leads_to)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
