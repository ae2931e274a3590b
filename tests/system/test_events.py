"""Live events: what happens on the road, as whoever follows it hears it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.system.programs import HOST
from tests.system.road import Road, Shop

SECONDS = 15.0
FOLLOWERS = 32  # of one account at once


@dataclass(frozen=True, slots=True)
class Event:
    id: str
    kind: str
    data: dict[str, Any]


class Stream:
    """One who follows. `next` raises TimeoutError where nothing comes, EOFError at the end."""

    def __init__(self, road: Road, token: str, last: str | None = None) -> None:
        self._line = http.client.HTTPConnection(HOST, road.http_port, timeout=SECONDS)
        headers = {"Authorization": f"Bearer {token}"} | ({"Last-Event-ID": last} if last else {})
        self._line.request("GET", "/v1/events", headers=headers)
        self.answer = self._line.getresponse()

    def next(self, kind: str | None = None, agent: str | None = None) -> Event:
        """The next event, of that kind and about that agent where they are named."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            fields = self._fields()
            if "event" in fields and kind in {None, fields["event"]}:
                event = Event(fields.get("id", ""), fields["event"], json.loads(fields["data"]))
                if agent in {None, event.data.get("agent")}:
                    return event
        raise TimeoutError(kind)

    def ends(self) -> float:
        """Seconds until it does."""
        began = time.monotonic()
        with contextlib.suppress(EOFError):
            while True:
                self._fields()
        return time.monotonic() - began

    def close(self) -> None:
        self.answer.close()  # it holds the socket as well
        self._line.close()

    def _fields(self) -> dict[str, str]:
        fields = {}
        while line := self.answer.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            fields[name] = value
        if not fields:
            raise EOFError
        return fields


@contextlib.contextmanager
def following(road: Road, token: str, last: str | None = None) -> Iterator[Stream]:
    stream = Stream(road, token, last)
    try:
        assert stream.answer.status == 200, stream.answer.read()
        yield stream
    finally:
        stream.close()


def new_tenant(road: Road) -> tuple[str, str]:
    """Another account, and a token of it that may look."""
    account = road.cli("accounts", "create", road._name("tenant"))["id"]
    return account, road.cli("tokens", "create", "--name", "t", "--scope", "status", "--account", account)["token"]


@pytest.fixture
def token(road: Road) -> str:
    return road.new_token("status")[1]


def test_an_agents_life_is_told(road: Road, shop: Shop, token: str) -> None:
    """That it comes, changes and leaves, with where it came from and whether it had said so."""
    with following(road, token) as stream:
        assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
        entry = road.new_agent()
        assert stream.next("changed", entry.id).data["details"]["record"] == "agent"
        agent = road.start_agent(entry, [f"http://shop.test={HOST}:{shop.port}"])
        up = stream.next("tunnel.up", entry.id)
        assert (up.data["agent"], up.data["details"]["remote"]) == (entry.id, HOST)
        stream.next("agent.online", entry.id)
        agent.program.signal(signal.SIGTERM)
        assert stream.next("agent.offline", entry.id).data["details"]["planned"] is True
        crashed = road.start_agent(entry, [f"http://shop.test={HOST}:{shop.port}"], state_dir=agent.state_dir)
        stream.next("agent.online", entry.id)
        crashed.program.signal(signal.SIGKILL)
        assert stream.next("agent.offline", entry.id).data["details"]["planned"] is False


def test_who_was_away_hears_what_came_meanwhile(road: Road, token: str) -> None:
    """After the event that it names; where that is not known any more, it is told to look at everything anew."""
    with following(road, token) as stream:
        first = stream.next("changed", road.new_agent().id)
    second, third = road.new_agent().id, road.new_agent().id
    with following(road, token, first.id) as stream:
        heard = (stream.next("changed").data["agent"] for _ in range(20))
        assert list(itertools.islice(filter(None, heard), 2)) == [second, third]
    for unknown in ("1", "rubbish", "9" * 30):
        with following(road, token, unknown) as stream:
            assert stream.next().kind == "missed"


def test_tenants_hear_nothing_of_each_other(road: Road, token: str) -> None:
    """An account hears its own; an operator hears all."""
    account, theirs = new_tenant(road)
    with following(road, token) as ours, following(road, theirs) as other, following(road, road.operator) as all_:
        foreign = road.new_agent(account=account)
        own = road.new_agent()
        heard = [other.next()]
        while heard[-1].data["agent"] != foreign.id:
            heard.append(other.next())
        assert {event.data["account"] for event in heard} == {account}
        assert ours.next("changed", own.id).data["account"] != account
        assert all_.next("changed", foreign.id).data["account"] == account
        assert all_.next("changed", own.id).data["account"] != account


def test_it_ends_with_its_token(road: Road) -> None:
    """Within some two seconds; and one that is none follows nothing."""
    id_, text = road.new_token("status")
    with following(road, text) as stream:
        assert road.api("POST", f"/v1/tokens/{id_}/revoke").status == 200
        assert stream.ends() < 5
    assert Stream(road, text).answer.status == 401


def test_one_account_cannot_take_all_places(road: Road) -> None:
    """Beyond its share it is refused, and has a place again when one leaves; others are not in its way."""
    _, token = new_tenant(road)
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(following(road, token)) for _ in range(FOLLOWERS)]
        for stream in streams:
            stream.answer.readline()
        refused = Stream(road, token)
        assert (refused.answer.status, json.loads(refused.answer.read())["code"]) == (429, "account_busy")
        with following(road, road.operator):
            streams[0].close()
        deadline = time.monotonic() + SECONDS
        while Stream(road, token).answer.status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_relay_that_leaves_ends_them(road: Road, token: str) -> None:
    """Followers do not hold it back."""
    with following(road, token) as stream:
        stream.answer.readline()
        began = time.monotonic()
        road.relay.signal(signal.SIGTERM)
        stream.ends()
        assert road.relay.ends() == 0
        assert time.monotonic() - began < 10
    road.start_relay()
