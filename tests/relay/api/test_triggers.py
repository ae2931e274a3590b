"""Triggers over HTTP: the form, what it refuses, scopes, secrets, events and dead letters."""

from __future__ import annotations

from typing import Any

import pytest

from relay.database.cycles import Cycles
from relay.database.deliveries import Deliveries
from relay.trigger_records import Cycle, Fault
from tests.relay.api.scene import Relay

URL = "https://hooks.example.com/in"


async def connection(relay: Relay) -> str:
    agent = await relay.agent()
    return str((await relay.connection(agent["id"]))["id"])


async def made(relay: Relay, **form: Any) -> dict[str, Any]:
    there = await connection(relay)
    return await relay.made(f"/v1/connections/{there}/triggers", {"kind": "order-updated", **form})


async def told(relay: Relay, *orders: int) -> None:
    """One event with these orders."""
    (work,) = await Cycles(relay.database).claim(9)
    await Cycles(relay.database).finish(work.lease, Cycle({}, [{"id": order} for order in orders]), next_run_at=0)


async def test_a_trigger_that_is_pulled(relay: Relay) -> None:
    """The least form; no secret, since nothing is sent."""
    trigger = await made(relay, pull=True)
    assert (trigger["delivery"], trigger["url"], trigger["secret"]) == ("pull", None, None)
    assert (trigger["interval"], trigger["ceiling"], trigger["enabled"]) == (60, 200, True)
    shown = await relay.call("GET", f"/v1/triggers/{trigger['id']}", as_="status")
    assert shown.status_code == 200
    assert shown.json() == {name: value for name, value in trigger.items() if name != "secret"}
    listed = await relay.call("GET", f"/v1/connections/{trigger['connection']}/triggers", as_="status")
    assert listed.json() == {"items": [shown.json()], "next": None}


async def test_a_trigger_that_is_sent(relay: Relay) -> None:
    """The secret is shown once, and nowhere again; a second one takes its place for good after a day."""
    trigger = await made(relay, url=URL, interval=3600, time_zone="Europe/Paris")
    assert trigger["secret"].startswith("whsec_")
    shown = await relay.call("GET", f"/v1/triggers/{trigger['id']}")
    assert trigger["secret"] not in shown.text
    rotated = await relay.call("POST", f"/v1/triggers/{trigger['id']}/secrets")
    assert rotated.status_code == 201
    assert rotated.json()["secret"] != trigger["secret"]
    assert rotated.json()["former_secret_until"] == pytest.approx(relay.clock() + 86_400, abs=5)


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://relay.local/"}, "url"),
        ({"url": "https://10.1.2.3/"}, "url"),
        ({"url": URL, "pull": True}, "pull"),
        ({"kind": "order-deleted"}, "kind"),
        ({"interval": 5}, "interval"),
        ({"ceiling": 501}, "ceiling"),
        ({"time_zone": "Paris"}, "time_zone"),
        ({"webhook": URL}, "webhook"),
    ],
)
async def test_what_a_form_may_not_say(relay: Relay, form: dict[str, Any], field: str) -> None:
    """Named value by value; nothing is made."""
    there = await connection(relay)
    answer = await relay.call("POST", f"/v1/connections/{there}/triggers", {"kind": "order-updated"} | form)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert (await relay.call("GET", f"/v1/connections/{there}/triggers")).json()["items"] == []


async def test_a_change_needs_the_state_that_was_read(relay: Relay) -> None:
    """If-Match: an edit of somebody else's is not undone; what the trigger does by itself is no edit."""
    trigger = await made(relay, url=URL)
    path = f"/v1/triggers/{trigger['id']}"
    tag = (await relay.call("GET", path)).headers["ETag"]
    await told(relay, 1)
    assert (await relay.call("GET", path)).headers["ETag"] == tag
    changed = await relay.call("PATCH", path, {"interval": 120}, headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["interval"]) == (200, 120)
    for method, body in (("PATCH", {"interval": 240}), ("DELETE", None)):
        late = await relay.call(method, path, body, headers={"If-Match": tag})
        assert (late.status_code, late.json()["code"]) == (412, "edited_meanwhile")
    bad = await relay.call("PATCH", path, {"url": "https://192.168.0.1/"})
    assert bad.status_code == 422
    gone = await relay.call("DELETE", path, headers={"If-Match": changed.headers["ETag"]})
    assert gone.status_code == 204
    assert (await relay.call("GET", path)).status_code == 404


async def test_creating_twice_with_one_key_makes_one(relay: Relay) -> None:
    """Idempotency-Key: the repeat is answered as the first was, secret and all."""
    there, sent = await connection(relay), {"kind": "order-updated", "url": URL}
    headers = {"Idempotency-Key": "one"}
    first = await relay.call("POST", f"/v1/connections/{there}/triggers", sent, headers=headers)
    again = await relay.call("POST", f"/v1/connections/{there}/triggers", sent, headers=headers)
    assert (first.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len((await relay.call("GET", f"/v1/connections/{there}/triggers")).json()["items"]) == 1


async def test_scopes(relay: Relay) -> None:
    """To make and change: manage. To pull: read. To look how it is: status."""
    trigger = await made(relay)
    path = f"/v1/triggers/{trigger['id']}"
    wanted = [
        ("GET", path, None, "status", None),
        ("GET", f"{path}/events", None, "read", "status"),
        ("GET", f"{path}/dead-letters", None, "read", "status"),
        ("PATCH", path, {}, "manage", "forward"),
        ("POST", f"{path}/run", None, "manage", "forward"),
        ("POST", f"{path}/secrets", None, "manage", "forward"),
        ("POST", f"/v1/connections/{trigger['connection']}/triggers", {"kind": "order-updated"}, "manage", "forward"),
        ("DELETE", path, None, "manage", "forward"),
    ]
    for method, address, body, enough, too_little in wanted:
        if too_little:
            assert (await relay.call(method, address, body, as_=too_little)).status_code == 403
        assert (await relay.call(method, address, body, as_=enough)).status_code in {200, 201, 204, 409}


async def test_another_accounts_trigger_is_an_unknown_one(relay: Relay) -> None:
    """Whatever is asked, the same 404."""
    trigger = await made(relay)
    for method, end, body in (
        ("GET", "", None),
        ("PATCH", "", {"enabled": False}),
        ("DELETE", "", None),
        ("GET", "/events", None),
        ("GET", "/dead-letters", None),
        ("POST", "/run", None),
        ("POST", "/secrets", None),
        ("POST", "/dead-letters/evt_aaaaaaaaaaaaaaaa/replay", None),
    ):
        theirs = await relay.call(method, f"/v1/triggers/{trigger['id']}{end}", body, as_="other")
        unknown = await relay.call(method, f"/v1/triggers/trg_aaaaaaaaaaaaaaaa{end}", body, as_="other")
        assert theirs.status_code == 404
        assert theirs.json() == unknown.json()


async def test_events_are_pulled_with_a_cursor(relay: Relay) -> None:
    """At least once, in order; the cursor of the end finds what comes later."""
    trigger = await made(relay)
    path = f"/v1/triggers/{trigger['id']}/events"
    assert (await relay.call("GET", path, as_="read")).json() == {"items": [], "next": None}
    await told(relay, 1, 2)
    await told(relay, 3)
    first = (await relay.call("GET", f"{path}?limit=1", as_="read")).json()
    (event,) = first["items"]
    assert (event["type"], event["data"]["items"]) == ("order-updated", [{"id": 1}, {"id": 2}])
    assert (event["data"]["trigger"], event["data"]["connection"]) == (trigger["id"], trigger["connection"])
    rest = (await relay.call("GET", f"{path}?cursor={first['next']}", as_="read")).json()
    assert [item["id"] for each in rest["items"] for item in each["data"]["items"]] == [3]
    end = (await relay.call("GET", f"{path}?cursor={rest['next']}", as_="read")).json()
    assert end == {"items": [], "next": rest["next"]}
    assert (await relay.call("GET", f"{path}?cursor=zzz", as_="read")).status_code == 422


async def test_dead_letters_are_shown_and_replayed(relay: Relay) -> None:
    """With what the endpoint said last; a replay takes it off the list."""
    trigger = await made(relay, url=URL)
    path = f"/v1/triggers/{trigger['id']}"
    await told(relay, 1)
    (parcel,) = await Deliveries(relay.database).claim(9)
    await Deliveries(relay.database).dead(parcel.lease, "answered 503")
    (letter,) = (await relay.call("GET", f"{path}/dead-letters", as_="read")).json()["items"]
    assert (letter["event"]["id"], letter["attempts"], letter["last_failure"]) == (
        parcel.lease.subject,
        1,
        "answered 503",
    )
    assert (await relay.call("GET", path)).json()["dead"] == 1
    replayed = await relay.call("POST", f"{path}/dead-letters/{parcel.lease.subject}/replay")
    assert (replayed.status_code, replayed.json()) == (200, letter["event"])
    assert (await relay.call("GET", f"{path}/dead-letters")).json()["items"] == []
    again = await relay.call("POST", f"{path}/dead-letters/{parcel.lease.subject}/replay")
    assert (again.status_code, again.json()["code"]) == (409, "not_dead")


async def test_how_a_trigger_is_doing(relay: Relay) -> None:
    """Faults say which hop is to blame; a disabled one is not run."""
    trigger = await made(relay)
    path = f"/v1/triggers/{trigger['id']}"
    (work,) = await Cycles(relay.database).claim(9)
    fault = Fault("agent_offline", "agent", "the agent is not connected", 10)
    await Cycles(relay.database).finish(work.lease, Cycle({}, fault=fault), next_run_at=2**40)
    shown = (await relay.call("GET", path)).json()
    assert shown["fault"] == {"code": "agent_offline", "origin": "agent", "detail": "the agent is not connected"}
    assert (shown["failures"], shown["next_run_at"]) == (1, 2**40)
    soon = (await relay.call("POST", f"{path}/run")).json()
    assert soon["next_run_at"] <= relay.clock()
    await relay.call("PATCH", path, {"enabled": False})
    assert (await relay.call("POST", f"{path}/run")).json()["code"] == "trigger_disabled"


async def test_every_change_is_on_record(relay: Relay) -> None:
    """Who made, changed, ran and deleted it; no secret in it."""
    trigger = await made(relay, url=URL)
    path = f"/v1/triggers/{trigger['id']}"
    await relay.call("PATCH", path, {"interval": 30})
    await relay.call("POST", f"{path}/secrets")
    await relay.call("POST", f"{path}/run")
    await relay.call("DELETE", path)
    noted = await relay.call("GET", f"/v1/audit?subject={trigger['id']}")
    assert [event["action"] for event in reversed(noted.json()["items"])] == [
        "trigger.create",
        "trigger.update",
        "trigger.rotate_secret",
        "trigger.run",
        "trigger.delete",
    ]
    assert trigger["secret"] not in noted.text
