"""`postern-agent check` and a wrong clock, against the real relay: nothing is disturbed, everything is told."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.https import Link
from agent.identity import Identity
from agent.opening import Ways
from agent.probes.here import Here, Running
from agent.probes.membership import Registrar, join
from agent.probes.ssh import login
from agent.probes.step import Chain
from agent.proxy import Proxies
from agent.resolver import Resolver
from agent.transports import TcpDialer
from agent.wire.enrolment import Endpoint
from agent.wire.token import AccessToken
from tests.system.lan import DOMAIN, Lan
from tests.system.programs import AGENT, HOST, finish
from tests.system.road import Agent, Connection, Entry, Road, Shop

SHIFTED = """\
import sys, time
right, shift = time.time, float(sys.argv.pop(1))
time.time = lambda: right() + shift
from agent.cli import main
sys.exit(main())
"""
"""The agent with a clock that is so many seconds ahead."""


def shifted(seconds: int) -> tuple[str, ...]:
    return sys.executable, "-c", SHIFTED, str(seconds)


def words(road: Road, token_file: Path, state_dir: Path, shop: Shop) -> tuple[str, ...]:
    where = ("--relay", road.url, "--token-file", str(token_file), "--state-dir", str(state_dir))
    return "check", "--json", *where, "--store", f"http://{DOMAIN}={HOST}:{shop.port}"


def check(road: Road, agent: Agent, shop: Shop, *, command: tuple[str, ...] = (AGENT,)) -> tuple[int, dict[str, Any]]:
    done = finish(*command, *words(road, agent.token_file, agent.state_dir, shop))
    return done.status, {line["name"]: line for line in json.loads(done.out)["checks"]}


def token_file(tmp_path: Path, entry: Entry) -> Path:
    path = tmp_path / "token"
    path.write_text(entry.token)
    return path


def instances(road: Road, entry: Entry) -> list[Any]:
    answer = road.api("GET", f"/v1/agents/{entry.id}/instances")
    assert answer.status == 200, answer
    return list(answer.json["items"])


def status_of(agent: Agent) -> Any:
    return json.loads(finish(AGENT, "status", "--json", "--state-dir", str(agent.state_dir)).out)


def wait_until_whole(agent: Agent) -> Any:
    """Its status, once the second tunnel stands too, which comes when it likes."""

    def whole() -> Any:
        status = status_of(agent)
        return status if status["state"] == "online" else None

    return agent.program.wait_for("all tunnels stand", whole)


def test_where_all_is_well_nothing_fails(road: Road, lan: Lan) -> None:
    """Beside the running agent: status 0, its tunnels prove what a login would, the store answers as PrestaShop."""
    wait_until_whole(lan.agent)
    status, lines = check(road, lan.agent, lan.shop)
    assert status == 0, lines
    assert {line["status"] for line in lines.values()} == {"PASS", "SKIP"}
    assert lines["relay enrolment"]["detail"].startswith("proved by the running agent")
    assert lines[f"http://{DOMAIN} api"]["detail"].startswith("PrestaShop's webservice answers")


def test_before_anybody_has_enrolled_no_place_is_taken(road: Road, lan: Lan, tmp_path: Path) -> None:
    """A token is known or unknown to the relay, and that is found out without enrolling."""
    entry = road.new_agent()
    done = finish(AGENT, *words(road, token_file(tmp_path, entry), tmp_path / "state", lan.shop))
    assert done.status == 0, done
    assert f"the relay knows {AccessToken.parse(entry.token).id}" in done.out
    assert "the relay asks for a ticket (401)" in done.out
    assert instances(road, entry) == []
    stranger = AccessToken.generate(bytes(16)).reveal()
    done = finish(AGENT, *words(road, token_file(tmp_path, Entry("", stranger)), tmp_path / "state", lan.shop))
    assert done.status == 78
    assert "the relay does not know this access token" in done.out


def test_a_stopped_agents_installation_is_tried_whole(road: Road, lan: Lan) -> None:
    """Renewal, SSH login and WebSocket with its own key; and a revoked token is told, with status 78."""
    entry = road.new_agent()
    agent = road.start_agent(entry, [f"http://{DOMAIN}={HOST}:{lan.shop.port}"])
    agent.program.end_soon()
    agent.program.ends()
    status, lines = check(road, agent, lan.shop)
    assert status == 0, lines
    assert lines[f"ssh {HOST}:{road.ssh_port} login"]["detail"] == "the relay lets this installation in"
    assert len(instances(road, entry)) == 1
    road.cli("agents", "tokens", "revoke", entry.id, AccessToken.parse(entry.token).id)
    status, lines = check(road, agent, lan.shop)
    assert status == 78
    assert lines["relay enrolment"]["detail"] == "the access token of this installation was revoked"


def test_a_login_beside_a_running_agent_pushes_no_tunnel_aside(road: Road, lan: Lan, connection: Connection) -> None:
    """It claims no slot and publishes nothing: the tunnels are the same before and after, and requests pass."""
    before = wait_until_whole(lan.agent)
    lines = asyncio.run(log_in(road, lan.agent))
    assert [line.status for line in lines if line.name == "login"] == ["PASS"] * 3, lines
    for _ in range(5):
        assert connection.ask("/api/products?limit=1").status == 200
    time.sleep(0.3)  # more than a relay takes to cut a tunnel that was replaced
    after = status_of(lan.agent)
    tunnels = [[(t["slot"], t["state"], t["since"]) for t in told["tunnels"]] for told in (before, after)]
    assert tunnels[0] == tunnels[1]


async def log_in(road: Road, agent: Agent) -> list[Any]:
    """As check does for an installation whose agent does not run, though it does."""
    memory = json.loads((agent.state_dir / "enrolment.json").read_text())
    copy = agent.state_dir.with_name("copy-for-login")
    copy.mkdir(mode=0o700)
    for name in ("instance_key", "enrolment.json"):
        (copy / name).write_bytes((agent.state_dir / name).read_bytes())
        (copy / name).chmod(0o600)
    identity = Identity.open(copy)
    here = Here(AccessToken.parse(agent.entry.token), identity.memory, identity.key, Running(None))
    chain = Chain()
    registrar = Registrar(road.url, Link(road.url, None), (f"http://{DOMAIN}",), time.time)
    membership = await join(chain, registrar, here)
    endpoint = next(Endpoint(**each) for each in memory["endpoints"] if each["transport"] == "tcp")
    resolver = Resolver()
    for _ in range(3):
        await login(chain, endpoint, TcpDialer(resolver, Ways(resolver, Proxies())), membership, otherwise="")
    identity.unlock()
    return chain.lines


@pytest.mark.parametrize("seconds", [900, -900])
def test_a_quarter_of_an_hour_either_way_hinders_nothing(road: Road, lan: Lan, seconds: int) -> None:
    """The agent enrols, its tunnel stands and carries requests; the check says by how much the clock is off."""
    entry = road.new_agent()
    agent = road.start_agent(entry, [f"http://{DOMAIN}={HOST}:{lan.shop.port}"], command=shifted(seconds))
    through = road.connect(entry.id, f"http://{DOMAIN}", lan.shop.key)
    assert through.ask("/api/products?limit=1").status == 200
    status, lines = check(road, agent, lan.shop, command=shifted(seconds))
    assert status == 0, lines
    side = "ahead" if seconds > 0 else "behind"
    told = lines["relay clock"]["detail"]
    assert told.startswith("this machine's clock is ")
    assert abs(int(told.split()[4]) - 900) <= 3
    assert f" s {side}: that works, up to 3600 s, but set it" in told
    agent.program.end_soon()


@pytest.mark.parametrize("seconds", [7200, -7200])
def test_beyond_an_hour_the_seconds_are_told(road: Road, lan: Lan, seconds: int) -> None:
    """By the running agent and by the check, in plain words; once the clock is right, the agent gets in by itself."""
    entry = road.new_agent()
    agent = road.start_agent(entry, [f"http://{DOMAIN}={HOST}:{lan.shop.port}"], command=shifted(seconds), wait=False)
    side = "ahead" if seconds > 0 else "behind"
    agent.program.says(f" s {side}: set it (for example with NTP), then the relay lets the agent in.")
    said = agent.program.text().partition("this machine's clock is ")[2]
    assert abs(int(said.split()[0]) - 7200) <= 3
    status, lines = check(road, agent, lan.shop, command=shifted(seconds))
    assert status == 1
    assert lines["relay clock"]["status"] == "FAIL"
    assert f" s {side}, and the relay takes at most 3600 s" in lines["relay clock"]["detail"]
    assert agent.program.running
    agent.program.end_soon()
