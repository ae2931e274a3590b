"""A relay for the agent's tests: it enrols over HTTP, takes tunnels over SSH, and opens channels."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from agent.wire import ssh
from agent.wire.control import FROM_AGENT, ControlChannel, Message
from agent.wire.destination import CONTROL
from agent.wire.enrolment import (
    INSTANCE_SIGNATURE,
    NONCE,
    PATH,
    TIME,
    TOKEN,
    TOKEN_SIGNATURE,
    EnrolmentRequest,
    ca_fingerprint,
    instance_id,
    raw_key,
    signed_bytes,
    succession_bytes,
    verify,
)
from agent.wire.token import AccessToken, new_id

PRINCIPAL = "relay.test"


def line(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key().decode().split()[:2])


@dataclass
class Asked:
    """One enrolment as it arrived."""

    headers: dict[str, str]
    request: EnrolmentRequest
    token_id: str | None


@dataclass
class Answer:
    """An HTTP answer that a test prescribes in place of the relay's own."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def problem(cls, code: str, status: int = 403, headers: dict[str, str] | None = None, **members: Any) -> Answer:
        return cls(status, json.dumps({"code": code, "detail": "as the test wants", **members}).encode(), headers or {})


class Tunnel(asyncssh.SSHServer):
    """One agent's connection, as the relay sees it."""

    def __init__(self, relay: FakeRelay) -> None:
        self.relay = relay
        self.published: list[tuple[str, int]] = []
        self.user = ""
        self.lost = asyncio.Event()
        self.control: ControlChannel | None = None
        self.heard: list[Message] = []
        """What the agent said on the control channel."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.ssh = conn
        self.relay.connections += 1

    def connection_lost(self, _exc: Exception | None) -> None:
        self.lost.set()
        self.relay.connections -= 1
        if self in self.relay.tunnels:
            self.relay.tunnels.remove(self)
        self.relay.changed.set()

    def auth_completed(self) -> None:
        """As a relay must, since SSH itself does not: cut the connection when its certificate ends."""
        self.user = self.ssh.get_extra_info("username")
        asyncio.get_running_loop().call_later(self.relay.certificate_seconds, self.ssh.abort)

    async def server_requested(self, host: str, port: int) -> asyncssh.SSHListener | bool:
        if self.relay.mute:
            await asyncio.Event().wait()
        if (host, port) == (CONTROL.host, CONTROL.port):
            return self.relay.begin_control(self)
        if (host, port) in self.relay.unwanted:
            return False
        self.published.append((host, port))
        self.relay.on_publish(self, host, port)
        if self not in self.relay.tunnels:
            self.relay.tunnels.append(self)
            self.relay.tunnels_ever += 1
        self.relay.changed.set()
        return asyncssh.SSHListener()

    def control_begun(self, control: ControlChannel) -> None:
        self.control = control

    def control_message(self, message: Message) -> None:
        self.heard.append(message)
        self.relay.changed.set()

    def control_ended(self, _control: ControlChannel, _fault: str) -> None:
        self.control = None

    async def open_control(self) -> None:
        await self.ssh.create_connection(lambda: ControlChannel(FROM_AGENT, self), CONTROL.host, CONTROL.port)

    async def open(
        self, host: str, port: int, originator: str = "con_test", **options: Any
    ) -> tuple[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]]:
        return await self.ssh.open_connection(host, port, originator, 1, encoding=None, **options)


class FakeRelay:
    """Start with `fake_relay`. What a test changes on it, counts from the next request on."""

    def __init__(self) -> None:
        self.http_port = self.ssh_port = 0
        self.on_publish: Callable[[Tunnel, str, int], object] = lambda _tunnel, _host, _port: None
        self.host_ca = asyncssh.generate_private_key("ssh-ed25519")
        self.user_ca = asyncssh.generate_private_key("ssh-ed25519")
        self.agent_id = new_id("agt")
        self.token = AccessToken.generate(ca_fingerprint(line(self.host_ca)))
        self.tokens = {self.token.id: self.token}
        self.certificate_seconds = 3600.0
        self.wanted_tunnels = 1
        self.answers: list[Answer] = []
        self.answer_changes: dict[str, Any] = {}
        self.asked: list[Asked] = []
        self.mute = False
        self.unwanted: set[tuple[str, int]] = set()
        self.controlled = False
        """Whether control channels are opened."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.tunnels: list[Tunnel] = []
        self.tunnels_ever = 0
        self.connections = 0
        self.changed = asyncio.Event()
        self.date: Callable[[], float] = time.time

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    async def start_ssh(self, port: int = 0, host_ca: asyncssh.SSHKey | None = None) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        ca = host_ca or self.host_ca
        certificate = ca.generate_host_certificate(key, "node", principals=[PRINCIPAL], valid_after="-15m")
        self.acceptor = await asyncssh.listen(
            "127.0.0.1",
            port,
            server_factory=lambda: Tunnel(self),
            server_host_keys=[(key, certificate)],
            authorized_client_keys=asyncssh.import_authorized_keys(f"cert-authority {line(self.user_ca)}"),
            **ssh.SERVER,
        )
        self.ssh_port = self.acceptor.get_port()

    async def stop_ssh(self) -> None:
        self.acceptor.close()
        for tunnel in list(self.tunnels):
            tunnel.ssh.abort()
        await self.acceptor.wait_closed()

    def begin_control(self, tunnel: Tunnel) -> asyncssh.SSHListener | bool:
        if self.controlled:
            task = asyncio.ensure_future(tunnel.open_control())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return asyncssh.SSHListener() if self.controlled else False

    async def tunnel(self, *, stores: int = 1, newer_than: int = 0) -> Tunnel:
        """The newest tunnel, once it has published so many stores."""
        async with asyncio.timeout(15):
            while True:
                if self.tunnels_ever > newer_than and self.tunnels and len(self.tunnels[-1].published) >= stores:
                    return self.tunnels[-1]
                self.changed.clear()
                await self.changed.wait()

    async def answer_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (h.partition(":") for h in head[1:]) if name}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            answer = self._answer(method, path, headers, body)
            fields = {"Date": _http_date(self.date()), "Content-Length": str(len(answer.body))} | answer.headers
            text = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            writer.write(f"HTTP/1.1 {answer.status} As Asked\r\n{text}Connection: close\r\n\r\n".encode() + answer.body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path == "/livez":
            return Answer(200, b"{}")
        assert (method, path) == ("POST", PATH)
        self._note(headers, body)
        return self.answers.pop(0) if self.answers else self._enrol(headers, body)

    def _note(self, headers: dict[str, str], body: bytes) -> None:
        self.asked.append(Asked(headers, EnrolmentRequest.model_validate_json(body), headers.get(TOKEN.lower())))
        self.changed.set()

    def _enrol(self, headers: dict[str, str], body: bytes) -> Answer:
        request = EnrolmentRequest.model_validate_json(body)
        message = signed_bytes(self.url, int(headers[TIME.lower()]), headers[NONCE.lower()], body)
        by_instance = base64.b64decode(headers[INSTANCE_SIGNATURE.lower()])
        assert verify(raw_key(request.public_key), by_instance, message)
        if token_id := headers.get(TOKEN.lower()):
            by_token = base64.b64decode(headers[TOKEN_SIGNATURE.lower()])
            assert verify(self.tokens[token_id].public_key, by_token, message)
        return Answer(200, json.dumps(self.admission(request) | self.answer_changes).encode())

    def admission(self, request: EnrolmentRequest) -> dict[str, Any]:
        key = asyncssh.import_public_key(request.public_key)
        certificate = self.user_ca.generate_user_certificate(
            key,
            "test",
            principals=[self.agent_id],
            valid_after="-15m",
            valid_before=int(time.time() + self.certificate_seconds),
        )
        return {
            "agent_id": self.agent_id,
            "agent_name": "Backoffice",
            "instance_id": instance_id(request.public_key),
            "certificate": certificate.export_certificate().decode(),
            "certificate_seconds": self.certificate_seconds,
            "renew_seconds": self.certificate_seconds / 2,
            "host_cas": [{"public_key": line(self.host_ca)}],
            "host_principal": PRINCIPAL,
            "endpoints": [{"transport": "tcp", "node": "n1", "host": "127.0.0.1", "port": self.ssh_port}],
            "tunnels": self.wanted_tunnels,
            "ticket": "a-ticket",
            "server_time": int(time.time()),
        }


def succession(old: asyncssh.SSHKey, new: asyncssh.SSHKey) -> dict[str, str]:
    """A new host CA as the old one introduces it."""
    private: Any = old.pyca_key
    return {"public_key": line(new), "succession": base64.b64encode(private.sign(succession_bytes(line(new)))).decode()}


@asynccontextmanager
async def fake_relay() -> AsyncIterator[FakeRelay]:
    relay = FakeRelay()
    await relay.start_ssh()
    http = await asyncio.start_server(relay.answer_http, "127.0.0.1", 0)
    relay.http_port = http.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        http.close()
        await http.wait_closed()
        await relay.stop_ssh()


def _http_date(moment: float) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(moment))
