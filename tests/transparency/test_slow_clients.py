"""A thousand slow clients at once: each is cut within its limit, and nobody beside them notices."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from relay.gateway.front import HEAD_SECONDS, STALL_SECONDS
from tests.system.programs import HOST, Program, eventually
from tests.system.road import STANDS, Agent, Connection, Entry, Road
from tests.transparency.asking import Call, Caller, Played, relayed
from tests.transparency.playing import Do, Player
from tests.transparency.shops import Backstage

TUNNELS = 4  # two agents with two each
SLOW_HEADS, SLOW_BODIES, SLOW_READERS = 334, 333, 333
SLOW_STORES = 48  # a store that does not answer is asked little at once: so many take all readers
OPEN_FILES = 4096  # this process alone has some 1,700 of them open
BYTE_SECONDS = 1.0  # between two bytes of a slow head
LOOK_SECONDS = 1.0  # how often the relay looks whether something has taken too long
SLACK_SECONDS = 6.0  # for a machine that has other things to do
FILL_SECONDS = 10.0  # for the buffers on the way to somebody who does not read
TURN_SECONDS = 20.0  # until the last of them has its turn at its store
SETTLE_SECONDS = 20.0
ASKING_SECONDS = 0.1  # between two requests of a client that behaves
QUICK_SECONDS = 0.5  # what it waits for an answer, but for a few that meet the crowd's arrival
WORST_SECONDS = 5.0
KEY = "K" * 32
LONG = 1 << 24  # bytes of an answer: more than the buffers on the way hold
UNSENT_BYTES = 1 << 20  # in the socket to one that does not read; a system gives a socket up to 4 MiB of its own accord
MEMORY_PER_READER = 1 << 20  # bytes of the relay for one that does not read: a channel's window, and what is on its way


def like_a_network(sock: socket.socket) -> socket.socket:
    """Segments as small as on a network: those of the loopback, of 64 KiB, would fill the machine's own TCP memory."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    return sock


class Slow:
    """One slow client: what it sends at once, and whether it reads; when it was cut."""

    def __init__(self, kind: str, data: bytes, *, reads: bool) -> None:
        self.kind, self._data, self._reads = kind, data, reads
        self.sock = like_a_network(socket.socket())
        self.answer = b""
        self.lasted: float | None = None  # seconds from its first byte to the end of the connection

    def start(self, port: int) -> None:
        self.sock.connect((HOST, port))
        self.sock.setblocking(False)
        self._began = time.monotonic()
        if self.kind != "head":
            self.sock.sendall(self._data)

    def drip(self) -> None:
        """The next byte of a head, as long as it is wanted."""
        with contextlib.suppress(OSError):
            self.sock.send(self._data[:1])
            self._data = self._data[1:]

    @property
    def waits_for(self) -> int:
        return select.EPOLLIN if self._reads else 0  # an end in any form is always told

    def hear(self) -> bool:
        """Whether the connection is over."""
        data = b""
        if self._reads:
            with contextlib.suppress(ConnectionError):
                data = self.sock.recv(1 << 16)
        self.answer += data
        if not data:
            self.lasted = time.monotonic() - self._began
            self.sock.close()
        return not data


class Crowd:
    """All slow clients, held by one thread without waiting for any of them."""

    def __init__(self, clients: list[Slow]) -> None:
        self.clients = clients
        self._poll = select.epoll()
        self._open = {client.sock.fileno(): client for client in clients}

    def live(self, port: int, seconds: float, meanwhile: Callable[[], None]) -> None:
        """Until the last one is cut, or the time is over; `meanwhile` is called about once a second."""
        for client in self.clients:
            client.start(port)
            self._poll.register(client.sock, client.waits_for)
        deadline = time.monotonic() + seconds
        while self._open and time.monotonic() < deadline:
            turn = time.monotonic() + BYTE_SECONDS
            for client in self._open.values():
                if client.kind == "head":
                    client.drip()
            meanwhile()
            while (left := turn - time.monotonic()) > 0:
                self._hear(left)
        self._poll.close()

    def _hear(self, seconds: float) -> None:
        for number, _ in self._poll.poll(seconds):
            if self._open[number].hear():
                del self._open[number]

    def lasted(self, kind: str) -> list[float]:
        """How long each of a kind lasted. AssertionError if one was not cut."""
        found = [client.lasted for client in self.clients if client.kind == kind]
        assert None not in found, f"{found.count(None)} of {len(found)} slow clients ({kind}) were never cut"
        return sorted(each for each in found if each is not None)


@dataclass
class Behaved:
    """A client that asks again and again, on one connection, and keeps how long each answer took."""

    connection: Connection
    took: list[float] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        with Caller(relayed(self.connection)) as caller:
            while not self._over.wait(ASKING_SECONDS):
                self.took.append(self._one(caller))

    def _one(self, caller: Caller) -> float:
        """Seconds, or infinity where there is no good answer."""
        began = time.monotonic()
        with contextlib.suppress(OSError):
            answer = caller.ask(Call())
            if answer.whole and answer.status == 200:
                return time.monotonic() - began
        return float("inf")


@pytest.fixture(scope="module")
def crowded() -> Iterator[None]:
    """Leave to open as many files as such a crowd needs, for this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= OPEN_FILES, f"this test needs {OPEN_FILES} open files, and `ulimit -Hn` says {hard}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, OPEN_FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@dataclass
class House:
    """A customer of the relay with an agent of its own, which publishes slow stores and a good one."""

    agent: Agent
    slow: list[Connection]
    good: Connection


@dataclass(frozen=True)
class Scene:
    """The houses of those whose callers send slowly, and of those whose callers read slowly."""

    road: Road
    relay: Program
    bodies: House
    readers: House

    @property
    def programs(self) -> tuple[Program, ...]:
        return self.relay, self.bodies.agent.program, self.readers.agent.program


def new_house(road: Road, name: str, slow_port: int, good_port: int) -> House:
    road.cli("accounts", "create", name)
    made = road.cli("agents", "create", name, "--account", name)
    slow = [f"slow{number}.test" for number in range(SLOW_STORES)]
    stores = [*(f"http://{each}={HOST}:{slow_port}" for each in slow), f"http://good.test={HOST}:{good_port}"]
    agent = road.start_agent(Entry(made["id"], made["token"]), stores)
    account = road.api("GET", f"/v1/agents/{made['id']}").json["account"]

    def connect(store: str) -> Connection:
        return road.connect(made["id"], f"http://{store}", KEY, account=account, concurrency=500)

    return House(agent, [connect(each) for each in slow], connect("good.test"))


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A store whose answer has no end."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 50))
        while True:
            writer.write(bytes(1 << 14))
            await writer.drain()
    writer.close()


async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A store that waits for the rest of a body for ever."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(1 << 16):
            pass
    writer.close()


def close(backstage: Backstage, server: asyncio.Server) -> None:
    async def closed() -> None:
        server.close()

    backstage.run(closed())


@dataclass(frozen=True)
class Files:
    """How many files each program has open."""

    counts: tuple[int, ...]

    @classmethod
    def of(cls, *programs: Program) -> Self:
        return cls(tuple(len(list(Path(f"/proc/{program.pid}/fd").iterdir())) for program in programs))

    def within(self, others: Self) -> bool:
        return all(mine <= theirs for mine, theirs in zip(self.counts, others.counts, strict=True))


@pytest.fixture
def scene(tmp_path: Path, crowded: None, backstage: Backstage) -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        road = stack.enter_context(contextlib.closing(Road(tmp_path)))
        store = stack.enter_context(Player())
        slow_ports = []
        for behave in (swallow, endless):
            sock = like_a_network(socket.create_server((HOST, 0), backlog=512))
            server = backstage.run(asyncio.start_server(behave, sock=sock))
            stack.callback(close, backstage, server)
            slow_ports.append(sock.getsockname()[1])
        relay = road.start_relay()
        bodies, readers = (
            new_house(road, name, port, store.port)
            for name, port in zip(("bodies", "readers"), slow_ports, strict=True)
        )
        yield Scene(road, relay, bodies, readers)


def test_what_waits_for_a_slow_reader_in_the_system(both: Played) -> None:
    """Little of an answer lies in the relay's socket: a crowd would fill the TCP memory that all tunnels share."""
    both.store.script = [Do.READ, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LONG, bytes(LONG)]
    with Caller(both.relayed) as caller:
        caller.send(Call().pieces(both.relayed))
        assert caller.reader.some()
        assert settled(lambda: unsent(both.relayed.port, caller.sock.getsockname()[1])) <= UNSENT_BYTES


def unsent(port: int, caller_port: int) -> int:
    """Bytes in the relay's own socket to a caller, not taken by it yet (proc_net_tcp(5))."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if (int(local.split(":")[1], 16), int(remote.split(":")[1], 16)) == (port, caller_port):
            return int(queues.split(":")[0], 16)
    raise AssertionError("there is no such connection")


def settled(look: Callable[[], int]) -> int:
    """What is seen once it has stayed the same for half a second."""
    seen: list[int] = []

    def quiet() -> bool:
        seen.append(look())
        return len(seen) > 50 and len(set(seen[-50:])) == 1  # `eventually` looks every 10 ms

    eventually("nothing moves any more", quiet)
    return seen[-1]


@pytest.mark.timeout(180)
def test_a_thousand_slow_clients(scene: Scene) -> None:
    """Slow heads, bodies and readers are cut in time; others are answered, tunnels stand, files come back."""
    crowd = Crowd(slow_clients(scene.bodies.slow, scene.readers.slow))
    longest = TURN_SECONDS + STALL_SECONDS + FILL_SECONDS + LOOK_SECONDS + SLACK_SECONDS
    with Behaved(scene.bodies.good) as one, Behaved(scene.readers.good) as other:
        eventually("they are answered", lambda: min(len(one.took), len(other.took)) >= 10)
        eventually("all tunnels stand", lambda: scene.relay.text().count("tunnel up") == TUNNELS)
        files, memory = Files.of(*scene.programs), [scene.relay.memory()]
        crowd.live(scene.road.http_port, longest, lambda: memory.append(scene.relay.memory()))
        eventually("files are closed", lambda: Files.of(*scene.programs).within(files), SETTLE_SECONDS)
    worst = sorted(one.took + other.took)[-5:]
    print(f"relay: {memory[0] >> 20} MiB before, {max(memory) >> 20} at most; worst answers beside: {worst}")
    check_cut(crowd, "head", HEAD_SECONDS)
    check_cut(crowd, "body", STALL_SECONDS, turn=TURN_SECONDS)
    assert crowd.lasted("reader")[-1] <= longest
    check_behaved(one)
    check_behaved(other)
    assert max(memory) - memory[0] < SLOW_READERS * MEMORY_PER_READER
    assert scene.relay.text().count("tunnel up") == TUNNELS
    assert sum(house.agent.program.text().count(STANDS) for house in (scene.bodies, scene.readers)) == TUNNELS


def slow_clients(bodies: list[Connection], readers: list[Connection]) -> list[Slow]:
    head = Call(b"/api/" + b"x" * 200).head(relayed(bodies[0]))
    post = Call(method=b"POST", fields=[b"Content-Length: 1000"])
    begun = [post.head(relayed(body)) + b"0123456789" for body in bodies]
    whole = [Call().head(relayed(reader)) for reader in readers]
    clients = [Slow("head", head, reads=True) for _ in range(SLOW_HEADS)]
    clients += [Slow("body", begun[number % SLOW_STORES], reads=True) for number in range(SLOW_BODIES)]
    return clients + [Slow("reader", whole[number % SLOW_STORES], reads=False) for number in range(SLOW_READERS)]


def check_cut(crowd: Crowd, kind: str, limit: float, turn: float = 0.0) -> None:
    """All of a kind were told that they are too slow, when their time was over and not before; who has waited for a
    turn is given its time from there.
    """
    lasted = crowd.lasted(kind)
    assert limit - LOOK_SECONDS <= lasted[0] <= lasted[-1] <= turn + limit + LOOK_SECONDS + SLACK_SECONDS
    answers = [client.answer for client in crowd.clients if client.kind == kind]
    assert all(answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n") for answer in answers)


def check_behaved(client: Behaved) -> None:
    """Answered all the time, and quickly."""
    took = sorted(client.took)
    assert len(took) > STALL_SECONDS / ASKING_SECONDS / 2
    assert took[-1] < WORST_SECONDS
    assert took[len(took) * 98 // 100] < QUICK_SECONDS
