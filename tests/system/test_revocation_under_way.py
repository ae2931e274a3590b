"""Requests under way when their credential is withdrawn on the command line: they end within a second."""

from __future__ import annotations

import threading

import pytest

from tests.system.caller import Answer
from tests.system.lan import Lan
from tests.system.programs import HOST
from tests.system.road import Connection, Road, Shop
from tests.system.test_revocation import WITHIN_SECONDS

SLOW_SECONDS = 30.0


@pytest.fixture(scope="module")
def slow(road: Road) -> tuple[Shop, str]:
    """A shop that takes its time, and the agent before it."""
    shop = road.start_shop("--domain", "tardy.test", latency=SLOW_SECONDS)
    agent = road.start_agent(road.new_agent(), [f"http://tardy.test={HOST}:{shop.port}"])
    return shop, agent.entry.id


class UnderWay:
    """A write that waits for the slow shop."""

    def __init__(self, connection: Connection, shop: Shop, token: str | None) -> None:
        self._answers: list[Answer] = []
        tag = f"/api/orders?under_way={connection.id}"
        ask = lambda: self._answers.append(connection.ask(tag, "POST", body=b"<x/>", token=token))  # noqa: E731
        self._thread = threading.Thread(target=ask)
        self._thread.start()
        shop.wait_for_seen(tag)

    def end(self) -> Answer:
        self._thread.join(10)
        assert self._answers, "it still waits"
        return self._answers[0]


@pytest.mark.parametrize("what", ["api token", "access key", "connection"])
def test_it_ends_within_a_second(road: Road, lan: Lan, slow: tuple[Shop, str], what: str) -> None:
    """The caller is told that it may no longer, and that its request had been sent."""
    shop, agent = slow
    mine = road.connect(agent, "http://tardy.test", lan.shop.key)
    id_, token = road.new_token("forward")
    words = {
        "api token": ["tokens", "revoke", id_],
        "access key": ["connections", "revoke-key", mine.id, _key_of(road, mine)],
        "connection": ["connections", "delete", mine.id],
    }[what]
    under_way = UnderWay(mine, shop, token if what == "api token" else None)
    done = road.command(*words)
    assert done.status == 0, str(done)
    answer = under_way.end()
    assert answer.verdict == (401, "unauthenticated", "caller", "sent_unknown")
    assert answer.at - done.ended_at < WITHIN_SECONDS


def _key_of(road: Road, connection: Connection) -> str:
    """A second key is made, so that the first may go."""
    return str(road.cli("connections", "rotate-key", connection.id)["still_valid"][0])
