"""Each trouble met in mode on-premise: through the relay's surface, a tunnel and an agent, as a connector meets it."""

from __future__ import annotations

from typing import Any

import pytest

from relay.prestashop.remedies import REMEDIES
from relay.records import Mode
from tests.store import Store
from tests.system.caller import Answer
from tests.troubles.cells import AGENT, CELLS, SHOP, Cell
from tests.troubles.judging import check
from tests.troubles.premise import Premise

CELLS_HERE = [cell for cell in CELLS if Mode.ON_PREMISE in cell.modes]


@pytest.mark.parametrize("cell", CELLS_HERE, ids=str)
async def test_each_trouble_has_its_name(premise: Premise, cell: Cell) -> None:
    """The hop at which it shows, its own code, the sentence for it in two languages, and what would mend it."""
    assert check(cell, await premise.meet(cell), Mode.ON_PREMISE) == cell.code


@pytest.mark.parametrize(("trouble", "step", "code"), AGENT)
async def test_the_agent_itself(premise: Premise, trouble: str, step: str, code: str) -> None:
    """Unknown, revoked, not connected, or not publishing the store: told apart, and the store is not asked."""
    entry = premise.road.new_agent()
    form = form_for(premise) | {"agent": entry.id}
    if code == "agent_unknown":
        form["agent"] = "agt_aaaaaaaaaaaaaaaa"
    elif code == "agent_revoked":
        assert (await premise.ask(f"/v1/agents/{entry.id}/revoke")).status < 300
    elif code == "store_not_published":
        form |= {"agent": premise.agent.entry.id, "store_url": "http://other.test/boutique"}
    async with Store.serve(port=premise.port, domain=SHOP) as store:
        report = (await premise.ask("/v1/connections/test", form)).json
        assert store.connections_total == 0
    failed = next(one for one in report["steps"] if one["status"] == "failed")
    assert (failed["name"], failed["code"]) == (step, code)
    assert failed["detail"] == ("http://other.test" if code == "store_not_published" else "")
    assert failed["remedy"]["en"] == REMEDIES[code].about(failed["detail"]).en
    names = [one["name"] for one in report["steps"]]
    assert [one["name"] for one in report["steps"] if one["status"] == "passed"] == names[: names.index(step)]


async def test_an_agent_of_another_account_is_an_unknown_one(premise: Premise) -> None:
    """Byte for byte but for the time that it took."""
    made = premise.road.cli("accounts", "create", "foreign")
    theirs = premise.road.cli("agents", "create", "theirs", "--account", "foreign")["id"]
    assert made["id"]
    _, token = premise.road.new_token("manage")
    reports = [
        untimed(await premise.ask("/v1/connections/test", form_for(premise) | {"agent": agent}, token=token))
        for agent in (theirs, "agt_aaaaaaaaaaaaaaaa")
    ]
    assert reports[0] == reports[1]
    assert reports[0]["steps"][0]["code"] == "agent_unknown"


async def test_a_stripped_key_is_mended_by_what_is_offered(premise: Premise) -> None:
    """PATCH what the report offers: the test passes, and connectors' requests carry the key in the address."""
    async with Store.serve(port=premise.port, domain=SHOP, auth_stripped=True) as store:
        made = premise.road.connect(premise.agent.entry.id, f"http://{SHOP}", store.keys["full"])
        path = f"/v1/connections/{made.id}"
        first = (await premise.ask(f"{path}/test")).json
        assert first["offer"] == {"key_place": "ws_key"}
        assert (await premise.ask(path, first["offer"], "PATCH")).status == 200
        second = (await premise.ask(f"{path}/test")).json
        assert second["ok"], second
        key = f"ws_key={store.keys['full']}".encode()
        assert key in store.requests[-1].target
        forwarded = await premise.ask(f"/to/{made.id}/api/orders?limit=1", method="GET")
        assert forwarded.status == 200
        assert key in store.requests[-1].target
        assert store.requests[-1].header("Authorization") is None


async def test_a_redirect_is_mended_by_what_is_offered(premise: Premise) -> None:
    """PATCH the offered store URL, with the key again; until the agent publishes it, the test says so."""
    async with Store.serve(port=premise.port, domain="www.shop.test") as store:
        made = premise.road.connect(premise.agent.entry.id, f"http://{SHOP}", store.keys["full"])
        path = f"/v1/connections/{made.id}"
        offer = (await premise.ask(f"{path}/test")).json["offer"]
        assert (await premise.ask(path, offer, "PATCH")).status == 422
        change = offer | {"api_key": store.keys["full"]}
        assert (await premise.ask(path, change, "PATCH")).status == 200
        report = (await premise.ask(f"{path}/test")).json
        assert next(one["code"] for one in report["steps"] if one["code"]) == "store_not_published"
    agent = premise.road.start_agent(premise.road.new_agent(), [f"http://www.shop.test=127.0.0.1:{premise.port}"])
    async with Store.serve(port=premise.port, domain="www.shop.test", keys={"full": store.keys["full"]}):
        change |= {"agent": agent.entry.id}
        assert (await premise.ask(path, change, "PATCH")).status == 200
        assert (await premise.ask(f"{path}/test")).json["ok"]


async def test_what_the_form_itself_refuses(premise: Premise) -> None:
    """A key of the wrong length, a bad address, no agent: 422 that names the field; nothing was dialled."""
    for change, field in (
        ({"api_key": "TOOSHORT"}, "api_key"),
        ({"store_url": "ftp://shop.test"}, "store_url"),
        ({"agent": None}, "agent"),
        ({"mode": "by pigeon"}, "mode"),
        ({"surprise": 1}, "surprise"),
    ):
        answer = await premise.ask("/v1/connections/test", form_for(premise) | change)
        assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)
    answer = await premise.ask("/v1/connections/test", {k: v for k, v in form_for(premise).items() if k != "api_key"})
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "api_key")


def form_for(premise: Premise) -> dict[str, Any]:
    return {
        "name": "tried",
        "mode": "on-premise",
        "agent": premise.agent.entry.id,
        "store_url": f"http://{SHOP}",
        "api_key": "K" * 32,
    }


def untimed(answer: Answer) -> dict[str, Any]:
    report: dict[str, Any] = answer.json
    for step in report["steps"]:
        step["ms"] = None
    return report
