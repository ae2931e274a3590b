"""The test as the typed surface offers it: who may, what is saved, how many at once."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.store import Store
from tests.system.caller import Answer
from tests.troubles.cells import GUARDED, SHOP
from tests.troubles.premise import Premise
from tests.troubles.test_premise import form_for

SLOW = 1.5  # seconds: long enough to meet a test that is under way


async def test_only_who_may_manage(premise: Premise) -> None:
    """A token that may forward gets 403; nobody's gets 401; another account's connection is an unknown one."""
    made = premise.road.connect(premise.agent.entry.id, f"http://{SHOP}", "K" * 32)
    _, forward = premise.road.new_token("forward")
    for path, form in ((f"/v1/connections/{made.id}/test", None), ("/v1/connections/test", form_for(premise))):
        assert (await premise.ask(path, form, token=forward)).status == 403
        assert (await premise.ask(path, form, token="ptk_nobody")).status == 401
    premise.road.cli("accounts", "create", "stranger")
    token = premise.road.cli("tokens", "create", "--name", "x", "--scope", "manage", "--account", "stranger")["token"]
    theirs = await premise.ask(f"/v1/connections/{made.id}/test", token=token)
    nobodys = await premise.ask("/v1/connections/con_aaaaaaaaaaaaaaaa/test", token=token)
    assert (theirs.status, theirs.body) == (nobodys.status, nobodys.body) == (404, nobodys.body)
    named = await premise.ask("/v1/connections/test", form_for(premise) | {"connection": made.id}, token=token)
    assert named.status == 404


async def test_nothing_is_saved(premise: Premise) -> None:
    """A form that was tried is in no list, and in no record of who changed what."""
    before = (await premise.ask("/v1/connections?limit=500", method="GET")).json
    events = (await premise.ask("/v1/audit?limit=5", method="GET")).json["items"]
    async with Store.serve(port=premise.port, domain=SHOP) as store:
        report = await premise.ask("/v1/connections/test", form_for(premise) | {"api_key": store.keys["full"]})
        assert report.json["ok"]
    assert (await premise.ask("/v1/connections?limit=500", method="GET")).json == before
    assert (await premise.ask("/v1/audit?limit=5", method="GET")).json["items"] == events


async def test_an_edited_connection_lends_its_key(premise: Premise) -> None:
    """Where store, mode and agent stay as they are the key may be left out; for any other target it is asked for."""
    async with Store.serve(port=premise.port, domain=SHOP, auth_stripped=True) as store:
        made = premise.road.connect(premise.agent.entry.id, f"http://{SHOP}", store.keys["full"])
        edited = {name: value for name, value in form_for(premise).items() if name != "api_key"}
        edited |= {"connection": made.id, "key_place": "ws_key"}
        assert (await premise.ask("/v1/connections/test", edited)).json["ok"], "the edit would mend it"
        assert not (await premise.ask(f"/v1/connections/{made.id}/test")).json["ok"], "and is not saved"
        seen = store.requests_total
        other = premise.road.new_agent()
        for change in (
            {"store_url": "http://evil.test"},
            {"store_url": f"http://{SHOP}/other"},
            {"store_url": f"https://{SHOP}"},
            {"store_url": f"http://{SHOP}:8080"},
            {"agent": other.id},
            {"mode": "cloud", "agent": None},
        ):
            answer = await premise.ask("/v1/connections/test", edited | change)
            assert (answer.status, answer.json["errors"][0]["field"]) == (422, "api_key"), change
        assert store.requests_total == seen
        with_key = edited | {"store_url": f"http://{SHOP}/other", "api_key": store.keys["full"]}
        assert (await premise.ask("/v1/connections/test", with_key)).status == 200


async def test_one_test_per_connection_and_four_per_account(premise: Premise) -> None:
    """A second one is 409 `test_running`, a fifth of the account 429 `account_busy`; afterwards both may."""
    async with Store.serve(port=premise.port, domain=SHOP, first_byte_delay=SLOW) as store:
        connections = [
            premise.road.connect(premise.agent.entry.id, f"http://{SHOP}", store.keys["full"]) for _ in range(4)
        ]
        path = f"/v1/connections/{connections[0].id}/test"
        first = asyncio.create_task(premise.ask(path))
        await store.wait_for(1)
        second = await premise.ask(path)
        assert refusal(second) == (409, "test_running", "5")
        edit = form_for(premise) | {"connection": connections[0].id}
        assert refusal(await premise.ask("/v1/connections/test", edit)) == (409, "test_running", "5")
        rest = [asyncio.create_task(premise.ask(f"/v1/connections/{made.id}/test")) for made in connections[1:]]
        await store.wait_for(4)
        fifth = await premise.ask("/v1/connections/test", form_for(premise))
        assert refusal(fifth)[:2] == (429, "account_busy")
        assert [answer.json["ok"] for answer in await asyncio.gather(first, *rest)] == [True] * 4
        store.knobs.first_byte_delay = 0
        assert (await premise.ask(path)).json["ok"]


async def test_a_change_counts_at_once(premise: Premise) -> None:
    """The test reads what is saved, not what the node remembers."""
    async with Store.serve(port=premise.port, domain=SHOP) as store:
        made = premise.road.connect(premise.agent.entry.id, f"http://{SHOP}", "W" * 32)
        path = f"/v1/connections/{made.id}"
        for key, ok in ((store.keys["full"], True), ("W" * 32, False), (store.keys["full"], True)):
            assert (await premise.ask(path, {"api_key": key}, "PATCH")).status == 200
            assert (await premise.ask(f"{path}/test")).json["ok"] is ok


async def test_mode_cloud_is_guarded(premise: Premise) -> None:
    """A store on the relay's own machine, however it is written: `store_forbidden` at its name, and no call."""
    async with Store.serve(domain=SHOP) as store:
        for host in ("127.0.0.1", "localhost", "127.0.0.1.nip.invalid", "169.254.169.254", "10.0.0.1", "0"):
            form = form_for(premise) | {"mode": "cloud", "agent": None, "store_url": f"http://{host}:{store.port}"}
            answer = await premise.ask("/v1/connections/test", form)
            if answer.status == 422:
                assert answer.json["errors"][0]["field"] == "store_url"
                continue
            failed = next(step for step in answer.json["steps"] if step["status"] == "failed")
            assert (failed["name"], failed["code"]) == GUARDED[0][1:], host
            assert failed["detail"] == "the address is not a public one"
        assert store.connections_total == 0


async def test_the_document_describes_it(premise: Premise) -> None:
    """Both operations with their report, the key write-only."""
    document: dict[str, Any] = (await premise.ask("/openapi.json", method="GET")).json
    for path in ("/v1/connections/test", "/v1/connections/{connection}/test"):
        responses = document["paths"][path]["post"]["responses"]
        schema = responses["200"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ConnectionReport"}
        assert "test_running" in responses["409"]["content"]["application/problem+json"]["examples"]
    trial = document["components"]["schemas"]["ConnectionTrial"]
    assert "api_key" not in trial["required"]
    assert trial["properties"]["api_key"]["writeOnly"] is True


def refusal(answer: Answer) -> tuple[int, str, str | None]:
    return answer.status, answer.json["code"], answer.header("Retry-After")
