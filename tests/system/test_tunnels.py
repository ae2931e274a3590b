"""Two tunnels per agent: what happens to requests when one is cut, dies in silence, is replaced, or is disputed."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.system.caller import Answer, BrokenOffError
from tests.system.hop import Hop
from tests.system.lan import DOMAIN
from tests.system.programs import AGENT, HOST, eventually, finish, free_ports
from tests.system.road import STANDS, Agent, Connection, Entry, NewRoad, Road, Shop
from tests.system.test_shutdown import Asking

pytestmark = pytest.mark.timeout(120)

NOTICED_SECONDS = 6.0  # under traffic
BACK_SECONDS = 4.0  # until both tunnels stand again, the second's spread included
PAUSE_SECONDS = 0.05  # between two requests of a stream
LEAVE_SECONDS = 1.0
POSTS = 8


@dataclass
class Stream:
    """Requests one after the other, from a thread of its own, until the block ends."""

    connection: Connection
    tag: str
    answers: list[Answer] = field(default_factory=list)
    broken: list[Exception] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[Stream]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            try:
                self.answers.append(self.connection.ask(f"/api/orders?limit=1&{self.tag}={len(self.answers)}"))
            except (OSError, BrokenOffError) as error:
                self.broken.append(error)

    def all_well(self) -> bool:
        bad = [str(answer) for answer in self.answers if answer.status != 200]
        assert not bad, bad
        assert not self.broken
        return len(self.answers) > 0


@dataclass
class Scene:
    """An agent whose first tunnel goes through a hop, and whose second one is a WebSocket."""

    road: Road
    hop: Hop
    shop: Shop
    agent: Agent
    connection: Connection

    def tunnels(self, entry: Entry | None = None) -> list[dict[str, Any]]:
        answer = self.road.api("GET", f"/v1/agents/{(entry or self.agent.entry).id}")
        tunnels: list[dict[str, Any]] = answer.json["tunnels"]
        return sorted(tunnels, key=lambda tunnel: str(tunnel["slot"]))

    def settled(self) -> list[dict[str, Any]]:
        """Both slots are there, once each, and have been measured."""

        def look() -> list[dict[str, Any]]:
            found = self.tunnels()
            well = [t["slot"] for t in found] == [0, 1] and all(t["round_trip_ms"] is not None for t in found)
            return found if well else []

        return eventually("both tunnels stand, and nothing else", look, 15.0)


@pytest.fixture(scope="module")
def scene(new_road: NewRoad) -> Iterator[Scene]:
    (port,) = free_ports(1)
    road = new_road("tunnels", start=False, public_ssh=f"{HOST}:{port}")
    with Hop(port, road.ssh_port).running() as hop:
        road.start_relay()
        shop = road.start_shop("--domain", DOMAIN)
        agent = start_agent(road, shop, road.new_agent())
        yield Scene(road, hop, shop, agent, road.connect(agent.entry.id, f"http://{DOMAIN}", shop.key))
        road.close()


def start_agent(road: Road, shop: Shop, entry: Entry, **more: Any) -> Agent:
    return road.start_agent(entry, [f"http://{DOMAIN}={HOST}:{shop.port}"], **more)


def test_two_tunnels_stand_on_different_ways(scene: Scene) -> None:
    """One over TCP, one over the WebSocket; both the relay and the agent say so."""
    seen = scene.settled()
    assert [tunnel["transport"] for tunnel in seen] == ["tcp", "websocket"]
    assert len({tunnel["instance"] for tunnel in seen}) == 1
    assert all(0 < tunnel["round_trip_ms"] < 1000 for tunnel in seen)
    told = finish(AGENT, "status", "--state-dir", str(scene.agent.state_dir), "--json")
    tunnels = json.loads(told.out)["tunnels"]
    assert [(t["slot"], t["state"], t["transport"]) for t in tunnels] == [
        (0, "standing", "tcp"),
        (1, "standing", "websocket"),
    ]


def test_one_tunnel_is_cut(scene: Scene) -> None:
    """No request fails, and the tunnel is soon back."""
    scene.settled()
    stood = scene.agent.program.text().count(STANDS)
    with Stream(scene.connection, "cut").running() as stream:
        eventually("requests come through", stream.all_well)
        scene.hop.cut()
        scene.agent.wait_until_it_stands(stood + 1, BACK_SECONDS)
        before = len(stream.answers)
        eventually("requests still come through", lambda: len(stream.answers) > before + 5)
    assert stream.all_well()
    scene.settled()


def post_through_the_first(scene: Scene) -> Asking:
    """A request that waits for the store, with its way through the first tunnel; others may wait in the second."""
    for n in range(POSTS):
        slow = Asking(scene.connection, "POST", f"/api/orders?silent=post-{n}")
        scene.shop.wait_for_seen(f"silent=post-{n}")
        if scene.tunnels()[0]["channels"]:
            return slow
    raise AssertionError("none of them goes through the first tunnel")


def test_one_tunnel_dies_in_silence(scene: Scene) -> None:
    """Noticed in seconds by both ends; what only reads is answered, and what was under way is never sent twice."""
    scene.settled()
    scene.shop.set(latency=2 * NOTICED_SECONDS)
    slow = post_through_the_first(scene)
    scene.shop.set(latency=0.0)
    relay, agent = scene.road.relay, scene.agent.program
    told, lost = relay.text().count("tunnel does not answer"), agent.text().count("the relay stopped answering")
    with Stream(scene.connection, "silent").running() as stream:
        eventually("requests come through", stream.all_well)
        scene.hop.swallow_old()
        began = time.monotonic()
        relay.says("tunnel does not answer", NOTICED_SECONDS, told + 1)
        assert slow.answer().verdict == (502, "tunnel_lost", "tunnel", "sent_unknown")
        assert time.monotonic() - began < NOTICED_SECONDS
        agent.says("the relay stopped answering", NOTICED_SECONDS, lost + 1)
        before = len(stream.answers)
        eventually("requests come through again", lambda: len(stream.answers) > before + 5)
    assert stream.all_well()
    assert {len(scene.shop.seen(f"silent=post-{n}")) for n in range(POSTS)} <= {0, 1}
    scene.settled()


def test_a_frozen_store_is_no_dead_tunnel(scene: Scene) -> None:
    """The agent answers for itself: no tunnel is cut because a store says nothing, and the same ones stand after."""
    before = [tunnel["generation"] for tunnel in scene.settled()]
    eventually("nothing is under way, and no line kept", lambda: not any(t["channels"] for t in scene.tunnels()), 20.0)
    scene.shop.program.signal(signal.SIGSTOP)
    try:
        frozen = [Asking(scene.connection, method, f"/api/orders?frozen={method}") for method in ("GET", "POST")]
        time.sleep(NOTICED_SECONDS + 1)
    finally:
        scene.shop.program.signal(signal.SIGCONT)
    answers = [asking.answer() for asking in frozen]
    assert [answer.status for answer in answers] == [200, 201], [str(answer) for answer in answers]
    assert [tunnel["generation"] for tunnel in scene.settled()] == before


def test_a_renewed_tunnel_replaces_the_older_one(scene: Scene) -> None:
    """Made before the old one is broken: while requests run, each slot has a new generation, and the old ones go."""
    before = {tunnel["slot"]: tunnel["generation"] for tunnel in scene.settled()}
    with Stream(scene.connection, "renewed").running() as stream:
        eventually("requests come through", stream.all_well)
        scene.agent.program.signal(signal.SIGHUP)
        scene.agent.program.says('"tunnel renewed"', 10.0, 2)
        after = {tunnel["slot"]: tunnel["generation"] for tunnel in scene.settled()}
    assert stream.all_well()
    assert all(after[slot] > before[slot] for slot in before)
    assert "closed by the agent" not in scene.road.relay.text()


def test_a_leaving_agent_does_not_wait_for_idle_lines(scene: Scene) -> None:
    """The relay closes what it kept for the next request: the agent is gone within a second, and nobody is blamed."""
    scene.settled()
    askings = [Asking(scene.connection, "GET", f"/api/orders?limit=1&idle={n}") for n in range(6)]
    assert [asking.answer().status for asking in askings] == [200] * 6
    began = time.monotonic()
    scene.agent.program.signal(signal.SIGTERM)
    assert scene.agent.program.ends(5.0) == 0
    assert time.monotonic() - began < LEAVE_SECONDS
    eventually("the relay knows why", lambda: "the agent is shutting down" in scene.road.relay.text())
    state = scene.agent.state_dir
    scene.agent = start_agent(scene.road, scene.shop, scene.agent.entry, state_dir=state)
    scene.settled()


def test_requests_after_a_relays_sudden_end_are_held(scene: Scene) -> None:
    """The new relay remembers who was here: what comes before the agent is back waits for it, and is answered."""
    scene.settled()
    stood = scene.agent.program.text().count(STANDS)
    scene.road.relay.signal(signal.SIGKILL)
    scene.road.relay.ends(5.0)
    scene.road.start_relay()
    held = [Asking(scene.connection, method, f"/api/orders?held={method}") for method in ("GET", "POST")]
    assert [asking.answer().status for asking in held] == [200, 201]
    assert [len(scene.shop.seen(f"held={method}")) for method in ("GET", "POST")] == [1, 1]
    scene.agent.wait_until_it_stands(stood + 2, BACK_SECONDS)


def test_a_replica_takes_over(scene: Scene) -> None:
    """Two instances share an agent's load; when one dies without a word, the other answers for both."""
    entry = scene.road.new_agent(places=2)
    connection = scene.road.connect(entry.id, f"http://{DOMAIN}", scene.shop.key)
    replicas = [start_agent(scene.road, scene.shop, entry) for _ in range(2)]
    eventually("four tunnels stand", lambda: len(scene.tunnels(entry)) == 4)
    with Stream(connection, "replica").running() as stream:
        eventually("requests come through", stream.all_well)
        replicas[0].program.signal(signal.SIGKILL)
        eventually("its tunnels are gone", lambda: len(scene.tunnels(entry)) == 2)
        before = len(stream.answers)
        eventually("requests still come through", lambda: len(stream.answers) > before + 5)
    assert stream.all_well()
    replicas[1].program.stop()


def test_clones_are_reported_and_the_older_one_stays(scene: Scene) -> None:
    """A state directory that was copied to another machine: the copy is told in plain words, and backs off."""
    entry = scene.road.new_agent()
    connection = scene.road.connect(entry.id, f"http://{DOMAIN}", scene.shop.key)
    original = start_agent(scene.road, scene.shop, entry)
    copied = scene.road.home / "copied.state"
    shutil.copytree(original.state_dir, copied, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    clone = start_agent(scene.road, scene.shop, entry, state_dir=copied, wait=False)
    clone.program.says("was its state directory, or its machine, copied?", 20.0)
    scene.road.relay.says('"clone suspected"')

    def only_the_original() -> bool:
        shown = scene.road.api("GET", f"/v1/agents/{entry.id}").json
        return len(shown["tunnels"]) == 2 and bool(shown["instances"][0]["clone_suspected"])

    def on_record() -> bool:
        events = scene.road.api("GET", "/v1/audit?limit=50").json["items"]
        return any(event["action"] == "instance.clone" for event in events)

    eventually("the older one stays, and is marked", only_the_original, 20.0)
    eventually("the audit trail has it", on_record, 5.0)
    status = finish(AGENT, "status", "--state-dir", str(copied), "--json")
    assert "state directory" in json.loads(status.out)["last_error"]["text"]
    assert connection.ask("/api/orders?limit=1").status == 200
    clone.program.stop()
    original.program.stop()


def test_a_revoked_agent_is_refused_at_once(scene: Scene) -> None:
    """Nobody waits for who will not come back."""
    entry = scene.road.new_agent()
    connection = scene.road.connect(entry.id, f"http://{DOMAIN}", scene.shop.key)
    agent = start_agent(scene.road, scene.shop, entry)
    assert connection.ask("/api/orders?limit=1").status == 200
    scene.road.cli("agents", "revoke", entry.id)
    eventually("its tunnels are cut", lambda: not scene.tunnels(entry), 2.0)
    began = time.monotonic()
    assert connection.ask("/api/orders?limit=1").verdict == (503, "agent_offline", "agent", "not_sent")
    assert time.monotonic() - began < 1.0
    agent.program.stop()
