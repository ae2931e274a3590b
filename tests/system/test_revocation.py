"""What is revoked on the command line ends in the running relay within a second: tunnels, tokens, keys, connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.system import hostile
from tests.system.caller import Answer, BrokenOffError, Line, basic, request
from tests.system.hostile import dialled
from tests.system.lan import DOMAIN, Lan
from tests.system.programs import HOST, Finished, problem_of
from tests.system.road import Agent, Connection, Road, Shop

WITHIN_SECONDS = 1.0  # from the end of the command, which has printed its answer, on
PAUSE_SECONDS = 0.02  # between two tries
CONFIGURATION = 78
SLOW_SECONDS = 30.0
END_SECONDS = 5.0  # for a revoked agent to dial again, be refused, ask the relay, and end


@dataclass(frozen=True, slots=True)
class Standing:
    """An agent that stands, with a connection to a shop that takes its time and one to a shop that never stops."""

    agent: Agent
    slow: Connection
    endless: Connection


@pytest.fixture(scope="module")
def slow(road: Road) -> Shop:
    return road.start_shop("--domain", "slow.test", latency=SLOW_SECONDS)


@pytest.fixture(scope="module")
def standing(road: Road, slow: Shop) -> dict[str, Standing]:
    """Three agents: one will be revoked, one loses its instance, one its token."""
    endless = road.start_shop("--domain", "endless.test", huge=1 << 40)
    stores = [f"http://slow.test={HOST}:{slow.port}", f"http://endless.test={HOST}:{endless.port}"]
    agents = {name: road.start_agent(road.new_agent(), stores, wait=False) for name in ("agent", "instance", "token")}
    made = {}
    for name, agent in agents.items():
        agent.wait_until_it_stands()
        connections = (road.connect(agent.entry.id, f"http://{store}.test", slow.key) for store in ("slow", "endless"))
        made[name] = Standing(agent, *connections)
    return made


class InFlight:
    """A write that waits for a slow shop; when and how it ended."""

    def __init__(self, connection: Connection, shop: Shop) -> None:
        self.ended: list[Answer] = []
        tag = f"/api/orders?inflight={connection.id}"
        self._thread = threading.Thread(target=lambda: self.ended.append(connection.ask(tag, "POST", body=b"<x/>")))
        self._thread.start()
        shop.wait_for_seen(tag)

    def end(self) -> Answer:
        self._thread.join(10)
        assert self.ended, "it still waits"
        return self.ended[0]


class Download:
    """An answer without end; when it broke off."""

    def __init__(self, connection: Connection) -> None:
        self.line = Line(connection.relay_port)
        self.line.send(request("GET", f"/to/{connection.id}/api/__huge", [basic(connection.access_key)]))
        self.got = 0
        self.broke_at = 0.0
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        deadline = time.monotonic() + 10
        while self.got < 1 << 20 and time.monotonic() < deadline:
            time.sleep(0.01)

    def end(self) -> float:
        assert self.got >= 1 << 20
        self._thread.join(10)
        self.line.sock.close()
        return self.broke_at

    def _read(self) -> None:
        try:
            while data := self.line.sock.recv(1 << 18):
                self.got += len(data)
                time.sleep(0.005)  # somebody else may want the CPU
        except OSError:
            pass
        self.broke_at = time.monotonic()


def words_of(road: Road, what: str, agent: Agent) -> list[str]:
    """The command that revokes an agent, its only instance, or its only token."""
    if what == "agent":
        return ["agents", "revoke", agent.entry.id]
    listed = road.api("GET", f"/v1/agents/{agent.entry.id}/{what}s").json["items"]
    assert len(listed) == 1
    return ["agents", *([f"{what}s"] if what == "instance" else ["tokens"]), "revoke", agent.entry.id, listed[0]["id"]]


@pytest.mark.parametrize("what", ["agent", "instance", "token"])
def test_live_tunnels_are_cut_within_a_second(road: Road, slow: Shop, standing: dict[str, Standing], what: str) -> None:
    """What is under way breaks at once: a write is told `tunnel_lost`, a download ends before its end."""
    one = standing[what]
    words = words_of(road, what, one.agent)
    waiting, download = InFlight(one.slow, slow), Download(one.endless)
    done = road.command(*words)
    assert done.status == 0, str(done)
    answer, broke_at = waiting.end(), download.end()
    assert answer.verdict == (502, "tunnel_lost", "tunnel", "sent_unknown")
    assert answer.header("Retry-After") is None
    assert answer.at - done.ended_at < WITHIN_SECONDS
    assert broke_at - done.ended_at < WITHIN_SECONDS


@pytest.mark.parametrize("what", ["agent", "instance", "token"])
def test_the_agent_hears_of_its_revocation_and_ends(standing: dict[str, Standing], what: str) -> None:
    """Cut off, it asks why, is told, says so in one sentence, and ends with 78, so that nobody restarts it."""
    one = standing[what]
    assert one.agent.program.ends(END_SECONDS) == CONFIGURATION
    said = one.agent.program.text().strip().splitlines()[-1]
    assert said.startswith("postern-agent: ")
    assert f"this {'access token' if what == 'token' else what} was revoked" in said
    problem_of(Finished([], 78, "", one.agent.program.text(), 0.0), "postern-agent")


def test_the_other_agents_never_noticed(road: Road, slow: Shop, connection: Connection, lan: Lan) -> None:
    """Revoking one agent cuts nobody else."""
    assert connection.ask("/api/orders?limit=1").status == 200
    before = lan.agent.program.text().count("tunnel lost")
    one = road.start_agent(road.new_agent(), [f"http://slow.test={HOST}:{slow.port}"])
    assert road.command("agents", "revoke", one.entry.id).status == 0
    assert one.program.ends(END_SECONDS) == CONFIGURATION
    assert connection.ask("/api/orders?limit=1").status == 200
    assert lan.agent.program.text().count("tunnel lost") == before


@pytest.mark.parametrize("what", ["agent", "instance", "token"])
async def test_a_certificate_is_no_use_after_the_revocation(road: Road, lan: Lan, what: str) -> None:
    """It would be valid for hours: the next login with it is refused, and its live tunnel was cut."""
    instance = hostile.enrol(road, road.new_agent())
    keys = [(instance.key, instance.certificate)]
    command = Agent(instance.entry, lan.agent.program, lan.agent.state_dir, lan.agent.token_file)
    async with dialled(road, instance.entry.id, keys) as connection:
        await connection.create_server(hostile.nobody, DOMAIN, 80, encoding=None)
        done = road.command(*words_of(road, what, command))
        assert done.status == 0, str(done)
        await connection.wait_closed()
        assert time.monotonic() - done.ended_at < WITHIN_SECONDS
    await hostile.refused(road, instance.entry.id, keys)
    renewal = hostile.post(road, hostile.sign(road, instance.entry.token, instance.signer))
    assert (renewal.status, renewal.json["code"]) == (403, f"{what}_revoked")
    without_token = hostile.post(road, hostile.sign(road, None, instance.signer))
    assert (without_token.status, without_token.json["code"]) == (403, f"{what}_revoked")


class Watch:
    """Tries again and again, and notes when a credential was refused for the first time, and that it stayed so."""

    def __init__(self, ask: Callable[[], Answer], refused: tuple[int, str]) -> None:
        self._ask, self._refused = ask, refused
        self.refused_at = 0.0
        self.after: list[str] = []  # what was answered after the first refusal, if not the same
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        assert self._good(), "it works before"
        self._thread.start()

    def end(self) -> float:
        deadline = time.monotonic() + 5
        while not self.refused_at and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
        time.sleep(0.3)
        self._over.set()
        self._thread.join(10)
        assert self.refused_at, "it was never refused"
        assert self.after == []
        return self.refused_at

    def _good(self) -> bool:
        return self._ask().status == 200

    def _watch(self) -> None:
        while not self._over.wait(PAUSE_SECONDS):
            try:
                answer = self._ask()
            except BrokenOffError as error:
                self.after.append(str(error))
                continue
            if answer.verdict[:2] == self._refused:
                self.refused_at = self.refused_at or answer.at
            elif self.refused_at or answer.status != 200:
                self.after.append(str(answer))


def test_a_revoked_api_token_is_refused_within_a_second(road: Road, connection: Connection) -> None:
    """On /to/ and on /v1."""
    id_, token = road.new_token("forward")
    watch = Watch(lambda: connection.ask("/api/orders?limit=1", token=token), (401, "unauthenticated"))
    done = road.command("tokens", "revoke", id_)
    assert done.status == 0, str(done)
    assert watch.end() - done.ended_at < WITHIN_SECONDS
    assert road.api("GET", "/v1/agents", token=token).status == 401


def test_an_access_key_that_was_rotated_away_is_refused_within_a_second(road: Road, lan: Lan) -> None:
    """Both keys work until the old one is revoked; the new one never stops working."""
    mine = road.connect(lan.agent.entry.id, f"http://{DOMAIN}", lan.shop.key)
    made = road.cli("connections", "rotate-key", mine.id)
    (old,) = made["still_valid"]
    time.sleep(WITHIN_SECONDS)
    for key in (mine.access_key, made["access_key"]):
        assert mine.ask("/api/orders?limit=1", key=key).status == 200
    watch = Watch(lambda: mine.ask("/api/orders?limit=1"), (401, "unauthenticated"))
    done = road.command("connections", "revoke-key", mine.id, old)
    assert done.status == 0, str(done)
    assert watch.end() - done.ended_at < WITHIN_SECONDS
    assert mine.ask("/api/orders?limit=1", key=made["access_key"]).status == 200


def test_a_deleted_connection_is_refused_within_a_second(road: Road, lan: Lan, forward_token: str) -> None:
    """From then on it answers as one that never was."""
    mine = road.connect(lan.agent.entry.id, f"http://{DOMAIN}", lan.shop.key)
    watch = Watch(lambda: mine.ask("/api/orders?limit=1"), (401, "unauthenticated"))
    done = road.command("connections", "delete", mine.id)
    assert done.status == 0, str(done)
    assert watch.end() - done.ended_at < WITHIN_SECONDS
    assert mine.ask("/api/orders", token=forward_token).verdict[:2] == (404, "not_found")


def test_a_changed_connection_is_used_changed_within_a_second(road: Road, lan: Lan, connection: Connection) -> None:
    """Another key of the store, another store: the next request has it, also on lines that stood open."""
    mine = road.connect(lan.agent.entry.id, f"http://{DOMAIN}", lan.shop.key)
    assert mine.ask("/api/orders?limit=1").status == 200
    words = ["connections", "update", mine.id, "--store-url", "http://refused.test", "--api-key-file", "-"]
    done = road.command(*words, text="N" * 32)
    assert done.status == 0, str(done)
    time.sleep(max(0.0, done.ended_at + WITHIN_SECONDS - time.monotonic()))
    assert mine.ask("/api/orders?limit=1").code == "store_refused"


@pytest.fixture(scope="module")
def forward_token(road: Road) -> str:
    return road.new_token("forward")[1]
