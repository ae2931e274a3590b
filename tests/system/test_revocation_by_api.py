"""What is revoked through the API ends within a second for whatever is asked next, while requests go on coming."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import pytest

from tests.system.caller import Answer, BrokenOffError
from tests.system.programs import HOST
from tests.system.road import Connection, Road, Shop
from tests.system.test_revocation import WITHIN_SECONDS

PAUSE_SECONDS = 0.02  # between two requests
PATIENCE_SECONDS = 0.5  # for one: what is held until an agent comes back is given up
AFTERWARDS_SECONDS = 2.0  # in which requests still come

REVOCATIONS: Mapping[str, tuple[str, str]] = {
    "agent": ("POST", "/v1/agents/{agent}/revoke"),
    "instance": ("POST", "/v1/agents/{agent}/instances/{instance}/revoke"),
    "agent token": ("POST", "/v1/agents/{agent}/tokens/{agent_token}/revoke"),
    "API token": ("POST", "/v1/tokens/{token}/revoke"),
    "deleted API token": ("DELETE", "/v1/tokens/{token}"),
    "access key": ("POST", "/v1/connections/{connection}/access-keys/{key}/revoke"),
    "connection": ("DELETE", "/v1/connections/{connection}"),
}
OF_AGENTS = {"agent", "instance", "agent token"}


class Traffic:
    """Requests one after the other, each with its number in the address, until `end`."""

    def __init__(self, connection: Connection, shop: Shop, token: str | None) -> None:
        self.sent: list[float] = []
        self.answers: list[Answer] = []
        self._connection, self._shop, self._token = connection, shop, token
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._flow)
        self._thread.start()
        shop.wait_for_seen(f"?of={connection.id}&n=3", seconds=20)

    def end(self) -> None:
        self._over.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def last_through(self) -> float:
        """When the last request was sent of those that reached the shop."""
        seen = self._shop.seen(f"?of={self._connection.id}&n=")
        return self.sent[max(int(one.target.rpartition("=")[2]) for one in seen)]

    def _flow(self) -> None:
        while not self._over.wait(PAUSE_SECONDS):
            path = f"/api/orders?of={self._connection.id}&n={len(self.sent)}"
            self.sent.append(time.monotonic())
            try:
                self.answers.append(self._connection.ask(path, token=self._token, seconds=PATIENCE_SECONDS))
            except (OSError, BrokenOffError):
                continue


@pytest.fixture(scope="module")
def shop(road: Road) -> Shop:
    return road.start_shop("--domain", "next.test")


@pytest.mark.parametrize("what", REVOCATIONS)
def test_nothing_reaches_the_shop_a_second_later(road: Road, shop: Shop, what: str) -> None:
    """From the answer on; requests went through before, and others were sent after."""
    agent = road.start_agent(road.new_agent(), [f"http://next.test={HOST}:{shop.port}"])
    mine = road.connect(agent.entry.id, "http://next.test", shop.key)
    id_, token = road.new_token("forward")
    ids = ids_of(road, agent.entry.id, mine.id) | {"token": id_}
    traffic = Traffic(mine, shop, token if "API token" in what else None)
    method, path = REVOCATIONS[what]
    answer = road.api(method, path.format(**ids))
    assert answer.status in {200, 204}, answer
    time.sleep(AFTERWARDS_SECONDS)
    traffic.end()
    assert {one.status for one in traffic.answers[:3]} == {200}
    assert traffic.sent[-1] - answer.at > WITHIN_SECONDS
    assert traffic.last_through() - answer.at < WITHIN_SECONDS
    refused = {one.code for one in traffic.answers if one.status != 200}
    assert refused <= ({"agent_offline", "tunnel_lost"} if what in OF_AGENTS else {"unauthenticated"})


def ids_of(road: Road, agent: str, connection: str) -> dict[str, str]:
    """By their names in the addresses; the agent has one token and one instance, the connection one key."""
    (instance,) = road.api("GET", f"/v1/agents/{agent}/instances").json["items"]
    (agent_token,) = road.api("GET", f"/v1/agents/{agent}/tokens").json["items"]
    (key,) = road.api("GET", f"/v1/connections/{connection}").json["access_keys"]
    return {
        "agent": agent,
        "instance": instance["id"],
        "agent_token": agent_token["id"],
        "connection": connection,
        "key": key["id"],
    }
