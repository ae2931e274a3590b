"""Storms: 2,000 agents that lose their relay all at once, and strangers that knock a thousand times a second."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import asyncssh
import pytest

from agent.wire.token import new_id
from relay.tunnels.authority import Identity
from tests.system import hostile, storm
from tests.system.callers import Callers
from tests.system.programs import HOST, Program, eventually
from tests.system.road import Connection, NewRoad, Road

pytestmark = [pytest.mark.long, pytest.mark.timeout(150)]

AGENTS = 2000
CROWDS = 2  # processes that play them: one core each, beside the relay's
BACK_SECONDS = 30.0
PATIENCE_SECONDS = 60.0
CALM_P99_SECONDS = 1.0
FIRST_BEFORE = 0.95  # when so many first tunnels stand …
SECONDS_BY_THEN = 0.25  # … no more than this part of the second ones
RATE, FLOOD_SECONDS = 1000, 30.0
LOGIN_SECONDS = 1.0
GROWTH_BYTES = 64 << 20
PAUSE = 0.05  # seconds between two requests of one caller
STORE = "shop.test"


def answers(connection: Connection) -> bool:
    return connection.ask("/api/orders?limit=1").status == 200


async def certificates(road: Road, agents: list[str], key: asyncssh.SSHKey) -> list[tuple[str, str]]:
    """What enrolment gives, for agents that need nothing but their tunnels."""
    ca, now = (await hostile.authority_keys(road)).user_ca, int(time.time())
    made = []
    for agent in agents:
        identity = Identity(agent, new_id("ins"), new_id("atk"), 1, now + 3600)
        certificate = ca.generate_user_certificate(
            key, key_id=agent, serial=1, principals=[agent], valid_after=now - 60, valid_before=now + 3600,
            force_command=identity.command,
        )  # fmt: skip
        made.append((agent, certificate.export_certificate().decode()))
    return made


def crowd(road: Road, name: str, network: str, members: list[tuple[str, str]], key: asyncssh.SSHKey) -> Program:
    job = storm.Agents(road.ssh_port, STORE, key.export_private_key().decode(), members, network)
    path = storm.written(job, road.home / f"{name}.json")
    return road.start(name, [sys.executable, "-m", "tests.system.storm", path])


def stood(programs: list[Program], standing: int, since: float = 0.0) -> list[float]:
    """When each agent had so many tunnels for the first time since then, in order."""
    found: dict[str, float] = {}
    for program in programs:
        for line in program.text().splitlines(keepends=True):
            told = json.loads(line) if line.endswith("\n") and line.startswith("{") else {}
            if told.get("standing") == standing and told["at"] >= since:
                found.setdefault(told["agent"], told["at"])
    return sorted(found.values())


async def test_two_thousand_agents_come_back(new_road: NewRoad) -> None:
    """The relay is killed and started: all are there with both tunnels within 30 s, first ones before second ones, and
    small requests on the first ones are answered meanwhile within a second."""
    road = new_road("storm")
    key = asyncssh.generate_private_key("ssh-ed25519")
    calm = [road.new_agent().id for _ in range(4)]
    connections = [road.connect(agent, f"http://{STORE}", "K" * 32) for agent in calm]
    members = await certificates(road, [new_id("agt") for _ in range(AGENTS - len(calm))], key)
    share = len(members) // CROWDS
    programs = [
        crowd(road, f"crowd-{n}", f"127.{16 + n}", members[n * share : (n + 1) * share], key) for n in range(CROWDS)
    ]
    programs.append(crowd(road, "calm", "127.32", await certificates(road, calm, key), key))
    eventually("all stand", lambda: len(stood(programs, 1)) == AGENTS == len(stood(programs, 2)), 60)
    road.relay.signal(signal.SIGKILL)
    road.relay.ends()
    road.start_relay()
    ready = time.monotonic()
    for connection in connections:
        eventually("the first ones are back", partial(answers, connection), BACK_SECONDS)
    callers = Callers(connections, pause=PAUSE)
    with callers.calling():
        eventually("first tunnels are back", lambda: len(stood(programs, 1, ready)) == AGENTS, PATIENCE_SECONDS)
        eventually("second ones are back", lambda: len(stood(programs, 2, ready)) == AGENTS, PATIENCE_SECONDS)
    first, second = stood(programs, 1, ready), stood(programs, 2, ready)
    most = first[int(AGENTS * FIRST_BEFORE) - 1]
    early = sum(at < most for at in second)
    print(
        f"\nfirst tunnels {first[-1] - ready:.1f} s (95 %: {most - ready:.1f}), "
        f"second ones {second[-1] - ready:.1f} s, "
        f"{early} of these before 95 % of the first; requests {len(callers.seconds)}, p99 {callers.p99:.3f} s; "
        f"relay CPU {cpu_seconds(road.relay):.1f} s"
    )
    assert callers.failed == []
    assert second[-1] - ready < BACK_SECONDS
    assert callers.p99 < CALM_P99_SECONDS
    assert early < SECONDS_BY_THEN * AGENTS


def cpu_seconds(program: Program) -> float:
    """What its process has worked so far, for the system and for itself."""
    _, _, stat = Path(f"/proc/{program.pid}/stat").read_text().rpartition(") ")
    return sum(map(int, stat.split()[11:13])) / os.sysconf("SC_CLK_TCK")


async def test_strangers_keep_nobody_out(new_road: NewRoad) -> None:
    """1,000 connects a second for 30 s, on SSH and on the tunnel's address: no request through a live tunnel fails, an
    enrolled agent gets in within a second each time, and memory stays bounded."""
    road = new_road("flood")
    shop = road.start_shop("--domain", STORE)
    agent = road.start_agent(road.new_agent(), [f"http://{STORE}={HOST}:{shop.port}"])
    connection = road.connect(agent.entry.id, f"http://{STORE}", shop.key)
    key = asyncssh.generate_private_key("ssh-ed25519")
    newcomers = await certificates(road, [new_id("agt") for _ in range(int(FLOOD_SECONDS))], key)
    before = road.relay.memory()
    job = storm.Strangers(road.ssh_port, road.http_port, RATE, "127.64")
    callers = Callers([connection] * 2, pause=PAUSE)
    with callers.calling():
        path = storm.written(job, road.home / "strangers.json")
        flood = road.start("strangers", [sys.executable, "-m", "tests.system.storm", path])
        flood.says("knocked")
        began, took = time.monotonic(), []
        for number, (name, certificate) in enumerate(newcomers):
            took.append(
                await login(road, name, (key, asyncssh.import_certificate(certificate)), f"127.65.0.{number + 1}")
            )
            await asyncio.sleep(max(0.0, 1.0 - took[-1]))
        seconds = time.monotonic() - began
        grown = road.relay.memory("VmHWM") - before
        flood.signal(signal.SIGINT)
        assert flood.ends(5) == 0
    told = [json.loads(line) for line in flood.text().splitlines() if "knocked" in line][-1]
    print(
        f"\nslowest login {max(took):.3f} s, requests {len(callers.seconds)}, p99 {callers.p99:.3f} s, "
        f"RSS +{grown / (1 << 20):.1f} MiB; strangers: {told}"
    )
    assert told["knocked"] > 0.9 * RATE * seconds
    assert callers.failed == []
    assert '"tunnel lost' not in agent.program.text()
    assert max(took) < LOGIN_SECONDS, sorted(took)
    assert grown < GROWTH_BYTES


async def login(road: Road, agent: str, credentials: object, address: str) -> float:
    """Seconds from the dial to a published store."""
    began = time.monotonic()
    async with hostile.dialled(road, agent, [credentials], local_addr=(address, 0)) as connection:
        await connection.create_server(hostile.nobody, STORE, 80, encoding=None)
        return time.monotonic() - began
