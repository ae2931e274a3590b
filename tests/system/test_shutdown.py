"""Orderly ends and disorderly ones: SIGTERM on either side, a relay that is killed, and how it all comes back."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from dataclasses import dataclass

import pytest

from tests.system import hostile
from tests.system.caller import Answer, BrokenOffError, Line, basic, request
from tests.system.lan import DOMAIN
from tests.system.programs import HOST, eventually
from tests.system.road import STANDS, Agent, Connection, NewRoad, Road, Shop

SLOW_SECONDS = 2.0
BACK_SECONDS = 5.0  # from a relay's readiness to the first request through an agent that was there before
HELD_SECONDS = 10.0  # how long a request waits for a tunnel that was lost lately


@dataclass(slots=True)
class Scene:
    """A road that things are done to; the agent changes when it is started again."""

    road: Road
    shop: Shop
    agent: Agent
    connection: Connection

    def slow(self, method: str, tag: str) -> Asking:
        """A request that the shop takes its time for, on its way."""
        asking = Asking(self.connection, method, f"/api/orders?slow={tag}")
        self.shop.wait_for_seen(f"slow={tag}")
        return asking

    def works(self) -> bool:
        with contextlib.suppress(OSError, BrokenOffError):
            return self.connection.ask("/api/orders?limit=1").status == 200
        return False


class Asking:
    """A request in a thread of its own; how it ended."""

    def __init__(self, connection: Connection, method: str, path: str) -> None:
        self._ended: list[Answer | BaseException] = []
        self._thread = threading.Thread(target=self._ask, args=(connection, method, path))
        self._thread.start()

    def answer(self, seconds: float = 20.0) -> Answer:
        """Raises what ended it, if that was no answer."""
        self._thread.join(seconds)
        assert self._ended, f"no answer within {seconds:g} s"
        if isinstance(self._ended[0], BaseException):
            raise self._ended[0]
        return self._ended[0]

    def _ask(self, connection: Connection, method: str, path: str) -> None:
        body = b"<prestashop/>" if method == "POST" else b""
        try:
            self._ended.append(connection.ask(path, method, body=body))
        except (OSError, BrokenOffError) as error:
            self._ended.append(error)


@pytest.fixture(scope="module")
def scene(new_road: NewRoad) -> Scene:
    road = new_road("ends")
    shop = road.start_shop("--domain", DOMAIN)
    agent = start_agent(road, shop)
    return Scene(road, shop, agent, road.connect(agent.entry.id, f"http://{DOMAIN}", shop.key))


def start_agent(road: Road, shop: Shop, before: Agent | None = None) -> Agent:
    """Start it, or start it again on the state of the one before."""
    entry = before.entry if before else road.new_agent()
    stores = [f"http://{DOMAIN}={HOST}:{shop.port}"]
    return road.start_agent(entry, stores, state_dir=before.state_dir if before else None)


def test_sigterm_on_the_agent(scene: Scene) -> None:
    """What is under way finishes, the agent ends with 0 in seconds; a request meanwhile is held, and then served."""
    scene.shop.set(latency=SLOW_SECONDS)
    slow = [scene.slow("GET", "agent-get"), scene.slow("POST", "agent-post")]
    scene.shop.set(latency=0.0)
    began = time.monotonic()
    scene.agent.program.signal(signal.SIGTERM)
    statuses = [asking.answer().status for asking in slow]
    assert statuses == [200, 201]
    assert scene.agent.program.ends(5.0) == 0
    assert time.monotonic() - began < SLOW_SECONDS + 3.0
    held = Asking(scene.connection, "GET", "/api/orders?held")
    scene.agent = start_agent(scene.road, scene.shop, scene.agent)
    answer = held.answer(HELD_SECONDS + 2.0)
    assert answer.status == 200, answer
    assert len(scene.shop.seen("?held")) == 1


def test_two_sigterms_end_the_agent_at_once(scene: Scene) -> None:
    """Who asks twice is not made to wait for what is under way: 0, and nothing odd in the log."""
    scene.shop.set(latency=20.0)
    slow = scene.slow("POST", "twice")
    scene.shop.set(latency=0.0)
    scene.agent.program.signal(signal.SIGTERM)
    scene.agent.program.says('"leaving"')
    assert scene.agent.program.running
    scene.agent.program.signal(signal.SIGTERM)
    assert scene.agent.program.ends(5.0) == 0
    assert slow.answer().verdict == (502, "tunnel_lost", "tunnel", "sent_unknown")
    errors = [line for line in scene.agent.program.text().splitlines() if '"error"' in line]
    scene.agent = start_agent(scene.road, scene.shop, scene.agent)
    assert errors == []


def test_without_an_agent_requests_are_held_and_then_refused(scene: Scene) -> None:
    """An agent that was there a moment ago may be back: ten seconds; then `agent_offline`, not sent."""
    scene.agent.program.signal(signal.SIGKILL)
    scene.agent.program.ends(5.0)
    began = time.monotonic()
    waiting = [Asking(scene.connection, method, "/api/orders?gone") for method in ("GET", "POST")]
    answers = [asking.answer(HELD_SECONDS + 3.0) for asking in waiting]
    assert [answer.verdict for answer in answers] == [(503, "agent_offline", "agent", "not_sent")] * 2
    assert all(int(answer.header("Retry-After") or "") > 0 for answer in answers)
    assert time.monotonic() - began > HELD_SECONDS - 2.0
    assert scene.shop.seen("?gone") == []
    scene.agent = start_agent(scene.road, scene.shop, scene.agent)
    assert scene.works()


def test_sigterm_on_the_relay(scene: Scene) -> None:
    """What is under way finishes, kept connections end, new ones are refused, the exit status is 0."""
    relay, connection = scene.road.relay, scene.connection
    head = [basic(connection.access_key)]
    idle, busy = Line(connection.relay_port), Line(connection.relay_port)
    with idle, busy:
        for line in (idle, busy):
            line.send(request("GET", f"/to/{connection.id}/api/orders?limit=1", head))
            assert line.read().status == 200
        scene.shop.set(latency=SLOW_SECONDS)
        slow = [scene.slow("GET", "relay-get"), scene.slow("POST", "relay-post")]
        busy.send(request("GET", f"/to/{connection.id}/api/orders?slow=busy", head))
        scene.shop.wait_for_seen("slow=busy")
        relay.signal(signal.SIGTERM)
        assert idle.closed()
        eventually("no new connection is taken", lambda: _refused(connection), 1.0)
        assert relay.running, "it waits for what is under way"
        last = busy.read()
        assert last.status == 200
        assert last.header("Connection") == "close", "so that nobody sends another request on it"
        assert busy.closed()
    assert [asking.answer().status for asking in slow] == [200, 201]
    assert relay.ends(5.0) == 0
    scene.shop.set(latency=0.0)


def _refused(connection: Connection) -> bool:
    """Refused by the system, closed at once, or answered with 503."""
    try:
        return connection.ask("/api/orders?late").status == 503
    except (OSError, BrokenOffError):
        return True


def test_the_agent_comes_back_to_a_relay_that_was_restarted(scene: Scene) -> None:
    """By itself, within seconds of the relay's readiness, with the key it has: its token is not needed again."""
    assert not scene.road.relay.running
    scene.agent.token_file.unlink()
    stood = scene.agent.program.text().count(STANDS)
    scene.road.start_relay()
    ready = time.monotonic()
    scene.agent.wait_until_it_stands(stood + 1, BACK_SECONDS)
    assert scene.works()
    assert time.monotonic() - ready < BACK_SECONDS
    scene.agent.token_file.write_text(scene.agent.entry.token)


def test_a_killed_relay(scene: Scene) -> None:
    """SIGKILL, and a new one on the same ports: what was under way breaks, what comes meanwhile is told the truth."""
    scene.shop.set(latency=20.0)
    slow = scene.slow("POST", "killed")
    scene.shop.set(latency=0.0)
    stood = scene.agent.program.text().count(STANDS)
    scene.road.relay.signal(signal.SIGKILL)
    with pytest.raises((OSError, BrokenOffError)):
        slow.answer()
    scene.road.start_relay()
    ready = time.monotonic()
    meanwhile: list[Answer] = []
    while not (meanwhile and meanwhile[-1].status == 200):
        meanwhile.append(scene.connection.ask("/api/orders?limit=1"))
        assert time.monotonic() - ready < BACK_SECONDS
    told = {answer.verdict for answer in meanwhile if answer.status != 200}
    assert told <= {(503, "agent_offline", "agent", "not_sent"), (502, "store_not_published", "agent", "not_sent")}
    assert (502, "store_not_published", "agent", "not_sent") not in told, "the agent is coming, and publishes it"
    assert scene.agent.program.running
    assert scene.agent.program.text().count(STANDS) > stood
    assert "the connection was lost" in scene.agent.program.text()
    assert len(scene.shop.seen("slow=killed")) == 1


def test_a_relay_that_was_killed_has_forgotten_nothing(scene: Scene) -> None:
    """A revocation outlives a restart: the certificate is still good by its dates, and still refused."""
    instance = hostile.enrol(scene.road, scene.road.new_agent())
    scene.road.cli("agents", "revoke", instance.entry.id)
    scene.road.relay.signal(signal.SIGKILL)
    scene.road.relay.ends(5.0)
    scene.road.start_relay()
    asyncio.run(hostile.refused(scene.road, instance.entry.id, [(instance.key, instance.certificate)]))
    eventually("the other agent is back", scene.works, BACK_SECONDS)


def test_a_killed_agent_is_replaced_on_the_same_state(scene: Scene) -> None:
    """SIGKILL on the agent and a new process at once: it takes the place of the old one, and nothing is in its way."""
    scene.agent.program.signal(signal.SIGKILL)
    scene.agent.program.ends(5.0)
    scene.agent = start_agent(scene.road, scene.shop, scene.agent)
    assert scene.works()


def test_a_relay_ends_with_idle_agents_at_once(scene: Scene) -> None:
    """With nothing under way, SIGTERM ends both programs within a second or two."""
    for program in (scene.road.relay, scene.agent.program):
        began = time.monotonic()
        program.signal(signal.SIGTERM)
        assert program.ends(5.0) == 0
        assert time.monotonic() - began < 3.0
