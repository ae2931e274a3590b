"""One tunnel, from its dial to its end."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import String, UInt32

from agent import __version__
from agent.enrolment import Admission, Enrolment
from agent.https import Link
from agent.identity import Identity
from agent.login import LoginRefusedError, TunnelError
from agent.racing import Won
from agent.resolver import Resolver
from agent.transports import TcpDialer
from agent.tunnel import FIRST, Place, Tunnel
from agent.wire import ssh
from agent.wire.carrier import Carrier, Dialled
from agent.wire.control import AgentHello, Bye, Drain, RetryAfter, Suspect
from agent.wire.destination import Store
from agent.wire.enrolment import Endpoint
from agent.wire.refusal import ChannelRefusal
from tests.agent.conftest import eventually
from tests.agent.fake_relay import FakeRelay

STORES = (Store.parse("http://shop.lan=127.0.0.1:9"), Store.parse("http://two.lan:8080=127.0.0.1:9"))
COPY = "c0b1" * 4  # a name that the process has drawn anew

Enrol = Callable[[], Awaitable[Admission]]


@pytest.fixture
def enrol(relay: FakeRelay, identity: Identity) -> Enrol:
    enrolment = Enrolment(relay.url, identity, lambda: relay.token, Link(relay.url, None))
    return lambda: enrolment.enrol(STORES)


async def dialled(endpoint: Endpoint) -> Won:
    return Won(await TcpDialer(Resolver()).dial(endpoint), endpoint)


async def open_tunnel(
    admission: Admission, port: int | None = None, place: Place = FIRST, neighbours: Any = None
) -> Tunnel:
    endpoint = admission.endpoints[0]
    if port:
        endpoint = Endpoint(transport="tcp", node="n1", host="127.0.0.1", port=port)
    return await Tunnel.open(admission, await dialled(endpoint), Resolver(), place, neighbours)


async def fails(admission: Admission, port: int | None = None) -> TunnelError:
    with pytest.raises(TunnelError) as caught:
        await open_tunnel(admission, port)
    return caught.value


@asynccontextmanager
async def server(speak: Callable[[asyncio.StreamWriter], Any]) -> AsyncIterator[int]:
    """A port where something else than SSH answers."""
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        speak(writer)
        while await reader.read(4096):
            pass
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield listening.sockets[0].getsockname()[1]
    listening.close()
    for writer in writers:
        writer.transport.abort()


async def test_a_tunnel_publishes_every_store_under_the_agents_name(relay: FakeRelay, enrol: Enrol) -> None:
    """The user is the agent's id, the names are the stores' own, and a clean close is heard."""
    tunnel = await open_tunnel(await enrol())
    seen = await relay.tunnel(stores=2)
    assert seen.user == relay.agent_id
    assert sorted(seen.published) == [("shop.lan", 80), ("two.lan", 8080)]
    assert tunnel.published == STORES
    assert tunnel.address == f"127.0.0.1:{relay.ssh_port}"
    await tunnel.close()
    await asyncio.wait_for(seen.lost.wait(), 5)
    assert await tunnel.lost() == "closed"


async def test_the_line_is_encrypted_with_what_the_contract_names(relay: FakeRelay, enrol: Enrol) -> None:
    """Post-quantum key exchange and AES-GCM, whatever a library would choose by itself."""
    tunnel = await open_tunnel(await enrol())
    info = tunnel._ssh.get_extra_info
    assert info("send_cipher") == info("recv_cipher") == "aes128-gcm@openssh.com"
    await tunnel.close()


async def test_a_relay_without_post_quantum_key_exchange_is_left(
    relay: FakeRelay, enrol: Enrol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No weaker one is fallen back to."""
    await relay.stop_ssh()
    monkeypatch.setitem(ssh.SERVER, "kex_algs", ["curve25519-sha256"])
    await relay.start_ssh(relay.ssh_port)
    assert "refuses the SSH connection" in str(await fails(await enrol()))


async def test_a_relay_whose_host_key_another_ca_signed_is_refused(relay: FakeRelay, enrol: Enrol) -> None:
    """Before anything is published, whatever the certificate says of its name."""
    admission = await enrol()
    await relay.stop_ssh()
    await relay.start_ssh(relay.ssh_port, host_ca=asyncssh.generate_private_key("ssh-ed25519"))
    error = await fails(admission)
    assert error.refused
    assert "is not the relay that the access token names" in str(error)
    assert relay.tunnels_ever == 0


async def test_a_relay_with_another_name_in_its_certificate_is_refused(relay: FakeRelay, enrol: Enrol) -> None:
    """The same CA signs for several relays' names; the answer says which one is meant."""
    relay.answer_changes["host_principal"] = "another.test"
    assert "is not the relay" in str(await fails(await enrol()))


async def test_a_certificate_that_the_relay_does_not_take_is_told_apart(relay: FakeRelay, enrol: Enrol) -> None:
    """For then a new one is asked for."""
    relay.user_ca = asyncssh.generate_private_key("ssh-ed25519")
    assert isinstance(await fails(await enrol()), LoginRefusedError)


@pytest.mark.parametrize("words", [b"", b"\x00" * 5000, b"\xff" * 5000, b"\x00\x00\x00\x0c\x0a\x14" + b"A" * 300])
async def test_what_names_itself_ssh_and_is_none_is_given_up(
    enrol: Enrol, words: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that lets the greeting through and swallows or spoils the rest looks like this: no trace, no wait."""
    monkeypatch.setattr("agent.login.LOGIN_SECONDS", 0.3)
    admission = await enrol()
    async with server(lambda writer: writer.write(b"SSH-2.0-x\r\n" + words)) as port:
        error = await fails(admission, port)
    assert str(port) in str(error)
    assert str(error).isprintable()
    if not words:
        assert "does not finish an SSH login" in str(error)


async def test_one_refused_store_does_not_keep_the_others_off(relay: FakeRelay, enrol: Enrol) -> None:
    """And if all are refused, there is no tunnel."""
    relay.unwanted = {("shop.lan", 80)}
    tunnel = await open_tunnel(await enrol())
    assert tunnel.published == STORES[1:]
    await tunnel.close()
    relay.unwanted = {("shop.lan", 80), ("two.lan", 8080)}
    error = await fails(await enrol())
    assert "none of the stores" in str(error)
    assert isinstance(error, LoginRefusedError), "a relay that revoked this agent says so at the next enrolment"
    assert await eventually(lambda: not relay.tunnels)


async def test_a_channel_that_comes_with_the_confirmation_is_served(relay: FakeRelay, enrol: Enrol) -> None:
    """A request that was held for the tunnel is sent at once: its channel is not told that nothing is published."""
    outcomes: list[asyncio.Task[Any]] = []

    def at_once(tunnel: Any, host: str, port: int) -> None:
        outcomes.append(asyncio.ensure_future(tunnel.open(host, port)))  # begins in the turn after the confirmation

    relay.on_publish = at_once
    for _ in range(20):
        tunnel = await open_tunnel(await enrol())
        await asyncio.wait(outcomes)
        await tunnel.close()
    codes = {error.code for task in outcomes if isinstance(error := task.exception(), asyncssh.ChannelOpenError)}
    assert len(outcomes) == 40
    assert codes == {ChannelRefusal.STORE_REFUSED}


async def test_a_relay_that_does_not_confirm_the_stores_is_left(
    relay: FakeRelay, enrol: Enrol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is not kept half-made."""
    monkeypatch.setattr("agent.tunnel.PUBLISH_SECONDS", 0.3)
    relay.mute = True
    assert "did not confirm the stores" in str(await fails(await enrol()))


async def test_a_frozen_relay_is_noticed(relay: FakeRelay, enrol: Enrol, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has to be sent or received for it, and nobody has to close."""
    monkeypatch.setattr("agent.tunnel.QUIET_SECONDS", 0.3)
    monkeypatch.setattr("agent.wire.pulse.PATIENCE_SECONDS", 0.3)
    tunnel = await open_tunnel(await enrol())
    seen = await relay.tunnel(stores=2)
    transport: Any = seen.ssh._transport
    transport.pause_reading()
    assert await asyncio.wait_for(tunnel.lost(), 5) == "the relay stopped answering"
    assert not tunnel.standing
    assert tunnel.found_dead


async def test_what_ends_a_tunnel_is_told(relay: FakeRelay, enrol: Enrol) -> None:
    """A goodbye with its reason, escaped; a broken line as such."""
    tunnel = await open_tunnel(await enrol())
    (await relay.tunnel(stores=2)).ssh.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, "node is\x1b[2J drained")
    assert await asyncio.wait_for(tunnel.lost(), 5) == "the relay ended it: node is\\x1b[2J drained"
    tunnel = await open_tunnel(await enrol())
    (await relay.tunnel(stores=2)).ssh.abort()
    assert await asyncio.wait_for(tunnel.lost(), 5) == "the connection was lost"
    tunnel = await open_tunnel(await enrol())
    (await relay.tunnel(stores=2)).ssh.close()
    assert await asyncio.wait_for(tunnel.lost(), 5) == "the relay closed it"


async def test_an_open_that_is_cancelled_leaves_no_connection(relay: FakeRelay, enrol: Enrol) -> None:
    """At whatever step: the relay sees every connection end."""
    admission = await enrol()
    relay.mute = True
    for seconds in (0.001, 0.003, 0.005, 0.01, 0.02, 0.04):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(open_tunnel(admission), seconds)
    assert await eventually(lambda: relay.connections == 0)


async def test_the_relay_may_open_nothing_but_channels_to_stores(relay: FakeRelay, enrol: Enrol) -> None:
    """No session on the agent's machine, no direct connection, no socket, no agent: all refused, the tunnel stays."""
    tunnel = await open_tunnel(await enrol())
    seen = await relay.tunnel(stores=2)
    kinds = ("session", "direct-tcpip", "direct-streamlocal@openssh.com", "auth-agent@openssh.com", "tun@openssh.com")
    x11 = (b"x11", String("host"), UInt32(1))
    for kind in (x11, *((name.encode(),) for name in kinds)):
        chan: Any = seen.ssh.create_tcp_channel()
        with pytest.raises(asyncssh.ChannelOpenError):
            await chan._open(*kind)
        assert tunnel.standing, kind
    assert tunnel.standing
    await tunnel.close()


class Told:
    """The agent's other tunnels, as a tunnel sees them."""

    def __init__(self) -> None:
        self.accused: list[tuple[int, int]] = []
        self.changes = 0

    def suspected(self, slot: int, generation: int) -> None:
        self.accused.append((slot, generation))

    def changed(self) -> None:
        self.changes += 1


async def controlled(relay: FakeRelay, enrol: Enrol, told: Told | None = None) -> tuple[Tunnel, Any]:
    """A tunnel and the relay's end of it, once the agent has said hello."""
    relay.controlled = True
    tunnel = await open_tunnel(await enrol(), place=Place(1, 7, process=COPY), neighbours=told)
    seen = await relay.tunnel(stores=2)
    assert await eventually(lambda: bool(seen.heard))
    return tunnel, seen


async def test_the_agent_says_hello_on_the_control_channel(relay: FakeRelay, enrol: Enrol) -> None:
    """Slot, process, generation and stores; the reserved name is no store, and its channel does not count as one."""
    tunnel, seen = await controlled(relay, enrol)
    assert seen.heard == [
        AgentHello(
            slot=1,
            process=COPY,
            generation=7,
            version=__version__,
            stores=["http://shop.lan", "http://two.lan:8080"],
        )
    ]
    assert sorted(seen.published) == [("shop.lan", 80), ("two.lan", 8080)]
    assert tunnel.published == STORES
    assert tunnel.channels == 0
    await tunnel.close()


async def test_a_relay_that_knows_no_control_channel_is_served(relay: FakeRelay, enrol: Enrol) -> None:
    """It may refuse the name: what is said then goes nowhere."""
    tunnel = await open_tunnel(await enrol())
    assert tunnel.published == STORES
    tunnel.say(Bye(reason="nobody hears"))
    tunnel.leave("the same")
    await tunnel.close()


async def test_what_the_relay_says_is_kept_and_told_on(relay: FakeRelay, enrol: Enrol) -> None:
    """A drain, a time to wait, a suspicion for another tunnel, and why it ends this one."""
    told = Told()
    tunnel, seen = await controlled(relay, enrol, told)
    for message in (Drain(seconds=30), RetryAfter(seconds=60), Suspect(slot=0, generation=3), Bye(reason="node gone")):
        seen.control.send(message)
    assert await eventually(lambda: told.changes == 4)
    assert tunnel.draining_since is not None
    assert tunnel.retry_after == 60
    assert told.accused == [(0, 3)]
    seen.ssh.abort()
    assert await asyncio.wait_for(tunnel.lost(), 5) == "the relay ended it: node gone"


async def test_a_malformed_word_ends_the_control_channel_and_not_the_tunnel(relay: FakeRelay, enrol: Enrol) -> None:
    """Stores are served as before."""
    tunnel, seen = await controlled(relay, enrol)
    seen.control._chan.write(b"what?\n")
    assert await eventually(lambda: seen.control is None)
    with pytest.raises(asyncssh.ChannelOpenError) as refused:
        await seen.open("shop.lan", 80)
    assert refused.value.code == ChannelRefusal.STORE_REFUSED
    assert tunnel.standing
    await tunnel.close()


async def test_who_leaves_says_so(relay: FakeRelay, enrol: Enrol) -> None:
    """Before it takes no more channels."""
    tunnel, seen = await controlled(relay, enrol)
    tunnel.leave("the agent is shutting down")
    assert await eventually(lambda: Bye(reason="the agent is shutting down") in seen.heard)
    await tunnel.close()


async def test_a_relay_suspected_of_death_is_asked_at_once(relay: FakeRelay, enrol: Enrol) -> None:
    """One that answers is well; one that does not is left within seconds, though its connection stands."""
    tunnel = await open_tunnel(await enrol())
    seen = await relay.tunnel(stores=2)
    assert await eventually(lambda: tunnel.round_trip is not None)
    tunnel.suspect()
    await asyncio.sleep(1)
    assert tunnel.standing
    transport: Any = seen.ssh._transport
    transport.pause_reading()
    began = asyncio.get_running_loop().time()
    tunnel.suspect()
    assert await asyncio.wait_for(tunnel.lost(), 5) == "the relay stopped answering"
    assert asyncio.get_running_loop().time() - began < 4


def plainly(endpoint: Endpoint) -> Dialled:
    """As over a WebSocket: SSH says its first line itself."""

    async def start(carrier: Carrier) -> asyncio.BaseTransport:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: carrier, endpoint.host, endpoint.port)
        return transport

    return Dialled(start)


@pytest.mark.parametrize("introduced", [True, False])
async def test_the_second_tunnel_names_itself_so(relay: FakeRelay, enrol: Enrol, introduced: bool) -> None:
    """A relay to which many come back lets the first ones in before."""
    admission, place = await enrol(), Place(1, 1, second=True)
    endpoint = admission.endpoints[0]
    dialled = await TcpDialer(Resolver()).dial(endpoint, place.version) if introduced else plainly(endpoint)
    won = Won(dialled, endpoint)
    tunnel = await Tunnel.open(admission, won, Resolver(), place)
    seen = await relay.tunnel(stores=2)
    assert seen.ssh.get_extra_info("client_version") == "SSH-2.0-postern second"
    await tunnel.close()


async def test_a_lost_tunnel_leaves_nothing_behind(relay: FakeRelay, enrol: Enrol) -> None:
    """No timer of it goes on, whoever has dropped it; an agent may lose thousands."""
    tunnel = await open_tunnel(await enrol())
    seen = await relay.tunnel(stores=2)
    gone, connection = weakref.ref(tunnel), weakref.ref(tunnel._ssh)
    seen.ssh.abort()
    await asyncio.wait_for(tunnel.lost(), 5)
    del tunnel

    def forgotten() -> bool:
        gc.collect()
        return gone() is None and connection() is None

    assert await eventually(forgotten)
