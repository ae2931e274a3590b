"""Master keys renewed under load, and lost for good; and when credentials were last used."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from tests.system.lan import DOMAIN
from tests.system.programs import HOST, RELAY, finish
from tests.system.road import Entry, NewRoad, Road

CONFIGURATION = 78
PATH = "/api/orders?limit=1"


def keys_file(road: Road) -> Path:
    return road.state_dir / "keys" / "master.keys"


def stop(road: Road) -> None:
    road.relay.end_soon()
    assert road.relay.ends() == 0


def test_keys_are_rotated_while_the_relay_serves(new_road: NewRoad) -> None:
    """No request fails, nothing new is sealed with the older key, and without it everything opens after a restart."""
    road = new_road("rotated")
    shop = road.start_shop("--domain", DOMAIN)
    agent = road.start_agent(road.new_agent(), [f"http://{DOMAIN}={HOST}:{shop.port}"])
    standing = [road.connect(agent.entry.id, f"http://{DOMAIN}", shop.key) for _ in range(20)]
    answers: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers.extend(connection.ask(PATH).status for connection in standing)

    asking = threading.Thread(target=ask)
    asking.start()
    rotated = road.cli("keys", "rotate")
    later = road.connect(agent.entry.id, f"http://{DOMAIN}", shop.key)
    over.set()
    asking.join(30)
    assert len(answers) >= len(standing)
    assert set(answers) == {200}
    assert rotated["sealed"] == len(standing) + 4
    listed = {key["id"]: key["secrets"] for key in road.cli("keys", "list")["items"]}
    assert listed == {rotated["key"]: len(standing) + 5, rotated["older"][0]: 0}
    keys_file(road).write_text(keys_file(road).read_text().splitlines(keepends=True)[0])
    stop(road)
    road.start_relay()
    agent.wait_until_it_stands(2)
    for connection in (standing[0], later):
        assert connection.ask(PATH).status == 200


def test_lost_keys_can_be_survived(new_road: NewRoad) -> None:
    """The relay says what is wrong and ends with 78; then new keys, new access tokens, the store's key once more."""
    road = new_road("bereft")
    shop = road.start_shop("--domain", DOMAIN)
    stores = [f"http://{DOMAIN}={HOST}:{shop.port}"]
    agent = road.start_agent(road.new_agent(), stores)
    connection = road.connect(agent.entry.id, f"http://{DOMAIN}", shop.key)
    assert connection.ask(PATH).status == 200
    stop(road)
    agent.program.stop()
    keys_file(road).unlink()
    refused = finish(RELAY, "serve", *road.options)
    assert refused.status == CONFIGURATION
    assert f"put them back at {keys_file(road)}" in refused.err
    assert "keys replace-lost" in refused.err
    assert road.command("keys", "replace-lost").status == 2
    done = road.cli("keys", "replace-lost", "--yes")
    assert done["connections"] == [connection.id]
    road.start_relay()
    assert connection.ask(PATH).status == 503
    assert road.cli("connections", "update", connection.id, "--api-key-file", "-", text=shop.key)["key_works"] is None
    token = road.cli("agents", "tokens", "create", agent.entry.id)["token"]
    again = road.start_agent(Entry(agent.entry.id, token), stores, state_dir=agent.state_dir)
    assert again.program.running
    assert connection.ask(PATH).status == 200


def test_last_use_is_written_down(new_road: NewRoad) -> None:
    """Of the access key and the tokens that were used, at the latest when the relay stops; never of the others."""
    road = new_road("used")
    shop = road.start_shop("--domain", DOMAIN)
    agent = road.start_agent(road.new_agent(), [f"http://{DOMAIN}={HOST}:{shop.port}"])
    connection = road.connect(agent.entry.id, f"http://{DOMAIN}", shop.key)
    second = road.cli("connections", "rotate-key", connection.id)["id"]
    used, unused = road.new_token("forward"), road.new_token("forward")
    began = int(time.time())
    assert connection.ask(PATH).status == 200
    assert connection.ask(PATH, token=used[1]).status == 200
    stop(road)
    keys = {key["id"]: key["last_used_at"] for key in road.cli("connections", "show", connection.id)["access_keys"]}
    assert keys.pop(second) is None
    assert all(began <= at <= time.time() for at in keys.values())
    tokens = {token["id"]: token["last_used_at"] for token in road.cli("tokens", "list")["items"]}
    assert began <= tokens[used[0]] <= time.time()
    assert tokens[unused[0]] is None
