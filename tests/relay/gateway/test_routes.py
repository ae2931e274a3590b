"""Through which tunnel a channel is opened, what is tried next, who waits, and which failure is whose."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import asyncssh
import pytest
from pydantic import SecretStr

from agent.wire.channel import Channel
from agent.wire.destination import Destination
from agent.wire.refusal import ChannelRefusal
from relay.gateway import routes
from relay.gateway.errors import GatewayError
from relay.gateway.holding import Holding
from relay.gateway.routes import Routes, TunnelRoute
from relay.gateway.way import DirectWay
from relay.records import Connection, Mode, StoreUrl, Trust
from relay.tunnels.registry import Registry
from tests.relay.gateway.certificates import authority, certificate
from tests.relay.gateway.scene import TcpStream
from tests.relay.tunnels.scene import AGENT, SHOP, Clock, Played


@pytest.fixture
def registry() -> Registry:
    return Registry(Clock())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "IMPATIENT_SECONDS", 0.1)
    monkeypatch.setattr(routes, "HOLD_SECONDS", 0.5)


def connection(**changes: Any) -> Connection:
    return dataclasses.replace(
        Connection(
            "con_one", "acc_one", "the shop", Mode.ON_PREMISE, AGENT, StoreUrl("http", SHOP), SecretStr("K" * 32)
        ),
        **changes,
    )


async def opens(route: TunnelRoute) -> Any:
    async with asyncio.timeout(5):
        return await route.open(connection())


async def fails(route: TunnelRoute) -> str:
    with pytest.raises(GatewayError) as caught:
        await opens(route)
    return caught.value.failure.code


def refuse(played: Played, code: int, reason: str = "as the test wants") -> None:
    async def opening() -> None:
        raise asyncssh.ChannelOpenError(code, reason)

    played.ssh.opening = opening


def hang(played: Played) -> asyncio.Event:
    """Until the event, its channels do not open."""
    gate = asyncio.Event()
    played.ssh.opening = gate.wait
    return gate


async def test_an_open_that_takes_long_is_also_tried_in_the_other_tunnel(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first that stands is taken; the late one is closed when it comes, and nothing is left."""
    slow, other = Played(registry).claim(0), Played(registry).claim(1)
    other.tunnel._opening = 1
    gate = hang(slow)
    aborted: list[Any] = []

    def abort(channel: Channel) -> None:
        aborted.append(channel)

    monkeypatch.setattr(Channel, "abort", abort)
    stream, way = await opens(TunnelRoute(registry))
    assert way.lost_code == "store_closed_early"
    other.tunnel.cut()
    assert way.lost_code == "tunnel_lost", "the stream is the other tunnel's"
    gate.set()
    await asyncio.sleep(0.05)
    assert len(aborted) == 1
    assert aborted[0] is not stream
    assert slow.tunnel.channels == 0


async def test_of_two_that_open_at_once_one_is_kept(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is closed: nobody would ever use it."""
    first, second = Played(registry).claim(0), Played(registry).claim(1)
    gates = [hang(first), hang(second)]
    aborted: list[Channel] = []

    def abort(channel: Channel) -> None:
        aborted.append(channel)

    def open_both() -> None:
        for gate in gates:
            gate.set()

    monkeypatch.setattr(Channel, "abort", abort)
    asyncio.get_running_loop().call_later(0.3, open_both)
    stream, _ = await opens(TunnelRoute(registry))
    await asyncio.sleep(0.05)
    assert len(aborted) == 1
    assert aborted[0] is not stream


async def test_a_lone_tunnel_is_waited_for(registry: Registry) -> None:
    """There is nothing else to try."""
    slow = Played(registry).claim(0)
    gate = hang(slow)
    asyncio.get_running_loop().call_later(0.3, gate.set)
    stream, _ = await opens(TunnelRoute(registry))
    assert isinstance(stream, Channel)


async def test_a_tunnel_that_dies_during_the_open_is_no_stores_fault(registry: Registry) -> None:
    """Nothing was sent: the other tunnel serves."""
    dying, other = Played(registry).claim(0), Played(registry).claim(1)
    other.tunnel._opening = 3

    async def die() -> None:
        dying.tunnel.cut("dead")
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "SSH connection closed")

    dying.ssh.opening = die
    await opens(TunnelRoute(registry))


async def test_an_open_without_answer_in_a_silent_tunnel_is_held_and_not_the_stores_fault(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the tunnel was not heard since, it is doubted; where it was, the agent's store is slow."""
    monkeypatch.setattr("relay.tunnels.tunnel.OPEN_SECONDS", 0.2)
    silent = Played(registry).claim(0)
    hang(silent)
    assert await fails(TunnelRoute(registry)) == "agent_offline"
    assert silent.tunnel.doubtful
    silent.tunnel.probe.pulse.heard += 3600
    assert await fails(TunnelRoute(registry)) == "store_timeout"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ChannelRefusal.STORE_REFUSED, "store_refused"),
        (ChannelRefusal.STORE_TIMEOUT, "store_timeout"),
        (ChannelRefusal.AGENT_BUSY, "agent_busy"),
        (asyncssh.OPEN_CONNECT_FAILED, "store_not_published"),
    ],
)
async def test_what_the_agent_says_is_passed_on(registry: Registry, code: int, expected: str) -> None:
    """At once, and no other tunnel of it is asked the same."""
    first, second = Played(registry).claim(0), Played(registry).claim(1)
    second.tunnel._opening = 1
    refuse(first, code)
    hang(second)
    assert await fails(TunnelRoute(registry)) == expected


async def test_a_refusal_waits_for_an_opening_that_is_under_way(registry: Registry) -> None:
    """A replica may reach what the first one cannot."""
    slow, other = Played(registry).claim(0), Played(registry, "ins_" + "b" * 16).claim(0)
    other.tunnel._opening = 1
    gate = hang(slow)
    refuse(other, ChannelRefusal.STORE_REFUSED)
    asyncio.get_running_loop().call_later(0.3, gate.set)
    _, way = await opens(TunnelRoute(registry))
    slow.tunnel.cut()
    assert way.lost_code == "tunnel_lost", "the stream is the slow tunnel's"


async def test_a_leaving_agents_tunnel_is_left_for_the_next(registry: Registry) -> None:
    """And is not asked again."""
    leaving, other = Played(registry).claim(0), Played(registry).claim(1)
    other.tunnel._opening = 3
    refuse(leaving, ChannelRefusal.AGENT_LEAVING)
    await opens(TunnelRoute(registry))
    assert not leaving.tunnel.usable


async def test_a_request_is_held_until_a_tunnel_is_back(registry: Registry) -> None:
    """Only where one was lost lately; else it is refused at once."""
    assert await fails(TunnelRoute(registry)) == "agent_offline"
    registry.recall([AGENT])
    asyncio.get_running_loop().call_later(0.2, lambda: Played(registry).claim(0))
    stream, _ = await opens(TunnelRoute(registry))
    assert isinstance(stream, Channel)


async def test_held_is_bounded_in_time_and_number(registry: Registry) -> None:
    """Each account has its share."""
    registry.recall([AGENT])
    route = TunnelRoute(registry, Holding(in_all=10, each=2))
    held = [asyncio.ensure_future(fails(route)) for _ in range(2)]
    await asyncio.sleep(0.1)
    assert await fails(route) == "account_busy"
    async with asyncio.timeout(2):
        assert await asyncio.gather(*held) == ["agent_offline"] * 2
    assert not route._holding._held


@pytest.mark.parametrize("for_good", [True, False])
async def test_nobody_waits_for_who_is_revoked(registry: Registry, for_good: bool) -> None:
    """Those who wait already are told as well."""
    gone = Played(registry).claim(0)
    gone.tunnel.retire("replaced")
    waiting = asyncio.ensure_future(fails(TunnelRoute(registry)))
    await asyncio.sleep(0.05)
    registry.cut(lambda _: True, "agent revoked", for_good=for_good)
    registry.remove(gone.tunnel)
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert bool(done) is for_good
    assert await waiting == "agent_offline"


async def test_a_tunnel_that_is_being_cut_for_good_is_not_waited_for(registry: Registry) -> None:
    """Even while its end has not been heard yet."""
    gone = Played(registry).claim(0)
    registry.cut(lambda _: True, "agent revoked", for_good=True)
    assert registry.of(AGENT) == (gone.tunnel,)
    async with asyncio.timeout(0.2):
        assert await fails(TunnelRoute(registry)) == "agent_offline"


class Shaky:
    """A route to a TLS port on this machine, whose tunnel is lost during the first handshakes."""

    def __init__(self, port: int, losses: int) -> None:
        self.port = port
        self.losses = losses
        self.opened = 0

    def away(self, _connection: Connection) -> bool:
        return False

    async def open(self, _connection: Connection) -> Any:
        self.opened += 1
        lost = self.opened <= self.losses
        _, stream = await asyncio.get_running_loop().create_connection(TcpStream, "127.0.0.1", self.port)
        if lost:
            asyncio.get_running_loop().call_soon(stream.transport.abort)
        way = DirectWay()
        way.lost_code = "tunnel_lost" if lost else way.lost_code
        return stream, way


async def secured(losses: int) -> tuple[Shaky, Any]:
    """What becomes of a request to an https store."""
    ca = authority()
    context = certificate(ca, SHOP.host).server()
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    shaky = Shaky(server.sockets[0].getsockname()[1], losses)
    there = Routes(Registry(Clock()), shaky)
    store = StoreUrl("https", Destination(SHOP.host, 443))
    record = connection(mode=Mode.CLOUD, agent=None, store=store, trust=Trust(ca_pem=ca.pem))
    try:
        return shaky, await there.open(record)
    except GatewayError as error:
        return shaky, error.failure.code
    finally:
        server.close()


async def test_a_tunnel_lost_during_the_tls_handshake_is_no_bad_certificate() -> None:
    """Nothing was sent: it is tried again, a few times; then the tunnel is to blame."""
    shaky, opened = await secured(losses=1)
    assert shaky.opened == 2
    assert isinstance(opened, tuple)
    opened[0].abort()
    shaky, code = await secured(losses=99)
    assert (shaky.opened, code) == (routes.HANDSHAKES, "tunnel_lost")
