"""Names and connections: every address is tried, and nothing is left behind."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable

import pytest

from agent import dialling
from agent.dialling import Attempt, attempts, connect
from agent.resolver import Address, DaemonThreads, Resolver


def address(name: str) -> Address:
    return socket.AF_INET, (name, 80)


class Network:
    """Stands in for `_connect`: each address answers as the test says, after some seconds or never."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: tuple[float | None, str]) -> None:
        self.answers = answers
        self.tried: list[tuple[str, float]] = []
        self.sockets: list[socket.socket] = []
        self.began = asyncio.get_running_loop().time()
        monkeypatch.setattr(dialling, "_connect", self.connect)

    async def connect(self, where: Address) -> socket.socket:
        name = where[1][0]
        self.tried.append((name, asyncio.get_running_loop().time() - self.began))
        seconds, outcome = self.answers[name]
        if seconds is None:
            await asyncio.Event().wait()
        await asyncio.sleep(seconds or 0)
        if outcome != "ok":
            raise ConnectionRefusedError(outcome)
        self.sockets.append(socket.socket())
        return self.sockets[-1]

    @property
    def order(self) -> list[str]:
        return [name for name, _ in self.tried]


async def test_a_dead_first_address_costs_a_quarter_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second address is tried beside the silent first one."""
    network = Network(monkeypatch, dead=(None, ""), good=(0, "ok"))
    sock = await connect(attempts([address("dead"), address("good")]), 5)
    assert sock in network.sockets
    assert 0.2 < network.tried[1][1] < 1
    sock.close()


async def test_a_refused_address_is_followed_by_the_next_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And if all refuse, the first one's reason is told."""
    network = Network(monkeypatch, one=(0, "first"), two=(0, "second"))
    with pytest.raises(ConnectionRefusedError, match="first"):
        await connect(attempts([address("one"), address("two")]), 5)
    assert network.order == ["one", "two"]
    assert network.tried[1][1] < 0.2


async def test_a_silent_relay_is_dialled_again_while_the_first_dial_still_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A lost SYN is not waited for: a new round begins after each pause."""
    network = Network(monkeypatch, relay=(None, ""))
    with pytest.raises(TimeoutError):
        await connect(attempts([address("relay")], rounds=3, pause=0.05), 0.3)
    assert network.order == ["relay"] * 3


async def test_a_round_that_was_refused_is_not_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """When to try again is not decided here."""
    network = Network(monkeypatch, relay=(0, "no"))
    with pytest.raises(ConnectionRefusedError):
        await connect(attempts([address("relay")], rounds=3, pause=0.05), 5)
    assert network.order == ["relay"]


async def test_the_losers_of_a_race_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that connect in the same instant as the winner."""
    network = Network(monkeypatch, a=(0.3, "ok"), b=(0.05, "ok"), c=(None, ""))
    planned = [Attempt(address("a"), 0), Attempt(address("b"), 0.25), Attempt(address("c"), 0.26)]
    winner = await connect(planned, 5)
    await asyncio.sleep(0.1)
    assert [sock for sock in network.sockets if sock.fileno() >= 0] == [winner]
    assert len(asyncio.all_tasks()) == 1
    winner.close()


async def test_no_address_is_an_error() -> None:
    """Not an endless wait."""
    with pytest.raises(OSError, match="no address"):
        await connect([], 5)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Answers getaddrinfo from a table; the list holds what was asked."""

    def install(answer: Callable[[str], list[str]]) -> list[str]:
        asked: list[str] = []

        def lookup(host: str, port: int, **_hints: object) -> list[tuple[object, ...]]:
            asked.append(host)
            return [
                (socket.AF_INET6 if ":" in found else socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port))
                for found in answer(host)
            ]

        loop = asyncio.get_running_loop()

        async def in_thread(host: str, port: int, **hints: object) -> list[tuple[object, ...]]:
            return await loop.run_in_executor(None, lambda: lookup(host, port, **hints))

        monkeypatch.setattr(loop, "getaddrinfo", in_thread)
        return asked

    return install


async def test_the_families_take_turns(names: Callable[..., list[str]]) -> None:
    """A network whose IPv6 is dead is noticed at the second address, not at the last."""
    names(lambda _: ["fd00::1", "fd00::2", "10.0.0.1"])
    found = await Resolver().resolve("shop.lan", 80)
    assert [where[0] for _, where in found] == ["fd00::1", "10.0.0.1", "fd00::2"]


async def test_callers_at_once_share_one_lookup_and_later_ones_ask_again(names: Callable[..., list[str]]) -> None:
    """A hundred channels to a store are one question to the name server."""
    release = threading.Event()
    asked = names(lambda _: ["10.0.0.1" if release.wait(5) else ""])
    resolver = Resolver()
    lookups = [asyncio.ensure_future(resolver.resolve("shop.lan", 80)) for _ in range(100)]
    await asyncio.sleep(0.05)
    lookups[0].cancel()
    release.set()
    assert len({str(answer) for answer in await asyncio.gather(*lookups[1:])}) == 1
    assert asked == ["shop.lan"]
    await resolver.resolve("shop.lan", 80)
    assert asked == ["shop.lan"] * 2


async def test_a_resolver_that_hangs_is_waited_for_no_longer_than_said(names: Callable[..., list[str]]) -> None:
    """Its thread may go on, the caller does not."""
    release = threading.Event()
    names(lambda _: [str(release.wait(5))])
    asyncio.get_running_loop().set_default_executor(DaemonThreads())
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await Resolver().resolve("shop.lan", 80, 0.1)
    assert time.monotonic() - began < 2
    release.set()


async def test_an_address_is_not_looked_up(names: Callable[..., list[str]]) -> None:
    """Both families, without a thread."""
    asked = names(lambda _: [])
    assert await Resolver().resolve("192.0.2.1", 80) == [(socket.AF_INET, ("192.0.2.1", 80))]
    assert await Resolver().resolve("2001:db8::1", 80) == [(socket.AF_INET6, ("2001:db8::1", 80, 0, 0))]
    assert asked == []


async def test_a_hanging_lookup_does_not_hold_up_the_exit() -> None:
    """Its thread is a daemon, and shutting the executor down does not wait."""
    release = threading.Event()
    threads = DaemonThreads()
    future = threads.submit(release.wait, 30)
    began = time.monotonic()
    threads.shutdown(wait=True)
    assert time.monotonic() - began < 1
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "lookup"] == [True]
    release.set()
    assert future.result(5)
