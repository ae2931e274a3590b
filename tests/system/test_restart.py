"""A relay that is restarted on sockets that outlive it: nobody is refused, and nobody's request is lost."""

from __future__ import annotations

import contextlib
import itertools
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.system.caller import BrokenOffError, Line, basic, request
from tests.system.lan import DOMAIN
from tests.system.programs import HOST, eventually
from tests.system.road import Agent, Connection, NewRoad, Road, Shop
from tests.system.test_shutdown import Asking

RATE = 20.0  # requests a second
SLOW_SECONDS = 2.0
QUICK_SECONDS = 6.0  # a stop with nothing under way, on a busy machine; requests under way may take 30


@dataclass
class Held:
    """A road whose relay is given its sockets by us, as by systemd."""

    road: Road
    shop: Shop
    agent: Agent
    connection: Connection
    sockets: dict[str, socket.socket]

    def restart(self) -> None:
        """As `systemctl restart` does it: the next one begins when the one before has ended."""
        old = self.road.relay
        old.signal(signal.SIGTERM)
        assert old.ends(35.0) == 0
        self.road.start_relay(self.sockets)


@pytest.fixture(scope="module")
def held(new_road: NewRoad) -> Iterator[Held]:
    road = new_road("restart", start=False)
    with contextlib.ExitStack() as stack:
        ports = {"http": road.http_port, "ssh": road.ssh_port}
        sockets = {
            name: stack.enter_context(socket.create_server((HOST, port), backlog=256)) for name, port in ports.items()
        }
        road.start_relay(sockets)
        shop = road.start_shop("--domain", DOMAIN)
        agent = road.start_agent(road.new_agent(), [f"http://{DOMAIN}={HOST}:{shop.port}"])
        yield Held(road, shop, agent, road.connect(agent.entry.id, f"http://{DOMAIN}", shop.key), sockets)
        road.close()


@dataclass
class Traffic:
    """Requests without a pause, half of them on kept connections, half of them POSTs. It never tries again."""

    connection: Connection
    sent: int = 0
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def flowing(self) -> Iterator[Traffic]:
        workers = [threading.Thread(target=self._work, args=(kept,)) for kept in (True, True, False, False)]
        for worker in workers:
            worker.start()
        try:
            yield self
        finally:
            self._stop.set()
            for worker in workers:
                worker.join(30)

    def _work(self, kept: bool) -> None:
        line: Line | None = None
        for number in itertools.count():
            if self._stop.wait(4 / RATE):
                break
            began = time.monotonic()
            method = "POST" if number % 2 else "GET"
            try:
                line = line or Line(self.connection.relay_port)
                last = self._ask(line, method)
                if last or not kept:
                    line.__exit__()
                    line = None
            except (OSError, BrokenOffError) as error:
                self.failures.append(f"{method}, kept {kept}: {error!r}")
                line = None
            self.slowest = max(self.slowest, time.monotonic() - began)
        if line:
            line.__exit__()

    def _ask(self, line: Line, method: str) -> bool:
        """Whether it was the line's last."""
        self.sent += 1
        body = b"<prestashop/>" if method == "POST" else b""
        target = f"/to/{self.connection.id}/api/orders?limit=1"
        line.send(request(method, target, [basic(self.connection.access_key)], body))
        answer = line.read()
        if answer.status not in {200, 201}:
            self.failures.append(f"{method}: {answer}")
        return answer.header("Connection") == "close"


def test_nobody_notices_a_restart(held: Held) -> None:
    """Three times under 20 requests a second: no connection refused, no request failed, whatever its method."""
    with Traffic(held.connection).flowing() as traffic:
        for _ in range(3):
            before = traffic.sent
            eventually("requests flow", lambda before=before: traffic.sent > before + 20)  # type: ignore[misc]  # bound now
            held.restart()
        before = traffic.sent
        eventually("requests flow again", lambda: traffic.sent > before + 20)
    assert traffic.failures == []
    assert traffic.sent > 60
    assert traffic.slowest < 10.0


def test_what_is_under_way_is_finished_and_what_comes_waits(held: Held) -> None:
    """A shop that takes its time is waited for; meanwhile a new caller is neither refused nor answered."""
    held.shop.set(latency=SLOW_SECONDS)
    slow = Asking(held.connection, "POST", "/api/orders?slow=restart")
    held.shop.wait_for_seen("slow=restart")
    held.shop.set(latency=0.0)
    old = held.road.relay
    count = old.text().count('"draining"')
    old.signal(signal.SIGTERM)
    old.says('"draining"', times=count + 1)
    late = Asking(held.connection, "GET", "/api/orders?late=restart")
    assert slow.answer().status == 201
    assert old.ends(5.0) == 0
    assert held.shop.seen("late=restart") == []
    held.road.start_relay(held.sockets)
    assert late.answer().status == 200
    assert len(held.shop.seen("late=restart")) == 1


def test_a_connection_accepted_last_is_served(held: Held) -> None:
    """Its request was on the way when the relay was told to leave: it is answered, and told that it was the last."""
    with Line(held.connection.relay_port) as line:
        line.send(request("GET", "/livez"))
        assert line.read().status == 200
        count = held.road.relay.text().count('"draining"')
        held.road.relay.signal(signal.SIGTERM)
        held.road.relay.says('"draining"', times=count + 1)
        line.send(request("GET", "/readyz"))
        answer = line.read()
        assert (answer.status, answer.header("Connection")) == (503, "close")
        assert line.closed()
    assert held.road.relay.ends(5.0) == 0
    held.road.start_relay(held.sockets)


def test_who_asks_twice_does_not_wait(held: Held) -> None:
    """A second SIGTERM, or Ctrl-C, ends it at once, with status 0, whatever is under way."""
    held.shop.set(latency=20.0)
    slow = Asking(held.connection, "GET", "/api/orders?slow=twice")
    held.shop.wait_for_seen("slow=twice")
    held.shop.set(latency=0.0)
    relay = held.road.relay
    count = relay.text().count('"draining"')
    relay.signal(signal.SIGTERM)
    relay.says('"draining"', times=count + 1)
    began = time.monotonic()
    relay.signal(signal.SIGINT)
    assert relay.ends(5.0) == 0
    assert time.monotonic() - began < QUICK_SECONDS
    with pytest.raises((OSError, BrokenOffError)):
        slow.answer()
    held.road.start_relay(held.sockets)


def test_idle_connections_keep_nobody(held: Held) -> None:
    """Kept by their callers, saying nothing: they are closed in an orderly way, and soon."""
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(Line(held.connection.relay_port)) for _ in range(20)]
        for line in lines[10:]:  # accepted after the others, which say nothing
            line.send(request("GET", "/livez"))
            assert line.read().status == 200
        began = time.monotonic()
        held.road.relay.signal(signal.SIGTERM)
        assert all(line.closed() for line in lines)
        assert held.road.relay.ends(5.0) == 0
        assert time.monotonic() - began < QUICK_SECONDS
    held.road.start_relay(held.sockets)
