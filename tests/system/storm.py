"""Crowds that storm a relay, each a process of its own: agents that all come back, and strangers that knock.

`python -m tests.system.storm JOB`: the job is a JSON file. Agents print one JSON line for each tunnel that stands;
strangers knock until they are stopped, and print what became of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import itertools
import json
import random
import secrets
import select
import signal
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import asyncssh
import uvloop
from asyncssh.listener import SSHTCPClientListener

from agent.reconnect import Reconnect, second_pause
from agent.wire import ssh
from agent.wire.carrier import Carrier
from agent.wire.control import FROM_RELAY, AgentHello, ControlChannel, Message
from agent.wire.destination import CONTROL, Destination
from agent.wire.limits import LOGIN_SECONDS, PACKET_BYTES, WINDOW_BYTES

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 13\r\n\r\n<prestashop/>"
FAILURES = OSError, asyncssh.Error, asyncssh.ChannelListenError, TypeError  # the last where the peer is gone at once
HELD_SECONDS = 2.0  # how long a stranger keeps a connection


@dataclass(frozen=True, slots=True)
class Agents:
    """`members` are pairs of agent id and certificate; each comes from an address of its own."""

    port: int
    store: str
    key: str
    members: list[tuple[str, str]]
    network: str  # such as 127.16
    slots: int = 2
    kind: Literal["agents"] = "agents"


@dataclass(frozen=True, slots=True)
class Strangers:
    """So many connects a second, to both ports in turn, from so many addresses."""

    ssh_port: int
    http_port: int
    rate: int
    network: str
    addresses: int = 64
    kind: Literal["strangers"] = "strangers"


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text())
    if given["kind"] == "agents":
        uvloop.run(come_back(Agents(**given)))
    else:
        knock(Strangers(**given))


def written(job: Agents | Strangers, path: Path) -> str:
    """The job as a file; its path."""
    path.write_text(json.dumps(dataclasses.asdict(job)))
    return str(path)


def tell(**what: Any) -> None:
    print(json.dumps({"at": time.monotonic(), **what}), flush=True)


async def come_back(job: Agents) -> None:
    """Keep every member's tunnels standing as the real agent does: with its timing, and second ones named so."""
    key = asyncssh.import_private_key(job.key)
    members = [
        _Member(job, number, agent, (key, asyncssh.import_certificate(certificate)))
        for number, (agent, certificate) in enumerate(job.members)
    ]
    await asyncio.gather(*(member.keep(slot) for member in members for slot in range(job.slots)))


class _Member:
    """One agent. All of them publish the same store and answer every request alike."""

    def __init__(self, job: Agents, number: int, agent: str, credentials: Any) -> None:
        self._job = job
        self._agent = agent
        self._credentials = credentials
        self._first, self._second = self._options(ssh.FIRST_VERSION), self._options(ssh.SECOND_VERSION)
        self._address = f"{job.network}.{number // 250}.{number % 250 + 1}"
        self._standing = 0
        self._change = asyncio.Event()
        self._second_due = 0.0
        self._process = secrets.token_hex(8)

    async def keep(self, slot: int) -> None:
        timing = Reconnect(random.random)
        for dials in itertools.count(1):
            await self._turn(slot, timing)
            began = time.monotonic()
            timing.began(began)
            try:
                connection = await self._dial(slot, dials)
            except FAILURES as error:
                timing.failed(time.monotonic(), refused=isinstance(error, asyncssh.PermissionDenied))
                continue
            timing.stood(time.monotonic())
            if not self._standing:
                self._second_due = time.monotonic() + second_pause(time.monotonic() - began, random.random)
            self._changed(+1)
            tell(agent=self._agent, standing=self._standing)
            await connection.wait_closed()
            self._changed(-1)
            timing.lost(time.monotonic())

    async def _turn(self, slot: int, timing: Reconnect) -> None:
        """Wait until the slot may dial: the first by its timing, the second if the first stands, and a while later."""
        while slot and not self._standing:
            await self._change.wait()
        while (due := self._due(slot, timing)) > time.monotonic():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._change.wait(), due - time.monotonic())
            while slot and not self._standing:
                await self._change.wait()

    def _due(self, slot: int, timing: Reconnect) -> float:
        due = timing.due(alone=not self._standing)
        return max(due, self._second_due) if slot else due

    def _changed(self, by: int) -> None:
        self._standing += by
        self._change.set()
        self._change = asyncio.Event()

    async def _dial(self, slot: int, dials: int) -> asyncssh.SSHClientConnection:
        """As `asyncssh.connect`, but that options are worked out once: there is one core for a thousand agents here."""
        loop = asyncio.get_running_loop()
        options = copy.copy(self._second if self._standing else self._first)
        options.waiter = loop.create_future()
        connection = asyncssh.SSHClientConnection(loop, options, wait="auth")
        async with asyncio.timeout(LOGIN_SECONDS):
            await loop.create_connection(
                lambda: Carrier(connection), "127.0.0.1", self._job.port, local_addr=(self._address, 0)
            )
            try:
                await options.waiter
                hello = _Hello(AgentHello(slot=slot, process=self._process, generation=dials, version="0", stores=[]))
                await _publish(connection, CONTROL, lambda *_: ControlChannel(FROM_RELAY, hello))
                await _publish(connection, Destination.of(self._job.store, 80), lambda *_: _Store())
            except BaseException:
                connection.abort()
                raise
        return connection

    def _options(self, version: str) -> Any:
        given: dict[str, Any] = {"username": self._agent, "client_keys": [self._credentials], "known_hosts": None}
        given |= {"server_host_key_algs": "default", "login_timeout": LOGIN_SECONDS, "client_version": version}
        return asyncssh.SSHClientConnectionOptions(**(ssh.CLIENT | given))


class _Hello:
    """An agent's end of a control channel: it says whose slot this is, and listens to nothing."""

    def __init__(self, hello: AgentHello) -> None:
        self._hello = hello

    def control_begun(self, control: ControlChannel) -> None:
        control.send(self._hello)

    def control_message(self, message: Message) -> None: ...

    def control_ended(self, control: ControlChannel, fault: str) -> None: ...


async def _publish(connection: asyncssh.SSHClientConnection, name: Destination, factory: Any) -> None:
    """Listed before it is asked for: the relay may open a channel with its very answer."""
    sizes: dict[str, Any] = {"encoding": None, "window": WINDOW_BYTES, "max_pktsize": PACKET_BYTES}
    names: dict[Any, Any] = connection._remote_listeners
    names[name.host, name.port] = SSHTCPClientListener(
        connection, factory, name.host, name.port, errors="strict", **sizes
    )
    await connection.create_server(factory, name.host, name.port, **sizes)


class _Store(asyncssh.SSHTCPSession[bytes]):
    """A shop that says the same to every request."""

    def connection_made(self, chan: Any) -> None:
        self._chan: Any = chan

    def data_received(self, data: bytes, _datatype: Any) -> None:
        if data.endswith(b"\r\n\r\n"):
            self._chan.write(ANSWER)


def knock(job: Strangers) -> None:
    """Until SIGINT. Raw sockets and one epoll: cheap enough to be many."""
    crowd = _Crowd(job)
    enough = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: enough.set())
    began, sent = time.monotonic(), 0
    while not enough.is_set():
        due = int((time.monotonic() - began) * job.rate)
        for _ in range(min(due - sent, job.rate)):
            crowd.come()
        sent = due
        crowd.look(0.005)
        if sent % job.rate < 10:
            tell(knocked=sent, **crowd.fates)


class _Crowd:
    """Strangers of several kinds in turn: silent ones, a name and no more, noise, requests without a good ticket."""

    def __init__(self, job: Strangers) -> None:
        self._job = job
        self._epoll = select.epoll()
        self._open: dict[int, tuple[socket.socket, bytes, float]] = {}
        self._addresses = itertools.cycle(f"{job.network}.0.{number + 1}" for number in range(job.addresses))
        request = f"GET /v1/agent/tunnel HTTP/1.1\r\nHost: 127.0.0.1:{job.http_port}\r\nConnection: Upgrade\r\n"
        request += "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: postern.ssh.v1\r\n"
        request += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        tickets = ["", "Authorization: Bearer " + "A" * 43 + "\r\n"]
        told = [
            (job.ssh_port, said) for said in (b"", b"SSH-2.0-stranger\r\n", b"SSH-2.0-x\r\n" + b"\0" * 2000, b"GET /")
        ]
        asked = [(job.http_port, f"{request}{ticket}\r\n".encode()) for ticket in tickets]
        self._kinds = itertools.cycle(pair for several in zip(told, asked * 2, strict=True) for pair in several)
        self.fates: Counter[str] = Counter()

    def come(self) -> None:
        port, says = next(self._kinds)
        sock = socket.socket()
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
            sock.bind((next(self._addresses), 0))
            sock.connect(("127.0.0.1", port))
        except BlockingIOError:
            pass
        except OSError:
            self.fates["not connected"] += 1
            sock.close()
            return
        self._open[sock.fileno()] = sock, says, time.monotonic()
        self._epoll.register(sock.fileno(), select.EPOLLOUT)

    def look(self, seconds: float) -> None:
        for number, event in self._epoll.poll(seconds):
            sock, says, _ = self._open[number]
            if event & (select.EPOLLHUP | select.EPOLLERR):
                self._end(number, "turned away")
            elif event & select.EPOLLOUT:
                with contextlib.suppress(OSError):
                    sock.send(says)
                self._epoll.modify(number, select.EPOLLIN)
            else:
                self._hear(number, sock)
        old = time.monotonic() - HELD_SECONDS
        while self._open and next(iter(self._open.values()))[2] < old:
            self._end(next(iter(self._open)), "left")

    def _hear(self, number: int, sock: socket.socket) -> None:
        try:
            heard = sock.recv(4096)
        except OSError:
            self._end(number, "turned away")
            return
        self._end(number, heard.split(b"\r\n")[0].decode("latin-1")[:40] if heard else "turned away")

    def _end(self, number: int, fate: str) -> None:
        self.fates[fate] += 1
        sock, _, _ = self._open.pop(number)
        self._epoll.unregister(number)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # no ports left waiting
        sock.close()


if __name__ == "__main__":
    main()
