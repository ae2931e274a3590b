"""What is known of a connection's store stands beside the connection, with what to do about it."""

from __future__ import annotations

from relay.health.store_answers import Finding
from relay.health.store_health import Store
from tests.relay.api.scene import Relay


async def test_a_connection_shows_how_its_store_does(relay: Relay) -> None:
    """Nothing before it was looked at; neither its tag nor what others see depends on it."""
    agent = (await relay.agent())["id"]
    made = await relay.connection(agent)
    path, stores = f"/v1/connections/{made['id']}", relay.parts.stores
    before = await relay.call("GET", path, as_="status")
    assert before.json()["store"] is None
    store = Store(relay.account, agent, "shop.lan:80")
    stores.watch(store)
    stores.attach(store, made["id"])
    stores.found(store, Finding(reachable=True, answering=True))
    stores.found_key(made["id"], Finding(reachable=True, answering=True, key=False, code="key_unknown"))
    shown = await relay.call("GET", path, as_="status")
    assert shown.headers["ETag"] == before.headers["ETag"]
    seen = shown.json()["store"]
    assert (seen["store"], seen["reachable"], seen["answering"], seen["key"]) == ("shop.lan:80", True, True, False)
    assert seen["code"] == "key_unknown"
    assert seen["last_success"] == seen["checked_at"]
    assert "Status" in seen["remedy"]["en"]
    listed = await relay.call("GET", "/v1/connections", as_="status")
    assert [each["store"] for each in listed.json()["items"]] == [seen]
