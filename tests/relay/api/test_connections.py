"""Connections over HTTP: the form, what it refuses, and the access keys."""

from __future__ import annotations

from typing import Any

import pytest

from relay.database import connections, uses
from relay.database.credentials import access_key_digest, digest
from relay.records import Connection, KeyPlace, Mode
from tests.relay.api.scene import STORE_KEY, URL, Relay

OTHER_KEY = "OTHERKEYOTHERKEYOTHERKEY12345678"


async def loaded(relay: Relay, connection: str) -> Connection:
    found = await relay.parts.directory.connection(connection)
    assert found is not None
    return found


async def test_a_new_connection_comes_with_its_access_key(relay: Relay) -> None:
    """201 with the key and the base address; what the form left out has its default."""
    agent = await relay.agent()
    form = {
        "name": "Shop",
        "mode": "on-premise",
        "agent": agent["id"],
        "store_url": "http://SHOP.lan/prestashop/api/",
        "api_key": STORE_KEY,
    }
    answer = await relay.call("POST", "/v1/connections", form)
    made = answer.json()
    assert answer.status_code == 201
    assert made["url"] == f"{URL}/to/{made['id']}"
    assert made["store_url"] == "http://shop.lan/prestashop"
    assert (made["key_place"], made["concurrency"]) == ("basic", 64)
    assert made["trust"] == {"ca_pem": None, "pinned_spki_sha256": None}
    assert abs(made["key_set_at"] - relay.clock()) < 5
    (key,) = made["access_keys"]
    held = await loaded(relay, made["id"])
    assert held.access_keys == ((key["id"], access_key_digest(made["access_key"])),)
    assert held.api_key.get_secret_value() == STORE_KEY
    shown = await relay.call("GET", answer.headers["Location"])
    assert shown.headers["ETag"] == answer.headers["ETag"]
    assert shown.json() == {name: made[name] for name in made if name not in {"access_key", "understood"}}
    assert (made["answer_timeout"], made["key_checked_at"], made["key_works"]) == (300, None, None)
    assert key["last_used_at"] is None


async def test_a_cloud_connection_has_no_agent(relay: Relay) -> None:
    """Mode `cloud` is saved with its own trust and key place."""
    form = {
        "name": "Cloud shop",
        "mode": "cloud",
        "store_url": "https://www.shop.fr",
        "api_key": STORE_KEY,
        "key_place": "ws_key",
        "trust": {"pinned_spki_sha256": "AB" * 32},
        "concurrency": 4,
    }
    made = await relay.made("/v1/connections", form)
    assert made["agent"] is None
    held = await loaded(relay, made["id"])
    assert (held.mode, held.key_place, held.concurrency) == (Mode.CLOUD, KeyPlace.WS_KEY, 4)
    assert held.trust.pinned_spki_sha256 == "ab" * 32


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": ""}, "name"),
        ({"mode": "carrier pigeon"}, "mode"),
        ({"mode": "cloud"}, "agent"),
        ({"agent": None}, "agent"),
        ({"agent": "agt_aaaaaaaaaaaaaaaa"}, "agent"),
        ({"agent": "Lyon"}, "agent"),
        ({"store_url": "ftp://shop.lan"}, "store_url"),
        ({"store_url": "http://shop.lan/?a=b"}, "store_url"),
        ({"store_url": ""}, "store_url"),
        ({"api_key": "short"}, "api_key"),
        ({"api_key": {"nested": STORE_KEY}}, "api_key"),
        ({"key_place": "cookie"}, "key_place"),
        ({"trust": {"ca_pem": "nonsense"}}, "ca_pem"),
        ({"trust": {"pinned_spki_sha256": "12"}}, "pinned_spki_sha256"),
        ({"trust": {"insecure": True}}, "trust.insecure"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 1.5}, "concurrency"),
        ({"answer_timeout": 901}, "answer_timeout"),
        ({"answer_timeout": "soon"}, "answer_timeout"),
        ({"store_url": "http://user:password@shop.lan"}, "store_url"),
        ({"verify_tls": False}, "verify_tls"),
    ],
)
@pytest.mark.one_database
async def test_values_that_cannot_be_taken_are_named(relay: Relay, changed: dict[str, Any], field: str) -> None:
    """422 with the member's name, and nothing saved."""
    agent = await relay.agent()
    form = {"name": "Shop", "mode": "on-premise", "agent": agent["id"], "store_url": "http://shop.lan"}
    answer = await relay.call("POST", "/v1/connections", form | {"api_key": STORE_KEY} | changed)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid"), problem
    assert [each["field"] for each in problem["errors"]] == [field]
    assert (await relay.call("GET", "/v1/connections")).json()["items"] == []


async def test_another_accounts_agent_is_as_unknown_as_none(relay: Relay) -> None:
    """A connection cannot be tied to an agent that the caller does not see."""
    foreign = (await relay.agent(as_="other"))["id"]
    form = {"name": "Shop", "mode": "on-premise", "store_url": "http://shop.lan", "api_key": STORE_KEY}
    unknown = "agt_" + "a" * 16
    answers = [await relay.call("POST", "/v1/connections", form | {"agent": agent}) for agent in (foreign, unknown)]
    assert answers[0].text.replace(foreign, unknown) == answers[1].text
    assert answers[0].status_code == 422


async def test_a_patch_changes_what_it_names(relay: Relay) -> None:
    """The store's key stays when neither store, mode nor agent change, and `key_set_at` with it."""
    agent = await relay.agent()
    made = await relay.connection(agent["id"])
    path = f"/v1/connections/{made['id']}"
    changed = await relay.call("PATCH", path, {"name": "Shop 2", "concurrency": 2, "key_place": "ws_key"})
    assert changed.status_code == 200
    shown = (await relay.call("GET", path)).json()
    assert (shown["name"], shown["concurrency"], shown["key_place"]) == ("Shop 2", 2, "ws_key")
    assert (shown["store_url"], shown["agent"], shown["key_set_at"]) == (
        "http://shop.lan",
        agent["id"],
        made["key_set_at"],
    )
    assert (await loaded(relay, made["id"])).api_key.get_secret_value() == STORE_KEY


@pytest.mark.parametrize("change", ["store_url", "agent", "mode"])
async def test_another_target_needs_the_key_again(relay: Relay, change: str) -> None:
    """Whoever may change a connection cannot thereby send the store's key elsewhere."""
    made = await relay.connection((await relay.agent("Lyon"))["id"])
    patch: dict[str, Any] = {
        "store_url": {"store_url": "http://evil.lan"},
        "agent": {"agent": (await relay.agent("Paris"))["id"]},
        "mode": {"mode": "cloud", "agent": None},
    }[change]
    path = f"/v1/connections/{made['id']}"
    refused = await relay.call("PATCH", path, patch)
    assert refused.status_code == 422
    assert [each["field"] for each in refused.json()["errors"]] == ["api_key"]
    assert (await relay.call("GET", path)).json()[change] == made[change]
    assert (await relay.call("PATCH", path, patch | {"api_key": OTHER_KEY})).status_code == 200
    assert (await loaded(relay, made["id"])).api_key.get_secret_value() == OTHER_KEY


@pytest.mark.parametrize(
    "member", ["name", "mode", "store_url", "api_key", "key_place", "trust", "concurrency", "answer_timeout"]
)
@pytest.mark.one_database
async def test_null_is_no_value(relay: Relay, member: str) -> None:
    """Only `agent` may be taken away; null elsewhere is a mistake, not a default."""
    made = await relay.connection((await relay.agent())["id"])
    answer = await relay.call("PATCH", f"/v1/connections/{made['id']}", {member: None})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, member)


async def test_an_address_is_taken_as_people_paste_it(relay: Relay) -> None:
    """What was made of it is said in the answer, and repeated with it; one that stands as written needs no word."""
    agent = (await relay.agent())["id"]
    form = {"name": "Shop", "mode": "on-premise", "agent": agent, "api_key": STORE_KEY}
    pasted = "https://Shop.fr/presta/admin12/index.php?controller=AdminLogin&token=0123"
    answers = [
        await relay.call("POST", "/v1/connections", form | {"store_url": pasted}, headers={"Idempotency-Key": "once"})
        for _ in range(2)
    ]
    made = answers[0].json()
    assert made == answers[1].json()
    assert made["store_url"] == "https://shop.fr/presta"
    assert made["understood"][0] == "taken as https://shop.fr/presta"
    assert "0123" not in answers[0].text
    path = f"/v1/connections/{made['id']}"
    changed = (await relay.call("PATCH", path, {"store_url": "shop.fr/presta/api", "answer_timeout": 60})).json()
    assert (changed["store_url"], changed["answer_timeout"]) == ("https://shop.fr/presta", 60)
    assert changed["understood"][0] == "taken as https://shop.fr/presta"
    assert (await relay.call("PATCH", path, {"name": "Other"})).json()["understood"] == []
    assert (await relay.call("PATCH", path, {"store_url": "https://shop.fr/presta"})).json()["understood"] == []


async def test_what_happens_by_itself_leaves_the_tag_alone(relay: Relay) -> None:
    """A key that was tried or used is no edit: whoever read the record before may still change it."""
    made = await relay.connection((await relay.agent())["id"])
    path = f"/v1/connections/{made['id']}"
    tag = (await relay.call("GET", path)).headers["ETag"]
    at = int(relay.clock()) + 1
    await connections.note_key(relay.database, made["id"], works=True, at=at)
    await uses.note(relay.database, [digest(made["access_key"])], at)
    shown = await relay.call("GET", path)
    assert (shown.json()["key_works"], shown.json()["key_checked_at"]) == (True, at)
    assert shown.json()["access_keys"][0]["last_used_at"] == at
    assert shown.headers["ETag"] == tag
    assert (await relay.call("PATCH", path, {"name": "Other"}, headers={"If-Match": tag})).status_code == 200


async def test_access_keys_rotate_without_a_gap(relay: Relay) -> None:
    """A second beside the first, no third, and the first ends when it is revoked."""
    made = await relay.connection((await relay.agent())["id"])
    path = f"/v1/connections/{made['id']}/access-keys"
    answer = await relay.call("POST", path)
    second = answer.json()
    assert answer.status_code == 201
    assert access_key_digest(second["access_key"])
    third = await relay.call("POST", path)
    assert (third.status_code, third.json()["code"]) == (409, "two_keys_valid")
    first = made["access_keys"][0]["id"]
    assert (await relay.call("POST", f"{path}/{first}/revoke")).status_code == 204
    shown = (await relay.call("GET", f"/v1/connections/{made['id']}")).json()
    assert [key["id"] for key in shown["access_keys"]] == [second["id"]]
    held = await loaded(relay, made["id"])
    assert held.access_keys == ((second["id"], access_key_digest(second["access_key"])),)


async def test_a_deleted_connection_is_gone(relay: Relay) -> None:
    """204, then 404, and nobody serves from it any more."""
    made = await relay.connection((await relay.agent())["id"])
    path = f"/v1/connections/{made['id']}"
    assert (await relay.call("DELETE", path)).status_code == 204
    assert (await relay.call("GET", path)).status_code == 404
    assert (await relay.call("DELETE", path)).status_code == 404


async def test_connections_are_listed_by_name(relay: Relay) -> None:
    """Each account its own, an operator all, or those of one."""
    agent = (await relay.agent())["id"]
    for name in ("Zoo", "Art"):
        await relay.connection(agent, name)
    foreign = await relay.connection((await relay.agent(as_="other"))["id"], "Mid", as_="other")

    async def names(as_: str, query: str = "") -> list[str]:
        items = (await relay.call("GET", f"/v1/connections{query}", as_=as_)).json()["items"]
        return [item["name"] for item in items]

    assert await names("status") == ["Art", "Zoo"]
    assert await names("other") == ["Mid"]
    assert await names("operate") == ["Art", "Mid", "Zoo"]
    assert await names("operate", f"?account={relay.other}") == ["Mid"]
    assert (await relay.call("GET", f"/v1/connections/{foreign['id']}", as_="operate")).status_code == 200
