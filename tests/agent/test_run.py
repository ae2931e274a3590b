"""The real `postern-agent run` against a relay: connecting, losing, renewing, leaving."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from agent.wire.refusal import ChannelRefusal, EnrolmentRefusal
from agent.wire.token import AccessToken
from tests.agent.conftest import Agent, OpenShop, Running, eventually
from tests.agent.fake_relay import Answer, FakeRelay


async def shop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request line by line, keeping the connection."""
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()


class Site:
    """Everything in its place for an agent to run."""

    def __init__(self, agent: Agent, relay: FakeRelay, token_file: Path, state: Path, port: int) -> None:
        self.agent = agent
        self.relay = relay
        self.token_file = token_file
        self.state = state
        self.arguments: tuple[object, ...] = (
            *("run", "--relay", relay.url, "--token-file", token_file, "--state-dir", state),
            *("--store", f"http://shop.lan=127.0.0.1:{port}"),
        )

    async def run(self, *more: object, **environment: str) -> Running:
        return await self.agent.start(*self.arguments, *more, **environment)


@pytest.fixture
async def site(agent: Agent, relay: FakeRelay, token_file: Path, tmp_path: Path, open_shop: OpenShop) -> Site:
    opened = await open_shop(shop)
    return Site(agent, relay, token_file, tmp_path / "state", opened.port)


async def request(relay: FakeRelay) -> None:
    """One request through the newest tunnel, on a channel of its own."""
    reader, writer = await relay.tunnels[-1].open("shop.lan", 80)
    writer.write(b"GET /api HTTP/1.1\r\n\r\n")
    assert await reader.readuntil(b"ok")
    writer.close()


async def test_it_connects_forwards_and_leaves(site: Site) -> None:
    """The first connection is told with agent and stores; SIGTERM ends it with status 0."""
    running = await site.run()
    assert (await running.says("enrolled"))["agent"] == "Backoffice"
    stands = await running.says("tunnel stands")
    assert (stands["node"], stands["stores"]) == ("n1", ["http://shop.lan"])
    await site.relay.tunnel()
    await request(site.relay)
    running.process.send_signal(signal.SIGTERM)
    assert await running.ends() == 0


async def test_a_lost_tunnel_is_told_and_dialled_again_within_seconds(site: Site) -> None:
    """Each loss with its reason; the next tunnel stands in less than two seconds."""
    running = await site.run()
    tunnel = await site.relay.tunnel()
    for ever in (1, 2, 3):
        began = time.monotonic()
        tunnel.ssh.abort()
        lost = await running.says("tunnel lost; dialling again")
        assert lost["reason"] == "the connection was lost"
        tunnel = await site.relay.tunnel(newer_than=ever)
        assert time.monotonic() - began < 3
    await request(site.relay)


async def test_it_comes_back_soon_after_a_relay_that_was_down(site: Site) -> None:
    """While it is down it dials at least every two seconds, and tells the trouble once, not each time."""
    running = await site.run()
    await site.relay.tunnel()
    await site.relay.stop_ssh()
    assert "Connection refused" in (await running.says("no tunnel"))["reason"]
    await asyncio.sleep(5)
    await site.relay.start_ssh(site.relay.ssh_port)
    began = time.monotonic()
    await site.relay.tunnel(newer_than=1)
    assert time.monotonic() - began < 3
    assert (await running.says("tunnel stands"))["slot"] == 0


async def test_a_relay_that_is_not_there_yet_is_waited_for(site: Site) -> None:
    """The agent may start before the network: it enrols when somebody answers."""
    site.relay.answers.extend(Answer(502, b"starting") for _ in range(3))
    running = await site.run()
    assert "answered 502" in (await running.says("not enrolled"))["reason"]
    await site.relay.tunnel()


async def test_the_certificate_is_renewed_without_a_failed_request(site: Site) -> None:
    """Requests run all the time, each on its own channel and one on a long-lived one, while certificates last 6 s."""
    site.relay.certificate_seconds = 6
    await site.run()
    first = await site.relay.tunnel()
    done = 0
    ends = time.monotonic() + 14
    slow_reader, slow_writer = await first.open("shop.lan", 80)
    while time.monotonic() < ends:
        await request(site.relay)
        done += 1
        if not first.lost.is_set() and time.monotonic() < ends - 9.5:
            slow_writer.write(b"GET /slow HTTP/1.1\r\n\r\n")
            assert await slow_reader.readuntil(b"ok")
        await asyncio.sleep(0.02)
    slow_writer.close()
    assert done > 200
    assert site.relay.tunnels_ever >= 4
    assert first.lost.is_set()
    assert [asked.token_id for asked in site.relay.asked[1:]] == [None] * (len(site.relay.asked) - 1)


async def test_a_tunnel_that_was_replaced_lets_its_channels_finish(site: Site) -> None:
    """A download that began before the renewal ends in the old tunnel, which is then closed."""
    site.relay.certificate_seconds = 30
    running = await site.run()
    old = await site.relay.tunnel()
    reader, writer = await old.open("shop.lan", 80)
    running.process.send_signal(signal.SIGHUP)
    new = await site.relay.tunnel(newer_than=1)
    assert new is not old
    for _ in range(14):
        writer.write(b"GET /more HTTP/1.1\r\n\r\n")
        assert await reader.readuntil(b"ok")
        await asyncio.sleep(0.5)
    with pytest.raises(asyncssh.ChannelOpenError) as caught:
        await old.open("shop.lan", 80)
    assert caught.value.code == ChannelRefusal.AGENT_LEAVING
    assert not old.lost.is_set()
    writer.write_eof()
    writer.close()
    await asyncio.wait_for(old.lost.wait(), 5)
    await request(site.relay)


async def test_a_certificate_that_is_refused_is_replaced(site: Site) -> None:
    """After the relay changed its user CA the agent enrols again by itself."""
    running = await site.run()
    tunnel = await site.relay.tunnel()
    await site.relay.stop_ssh()
    old_ca = site.relay.user_ca
    site.relay.user_ca = asyncssh.generate_private_key("ssh-ed25519")
    await site.relay.start_ssh(site.relay.ssh_port)
    assert tunnel.lost.is_set()
    assert "does not take this instance's certificate" in (await running.says("no tunnel"))["reason"]
    await site.relay.tunnel(newer_than=1)
    assert old_ca is not site.relay.user_ca
    assert len(site.relay.asked) >= 2


async def test_endpoints_that_moved_are_asked_for_again(site: Site) -> None:
    """No dead end: a relay that came back elsewhere is found, at the next renewal at the latest."""
    site.relay.certificate_seconds = 8
    await site.run()
    await site.relay.tunnel()
    before = site.relay.ssh_port
    await site.relay.stop_ssh()
    await site.relay.start_ssh(0)
    assert site.relay.ssh_port != before
    await site.relay.tunnel(newer_than=1)
    await request(site.relay)
    assert len(site.relay.asked) >= 2, "it was found without being asked for"


async def test_as_many_tunnels_as_the_relay_wants_on_different_nodes(site: Site) -> None:
    """More when it wants more, fewer when it wants fewer."""
    site.relay.wanted_tunnels = 2
    site.relay.answer_changes["endpoints"] = [
        {"transport": "websocket", "node": "n1", "host": "127.0.0.1", "port": 9, "url": "wss://relay.test"},
        {"transport": "tcp", "node": "n1", "host": "127.0.0.1", "port": site.relay.ssh_port},
        {"transport": "tcp", "node": "n2", "host": "localhost", "port": site.relay.ssh_port},
    ]
    running = await site.run()
    nodes = {(await running.says("tunnel stands"))["node"] for _ in range(2)}
    assert nodes == {"n1", "n2"}
    site.relay.answer_changes["tunnels"] = 1
    running.process.send_signal(signal.SIGHUP)
    assert await eventually(lambda: site.relay.connections == 1, 15)


async def test_sigterm_lets_running_channels_finish(site: Site, open_shop: OpenShop) -> None:
    """New channels are refused, the running one goes on to its end, then the process ends with 0."""
    running = await site.run()
    tunnel = await site.relay.tunnel()
    reader, writer = await tunnel.open("shop.lan", 80)
    running.process.send_signal(signal.SIGTERM)
    assert (await running.says("leaving"))["channels"] == 1
    with pytest.raises(asyncssh.ChannelOpenError) as caught:
        await tunnel.open("shop.lan", 80)
    assert caught.value.code == ChannelRefusal.AGENT_LEAVING
    for _ in range(5):
        writer.write(b"GET /last HTTP/1.1\r\n\r\n")
        assert await reader.readuntil(b"ok")
        await asyncio.sleep(0.1)
    writer.write_eof()
    writer.close()
    assert await running.ends(5) == 0


async def test_a_second_sigterm_hurries(site: Site) -> None:
    """A channel that never ends does not hold up who asks twice."""
    running = await site.run()
    tunnel = await site.relay.tunnel()
    await tunnel.open("shop.lan", 80)
    running.process.send_signal(signal.SIGTERM)
    await running.says("leaving")
    running.process.send_signal(signal.SIGTERM)
    assert await running.ends(5) == 0


@pytest.mark.parametrize("when", ["enrolling", "waiting"])
async def test_sigterm_ends_an_agent_that_never_connected(site: Site, when: str) -> None:
    """In the middle of a request to the relay, or between two."""
    if when == "waiting":
        site.relay.answers.append(Answer.problem(EnrolmentRefusal.INSTANCE_LIMIT, 403, {"Retry-After": "600"}))
        running = await site.run()
        assert "all places of this agent are taken" in (await running.says("not enrolled"))["reason"]
    else:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            running = await site.run("--relay", f"http://127.0.0.1:{silent.getsockname()[1]}")
            await running.says("agent started")
            running.process.send_signal(signal.SIGTERM)
            assert await running.ends(3) == 0
            return
    running.process.send_signal(signal.SIGTERM)
    assert await running.ends(3) == 0


@pytest.mark.parametrize("when", ["first", "renewal"])
async def test_a_final_refusal_ends_the_agent_with_78(site: Site, when: str) -> None:
    """At the first enrolment and at a renewal alike, with the sentence last."""
    refusal = Answer.problem(EnrolmentRefusal.AGENT_REVOKED)
    if when == "first":
        site.relay.answers.append(refusal)
    running = await site.run()
    if when == "renewal":
        await site.relay.tunnel()
        site.relay.answers.append(refusal)
        running.process.send_signal(signal.SIGHUP)
    assert await running.ends() == 78
    assert running.process.stderr
    last = (await running.process.stderr.read()).decode().splitlines()[-1]
    assert last == "postern-agent: this agent was revoked at the relay: create a new one there, or stop this one."
    assert await eventually(lambda: site.relay.connections == 0)


async def test_sighup_takes_new_stores_and_a_new_token(site: Site, tmp_path: Path) -> None:
    """Without a break: a new tunnel publishes the new list, and the relay sees the new token."""
    config = tmp_path / "agent.toml"
    config.write_text(f'stores = ["http://shop.lan"]\nrelay = "{site.relay.url}"\n')
    arguments = ("run", "--config", config, "--token-file", site.token_file, "--state-dir", site.state)
    running = await site.agent.start(*arguments)
    await site.relay.tunnel()
    config.write_text(f'stores = ["http://shop.lan", "http://two.lan"]\nrelay = "{site.relay.url}"\n')
    token = AccessToken.generate(site.relay.token.ca_fingerprint)
    site.relay.tokens[token.id] = token
    site.token_file.write_text(token.reveal())
    running.process.send_signal(signal.SIGHUP)
    new = await site.relay.tunnel(stores=2, newer_than=1)
    assert sorted(new.published) == [("shop.lan", 80), ("two.lan", 80)]
    assert site.relay.asked[-1].token_id == token.id
    config.write_text(f'stores = 7\nrelay = "{site.relay.url}"\n')
    running.process.send_signal(signal.SIGHUP)
    assert "stores" in (await running.says("the settings were not taken over"))["reason"]
    assert not new.lost.is_set()


async def test_a_second_agent_with_the_same_directory_is_1(site: Site) -> None:
    """Two would take each other's place for ever."""
    await site.run()
    await site.relay.tunnel()
    ended = await site.agent.finish(*site.arguments)
    assert ended.status == 1
    assert "another postern-agent runs" in ended.err


async def test_no_port_is_opened_and_only_relay_and_store_are_reached(site: Site) -> None:
    """Seen in the kernel's own tables, with a tunnel standing and a channel open."""
    running = await site.run()
    tunnel = await site.relay.tunnel()
    reader, writer = await tunnel.open("shop.lan", 80)
    writer.write(b"GET /api HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"ok")
    sockets = list(tcp_sockets(running.process.pid))
    assert [state for _, state in sockets if state == "0A"] == []
    store_port = int(str(site.arguments[-1]).rpartition(":")[2])
    assert {port for port, _ in sockets} <= {site.relay.ssh_port, site.relay.http_port, store_port}
    assert len(sockets) >= 2


def tcp_sockets(pid: int) -> Iterator[tuple[int, str]]:
    """Remote port and state (0A: listening) of each TCP socket of a process."""
    inodes = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        if match := re.fullmatch(r"socket:\[(\d+)\]", str(handle.readlink())):
            inodes.add(match[1])
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[9] in inodes:
                yield int(fields[2].rpartition(":")[2], 16), fields[3]


def arguments_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def contents(directory: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in directory.iterdir() if path.is_file())


async def test_the_token_is_nowhere_but_in_its_file(site: Site) -> None:
    """A canary: not in the log, the arguments, the state directory, the status; not on the wire either."""
    secret = site.relay.token.reveal()[8:]
    running = await site.run()
    await site.relay.tunnel()
    status = await site.agent.finish("status", "--state-dir", site.state, "--json")
    arguments, kept = arguments_of(running.process.pid), contents(site.state)
    running.process.send_signal(signal.SIGTERM)
    assert running.process.stderr
    log = (await running.process.stderr.read()).decode()
    for place in (status.out, arguments, kept, log, str(site.relay.asked)):
        for part in (secret[16:60], site.relay.token.secret.hex()):
            assert part not in place


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


async def hear(heard: socket.socket, word: str) -> str:
    """The next notification with this word in it."""
    async with asyncio.timeout(15):
        while True:
            said = (await asyncio.get_running_loop().sock_recv(heard, 4096)).decode()
            if word in said:
                return said


async def test_ready_does_not_wait_for_the_relay(site: Site, heard: socket.socket) -> None:
    """A line that is down is no reason to be restarted; the status says what is missing, then that all stands."""
    site.relay.answers.extend(Answer(503, b"") for _ in range(4))
    running = await site.run(NOTIFY_SOCKET=heard.getsockname(), WATCHDOG_USEC="600000")
    assert "STATUS=enrolling" in await hear(heard, "READY=1")
    assert "answered 503" in await hear(heard, "503")
    for _ in range(5):
        await hear(heard, "WATCHDOG=1")
    await hear(heard, "STATUS=1 of 1 tunnels")
    running.process.send_signal(signal.SIGHUP)
    await hear(heard, "RELOADING=1")
    await hear(heard, "READY=1")
    running.process.send_signal(signal.SIGTERM)
    await hear(heard, "STOPPING=1")
    assert await running.ends() == 0


async def test_status_shows_the_running_agent(site: Site, tmp_path: Path) -> None:
    """As text and as JSON, also under a path longer than a socket's address may be; 0 while a tunnel stands."""
    site.state = tmp_path / ("deep" * 30) / "state"
    running = await site.run("--state-dir", site.state)
    await running.says("tunnel stands")
    told = await site.agent.finish("status", "--state-dir", site.state, "--json")
    status = json.loads(told.out)
    assert told.status == 0
    assert status["agent"] == {"id": site.relay.agent_id, "name": "Backoffice"}
    assert status["instance"].startswith("ins_")
    assert status["tunnels"][0] | {"since": 0, "round_trip_ms": 0} == {
        "slot": 0,
        "state": "standing",
        "node": "n1",
        "transport": "tcp",
        "address": f"127.0.0.1:{site.relay.ssh_port}",
        "since": 0,
        "channels": 0,
        "round_trip_ms": 0,
    }
    assert status["stores"][0]["origin"] == "http://shop.lan"
    assert 3500 < status["certificate_seconds"] <= 3600
    assert status["last_error"] is None
    assert (site.state / "status.sock").stat().st_mode & 0o777 == 0o600
    text = (await site.agent.finish("status", "--state-dir", site.state)).out
    assert "Backoffice" in text
    assert "standing for" in text
    await site.relay.stop_ssh()
    await running.says("tunnel lost; dialling again")
    told = await site.agent.finish("status", "--state-dir", site.state)
    assert told.status == 1
    assert "last error" in told.out


async def test_status_finds_the_service_in_its_runtime_directory(site: Site, tmp_path: Path) -> None:
    """Where systemd made one, the socket lies there."""
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    running = await site.run(RUNTIME_DIRECTORY=str(runtime))
    await running.says("tunnel stands")
    assert (runtime / "status.sock").exists()
    told = await site.agent.finish("status", RUNTIME_DIRECTORY=str(runtime))
    assert told.status == 0
    running.process.send_signal(signal.SIGTERM)
    await running.ends()
    assert not (runtime / "status.sock").exists()
