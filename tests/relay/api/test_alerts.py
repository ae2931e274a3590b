"""Subscriptions to alerts over HTTP: the form, what it refuses, scopes, secrets, events and dead letters."""

from __future__ import annotations

from typing import Any

import pytest

from relay.alert_records import About, Alarm, AlertKind, Condition
from relay.database.alarms import Alarms
from relay.database.deliveries import Deliveries
from tests.relay.api.scene import Relay

URL = "https://hooks.example.com/in"


async def made(relay: Relay, **form: Any) -> dict[str, Any]:
    return await relay.made("/v1/alerts", form)


async def alarm(relay: Relay, agent: str, subject: str = "") -> None:
    remedy = {"en": "Do this.", "fr": "Faites cela."}
    condition = Condition(relay.account, AlertKind.AGENT_OFFLINE, subject or agent)
    about = About(agent=agent, details={"remedy": remedy})
    assert await Alarms(relay.database).tell([Alarm(condition, int(relay.clock()) - 90, about)])


async def test_alerts_that_are_pulled(relay: Relay) -> None:
    """The least form; no secret, since nothing is sent. Then what there is to tell."""
    alert = await made(relay)
    assert (alert["delivery"], alert["url"], alert["secret"], alert["kinds"]) == ("pull", None, None, None)
    assert (alert["enabled"], alert["waiting"], alert["dead"]) == (True, 0, 0)
    path = f"/v1/alerts/{alert['id']}"
    shown = await relay.call("GET", path, as_="status")
    assert shown.json() == {name: value for name, value in alert.items() if name != "secret"}
    assert (await relay.call("GET", "/v1/alerts", as_="status")).json() == {"items": [shown.json()], "next": None}
    assert (await relay.call("GET", f"{path}/events", as_="read")).json() == {"items": [], "next": None}
    agent = (await relay.agent("Lyon"))["id"]
    await alarm(relay, agent)
    page = (await relay.call("GET", f"{path}/events", as_="read")).json()
    (event,) = page["items"]
    assert event["type"] == "agent.offline"
    assert event["data"]["remedy"] == {"en": "Do this.", "fr": "Faites cela."}
    assert (event["data"]["agent"], event["data"]["name"], event["data"]["alert"]) == (agent, "Lyon", alert["id"])
    assert event["data"]["since"] == pytest.approx(relay.clock() - 90, abs=5)
    later = await relay.call("GET", f"{path}/events?cursor={page['next']}", as_="read")
    assert later.json() == {"items": [], "next": page["next"]}


async def test_alerts_that_are_sent(relay: Relay) -> None:
    """The secret is shown once, and nowhere again; a second one takes its place for good after a day."""
    alert = await made(relay, url=URL, kinds=["agent.online", "agent.offline"])
    assert alert["secret"].startswith("whsec_")
    assert alert["kinds"] == ["agent.offline", "agent.online"]
    path = f"/v1/alerts/{alert['id']}"
    assert alert["secret"] not in (await relay.call("GET", path)).text
    rotated = await relay.call("POST", f"{path}/secrets")
    assert rotated.status_code == 201
    assert rotated.json()["secret"] != alert["secret"]
    assert rotated.json()["former_secret_until"] == pytest.approx(relay.clock() + 86_400, abs=5)


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://10.1.2.3/"}, "url"),
        ({"url": URL, "pull": True}, "pull"),
        ({"kinds": ["agent.asleep"]}, "kinds.0"),
        ({"kinds": []}, "kinds"),
        ({"webhook": URL}, "webhook"),
    ],
)
async def test_what_a_form_may_not_say(relay: Relay, form: dict[str, Any], field: str) -> None:
    """Named value by value; nothing is made."""
    answer = await relay.call("POST", "/v1/alerts", form)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert (await relay.call("GET", "/v1/alerts")).json()["items"] == []


async def test_a_change_needs_the_state_that_was_read(relay: Relay) -> None:
    """If-Match: an edit of somebody else's is not undone; what is told meanwhile is no edit."""
    alert = await made(relay, url=URL)
    path = f"/v1/alerts/{alert['id']}"
    tag = (await relay.call("GET", path)).headers["ETag"]
    await alarm(relay, (await relay.agent())["id"])
    now = await relay.call("GET", path)
    assert (now.headers["ETag"], now.json()["waiting"]) == (tag, 1)
    changed = await relay.call("PATCH", path, {"kinds": ["agent.clone"]}, headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["kinds"]) == (200, ["agent.clone"])
    for method, body in (("PATCH", {"enabled": False}), ("DELETE", None)):
        late = await relay.call(method, path, body, headers={"If-Match": tag})
        assert (late.status_code, late.json()["code"]) == (412, "edited_meanwhile")
    all_again = await relay.call("PATCH", path, {"kinds": None, "enabled": False})
    assert (all_again.json()["kinds"], all_again.json()["enabled"]) == (None, False)
    assert (await relay.call("PATCH", path, {"url": "https://192.168.0.1/"})).status_code == 422
    assert (await relay.call("DELETE", path, headers={"If-Match": all_again.headers["ETag"]})).status_code == 204
    assert (await relay.call("GET", path)).status_code == 404


async def test_subscribing_twice_with_one_key_makes_one(relay: Relay) -> None:
    """Idempotency-Key: the repeat is answered as the first was, secret and all."""
    headers = {"Idempotency-Key": "one"}
    first = await relay.call("POST", "/v1/alerts", {"url": URL}, headers=headers)
    again = await relay.call("POST", "/v1/alerts", {"url": URL}, headers=headers)
    assert (first.status_code, again.json()) == (201, first.json())
    assert len((await relay.call("GET", "/v1/alerts")).json()["items"]) == 1


async def test_scopes(relay: Relay) -> None:
    """To subscribe and change: manage. To pull: read. To look how it is: status."""
    path = f"/v1/alerts/{(await made(relay))['id']}"
    wanted: list[tuple[str, str, Any, str, str | None]] = [
        ("GET", "/v1/alerts", None, "status", None),
        ("GET", path, None, "status", None),
        ("GET", f"{path}/events", None, "read", "status"),
        ("GET", f"{path}/dead-letters", None, "read", "status"),
        ("POST", "/v1/alerts", {}, "manage", "forward"),
        ("PATCH", path, {}, "manage", "forward"),
        ("POST", f"{path}/secrets", None, "manage", "forward"),
        ("DELETE", path, None, "manage", "forward"),
    ]
    for method, where, body, enough, too_little in wanted:
        if too_little:
            refused = await relay.call(method, where, body, as_=too_little)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), (method, where)
        assert (await relay.call(method, where, body, as_=enough)).status_code in {200, 201, 204, 409}, (method, where)


async def test_other_accounts(relay: Relay) -> None:
    """Theirs is as none; an operator sees and makes all."""
    alert = await made(relay)
    path = f"/v1/alerts/{alert['id']}"
    for method, where in (("GET", path), ("GET", f"{path}/events"), ("PATCH", path), ("DELETE", path)):
        body: Any = {} if method == "PATCH" else None
        theirs = await relay.call(method, where, body, as_="other")
        nobodys = await relay.call(method, where.replace(alert["id"], "alr_" + "a" * 16), body, as_="other")
        assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found")
        assert theirs.text.replace(alert["id"], "") == nobodys.text.replace("alr_" + "a" * 16, "")
    assert (await relay.call("GET", "/v1/alerts", as_="other")).json()["items"] == []
    for_them = await relay.made("/v1/alerts", {"account": relay.other}, as_="operate")
    assert for_them["account"] == relay.other
    assert len((await relay.call("GET", "/v1/alerts", as_="operate")).json()["items"]) == 2
    narrowed = await relay.call("GET", f"/v1/alerts?account={relay.other}", as_="operate")
    assert [each["id"] for each in narrowed.json()["items"]] == [for_them["id"]]
    refused = await relay.call("POST", "/v1/alerts", {"account": relay.other})
    assert refused.status_code == 404


async def test_an_alert_that_was_given_up_is_sent_again(relay: Relay) -> None:
    """Under its old id."""
    alert = await made(relay, url=URL)
    path = f"/v1/alerts/{alert['id']}"
    await alarm(relay, (await relay.agent())["id"])
    (parcel,) = await Deliveries(relay.database).claim(9)
    await Deliveries(relay.database).dead(parcel.lease, "answered 500")
    (dead,) = (await relay.call("GET", f"{path}/dead-letters", as_="read")).json()["items"]
    assert (dead["event"]["id"], dead["last_failure"]) == (parcel.lease.subject, "answered 500")
    replayed = await relay.call("POST", f"{path}/dead-letters/{parcel.lease.subject}/replay")
    assert (replayed.status_code, replayed.json()["id"]) == (200, parcel.lease.subject)
    again = await relay.call("POST", f"{path}/dead-letters/{parcel.lease.subject}/replay")
    assert (again.status_code, again.json()["code"]) == (409, "not_dead")


async def test_a_subscription_is_no_trigger(relay: Relay) -> None:
    """Under `/v1/triggers` there is no such id, nor are its events."""
    alert = await made(relay, url=URL)
    for where in ("", "/events", "/dead-letters"):
        assert (await relay.call("GET", f"/v1/triggers/{alert['id']}{where}")).status_code == 404
