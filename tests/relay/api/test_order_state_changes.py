"""update-order-state: what is sent, what is told, and that nothing is done twice for one key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from relay.gateway.call import Answer
from relay.gateway.errors import GatewayError, Outcome
from relay.prestashop.order_state_change import carry_out
from relay.prestashop.rows import Row
from relay.prestashop.shop import Shop
from tests.relay.api.scene import Relay
from tests.relay.api.shop_scene import Place, problem, shop_of

KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"


@pytest.fixture
async def place(relay: Relay) -> AsyncIterator[Place]:
    async with shop_of(relay) as place:
        yield place


@pytest.mark.parametrize("wanted", [4, "Shipped", "shipped", " ENVIADO "])
async def test_by_id_or_name(place: Place, wanted: Any) -> None:
    """A state is given by its id, or its name in any language of the shop."""
    told = (await place.change({"order_id": 2, "state": wanted, "email": False})).json()
    assert told == {
        "order_id": 2,
        "current_state": 4,
        "state": {"id": 4, "name": {"en": "Shipped", "es": "Enviado"}},
        "previous_state": 1,
        "changed": True,
        "way": "order_histories",
        "email": "not_sent",
    }
    assert place.histories(2) == [1, 4]
    assert place.store.shop.row("orders", 2)["current_state"] == 4
    assert not place.store.mails


@pytest.mark.parametrize(
    ("wanted", "email", "told", "mails"),
    [(4, True, "sent", 1), (4, False, "not_sent", 0), (5, True, "none_for_state", 0), (5, False, "none_for_state", 0)],
)
async def test_email(place: Place, wanted: int, email: bool, told: str, mails: int) -> None:
    """The customer is written to only if asked for, and only in states that send e-mail; the answer says which."""
    answer = await place.change({"order_id": 2, "state": wanted, "email": email})
    assert answer.json()["email"] == told
    assert len(place.store.mails) == mails


async def test_email_that_fails(place: Place) -> None:
    """The store's 500 for a dead mail server comes after the deed: it is told as done, the e-mail as unknown."""
    place.store.knobs.mail = "failing"
    told = (await place.change({"order_id": 2, "state": 4, "email": True})).json()
    assert (told["current_state"], told["changed"], told["email"]) == (4, True, "unknown")
    assert place.histories(2) == [1, 4]


async def test_warnings_after_the_deed(place: Place) -> None:
    """A module's warning makes a 500 of a change that was made: it is told as done."""
    place.store.knobs.hook_warning = True
    told = (await place.change({"order_id": 2, "state": 4})).json()
    assert (told["current_state"], told["changed"]) == (4, True)


async def test_already_there(place: Place) -> None:
    """An order in the wanted state gets no second row of history, and nothing is sent."""
    told = (await place.change({"order_id": 2, "state": 1, "email": True})).json()
    assert (told["changed"], told["way"], told["email"], told["current_state"]) == (False, None, "not_sent", 1)
    assert place.histories(2) == [1]
    assert place.sent("POST") == []


async def test_unknown_states(place: Place) -> None:
    """An unknown or deleted state is refused before the store is asked: it would fail with an empty 500."""
    place.store.shop["order_states"].update(8, {"deleted": 1})
    for state in (99, 8, "Payment error", "Nowhere"):
        told = problem(await place.change({"order_id": 2, "state": state}), 422, "state_unknown")
        assert {"id": 4, "name": {"en": "Shipped", "es": "Enviado"}} in told["candidates"]
    assert place.sent("POST") == []


async def test_ambiguous_states(place: Place) -> None:
    """A name of several states is refused, and they are listed."""
    place.store.shop["order_states"].update(5, {"name": {1: "shipped", 2: "Entregado"}})
    told = problem(await place.change({"order_id": 2, "state": "Shipped"}), 422, "state_ambiguous")
    assert [state["id"] for state in told["candidates"]] == [4, 5]


async def test_unknown_order(place: Place) -> None:
    """An order that is not there is 404."""
    told = problem(await place.change({"order_id": 999, "state": 4}), 404, "not_in_store")
    assert "999" in told["detail"]
    assert place.sent("POST") == []


async def test_without_the_history(place: Place) -> None:
    """A key that may not add to the history changes the order itself, if the e-mail that this sends is wanted."""
    grants = {"orders": ["GET", "PATCH"], "order_states": ["GET"], "order_histories": ["GET"]}
    await place.lacking(grants)
    told = (await place.change({"order_id": 2, "state": 4, "email": True})).json()
    assert (told["way"], told["email"], told["current_state"]) == ("orders", "unknown", 4)
    assert len(place.store.mails) == 1
    told = (await place.change({"order_id": 2, "state": 5})).json()
    assert (told["way"], told["email"], told["current_state"]) == ("orders", "none_for_state", 5)
    refused = problem(await place.change({"order_id": 2, "state": 4, "email": False}), 502, "permission_missing")
    assert "order_histories" in refused["detail"]
    assert len(place.store.mails) == 1


async def test_old_versions_without_the_history(place: Place) -> None:
    """PrestaShop 1.7 has no PATCH: the permission that is missing is named."""
    await place.lacking({"orders": ["GET", "PUT"], "order_states": ["GET"], "order_histories": ["GET"]})
    place.store.knobs.version = "1.7.4"
    told = problem(await place.change({"order_id": 2, "state": 4, "email": True}), 502, "permission_missing")
    assert "order_histories" in told["detail"]


@pytest.mark.parametrize("scope", ["status", "read"])
async def test_scopes(place: Place, scope: str) -> None:
    """Changing takes `forward`."""
    problem(await place.change({"order_id": 2, "state": 4}, as_=scope), 403, "forbidden")
    assert place.sent("/api/") == []


@pytest.mark.parametrize(
    "wish",
    [
        {"order_id": "41", "state": 4},
        {"order_id": 0, "state": 4},
        {"order_id": 2},
        {"order_id": 2, "state": True},
        {"order_id": 2, "state": ""},
        {"order_id": 2, "state": 4, "email": "no"},
        {"order_id": 2, "state": 4, "sendemail": True},
    ],
)
async def test_wishes_that_are_none(place: Place, wish: dict[str, Any]) -> None:
    """What is misspelt or of another type is refused."""
    problem(await place.change(wish), 422, "invalid")
    assert place.sent("/api/") == []


async def test_repeats(place: Place) -> None:
    """A repeat with the same key does nothing and is answered as the first was, though things have moved on."""
    wish = {"order_id": 2, "state": 4, "email": True}
    first = await place.change(wish, key=KEY)
    assert (await place.change({"order_id": 2, "state": 5})).status_code == 200
    again = await place.change(wish, key=KEY)
    assert again.json() == first.json()
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert place.histories(2) == [1, 4, 5]
    assert len(place.store.mails) == 1
    problem(await place.change({"order_id": 3, "state": 4}, key=KEY), 422, "invalid")


async def test_a_change_is_on_record(place: Place) -> None:
    """Who changed which order of which connection, from what to what; once for one key, and not if nothing changed."""
    wish = {"order_id": 2, "state": 4}
    for _ in range(3):
        assert (await place.change(wish, key=KEY)).status_code == 200
    assert (await place.change(wish)).json()["changed"] is False
    assert (await place.change({"order_id": 2, "state": 5})).json()["changed"] is True
    (actor,) = [each["id"] for each in await place.listed("/v1/tokens") if each["name"] == "for forward"]
    told = [(each["actor"], each["source"], each["subject"], each["details"]) for each in await changes_of(place)]
    assert told == [
        (
            actor,
            "198.51.100.9",
            place.connection,
            {"order": 2, "previous_state": before, "state": state, "outcome": how},
        )
        for before, state, how in ((4, 5, "changed"), (1, 4, "changed"))
    ]


async def test_a_change_found_after_a_crash_is_on_record_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay died between the store's deed and the record: whoever repeats it finds it, and it is noted then."""
    wish = {"order_id": 2, "state": 4}
    await crash(place, wish, monkeypatch, sends=True)
    assert await changes_of(place) == []
    for _ in range(2):
        assert (await place.change(wish, key=KEY)).headers["idempotency-replayed"] == "true"
    assert [each["details"]["state"] for each in await changes_of(place)] == [4]


async def test_a_change_that_nobody_knows_of_is_on_record_as_such(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went out, and what the store did with it is not known."""
    hang_up_on_posts(place, monkeypatch, then="before_answer")
    problem(await place.change({"order_id": 2, "state": 4}), 502, "store_closed_early")
    assert [each["details"]["outcome"] for each in await changes_of(place)] == ["unknown"]


async def test_what_was_refused_is_not_on_record(place: Place) -> None:
    """Nothing was changed."""
    await place.lacking({"orders": ["GET"], "order_states": ["GET"]})
    problem(await place.change({"order_id": 2, "state": 4}), 502, "permission_missing")
    assert await changes_of(place) == []


async def test_many_at_once(place: Place) -> None:
    """Of many requests with one key at the same time, one is carried out."""
    place.store.knobs.first_byte_delay = 0.02
    wish = {"order_id": 2, "state": 4, "email": True}
    answers = await asyncio.gather(*(place.change(wish, key=KEY) for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert 200 in {answer.status_code for answer in answers}
    assert place.histories(2) == [1, 4]
    assert len(place.store.mails) == 1


async def test_an_answer_that_never_came(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store did it and hung up: the order is read again, and told as done."""
    hang_up_on_posts(place, monkeypatch, then="never")
    told = (await place.change({"order_id": 2, "state": 4}, key=KEY)).json()
    assert (told["current_state"], told["changed"]) == (4, True)
    assert place.histories(2) == [1, 4]


async def test_the_relay_dies_after_sending(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever repeats after a crash is answered from the order's state and history; nothing is sent again."""
    wish = {"order_id": 2, "state": 4, "email": True}
    await crash(place, wish, monkeypatch, sends=True)
    assert (await place.change({"order_id": 2, "state": 5})).status_code == 200
    again = await place.change(wish, key=KEY)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    told = again.json()
    assert (told["changed"], told["current_state"], told["previous_state"], told["way"]) == (True, 5, 1, None)
    assert (await place.change(wish, key=KEY)).json() == told
    assert place.histories(2) == [1, 4, 5]
    assert len(place.store.mails) == 1


async def test_the_relay_dies_before_sending(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a trace in the store: `unsettled`, until the first can no longer be at work; then it is done."""
    wish = {"order_id": 2, "state": 4}
    await crash(place, wish, monkeypatch, sends=False)
    answer = await place.change(wish, key=KEY)
    assert problem(answer, 409, "unsettled")["retryable"] is True
    assert answer.headers["retry-after"]
    place.relay.clock.ahead += 700
    problem(await place.change(wish, key=KEY), 409, "unsettled")  # both of the store's ways may take that long
    place.relay.clock.ahead += 300
    assert (await place.change(wish, key=KEY)).json()["current_state"] == 4
    assert place.histories(2) == [1, 4]


async def test_what_was_not_sent_may_be_repeated(place: Place) -> None:
    """A failure before the request went out gives the key back."""
    route_fault = GatewayError("agent_offline", outcome=Outcome.NOT_SENT)
    wish = {"order_id": 2, "state": 4}
    place.route.fault = route_fault
    problem(await place.change(wish, key=KEY), 503, "agent_offline")
    place.route.fault = None
    assert (await place.change(wish, key=KEY)).json()["current_state"] == 4


async def test_what_was_refused_may_be_repeated(place: Place) -> None:
    """A refusal of the store that changed nothing gives the key back, so that a mended store can be asked again."""
    wish = {"order_id": 2, "state": 4}
    await place.lacking({"orders": ["GET"], "order_states": ["GET"]})
    problem(await place.change(wish, key=KEY), 502, "permission_missing")
    await place.lacking({}, key=place.store.keys["full"])
    assert (await place.change(wish, key=KEY)).json()["current_state"] == 4


async def test_nobody_knows(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line broke, and the store cannot be read: the failure is told, and the same key finds out later."""
    wish = {"order_id": 2, "state": 4}
    hang_up_on_posts(place, monkeypatch, then="before_answer")
    told = problem(await place.change(wish, key=KEY), 502, "store_closed_early")
    assert (told["outcome"], told["retryable"]) == ("sent_unknown", True)
    place.store.knobs.hang_up = "never"
    assert (await place.change(wish, key=KEY)).json()["current_state"] == 4
    assert place.histories(2) == [1, 4]


async def test_a_proxy_that_did_not_wait_for_the_store(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shop's proxy answers 504 while PHP is still at work: nobody knows, and with the key it is done once."""
    go_on, late = asyncio.Event(), []
    real = Shop._send

    async def later(*asked: Any, **how: Any) -> Any:
        await go_on.wait()
        return await real(*asked, **how)

    async def send(self: Shop, method: str, path: str, body: bytes = b"", **how: Any) -> Answer:
        if method != "POST":
            return await real(self, method, path, body, **how)
        late.append(asyncio.create_task(later(self, method, path, body, **how)))
        return Answer(
            504, "Gateway Time-out", (("Content-Type", "text/html"),), b"<html>504 Gateway Time-out</html>", 60.0
        )

    monkeypatch.setattr(Shop, "_send", send)
    wish = {"order_id": 2, "state": 4, "email": True}
    told = problem(await place.change(wish, key=KEY), 502, "store_proxy_failed")
    assert (told["outcome"], told["retryable"]) == ("sent_unknown", True)
    assert [each["details"]["outcome"] for each in await changes_of(place)] == ["unknown"]
    problem(await place.change(wish, key=KEY), 409, "unsettled")
    go_on.set()
    await asyncio.gather(*late)
    assert (await place.change(wish, key=KEY)).json()["current_state"] == 4
    assert (place.histories(2), len(place.store.mails), len(late)) == ([1, 4], 1, 1)
    told = problem(await place.change({"order_id": 2, "state": 5}), 502, "store_proxy_failed")
    assert (told["outcome"], told["retryable"]) == ("sent_unknown", False), "without a key a repeat would send again"


async def test_the_store_cannot_be_read_after_an_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that may come after the deed (here the mail server's), and then the agent is gone: nobody knows."""
    place.store.knobs.mail = "failing"
    real = Shop.post

    async def post(self: Shop, resource: str, document: bytes, parameters: Sequence[tuple[str, str]] = ()) -> list[Row]:
        try:
            return await real(self, resource, document, parameters)
        finally:
            monkeypatch.setattr(Shop, "one", away)

    async def away(*_: Any) -> None:
        raise GatewayError("agent_offline", outcome=Outcome.NOT_SENT)

    one = Shop.one
    monkeypatch.setattr(Shop, "post", post)
    wish = {"order_id": 2, "state": 4, "email": True}
    told = problem(await place.change(wish, key=KEY), 502, "store_error")
    assert (told["outcome"], told["retryable"]) == ("sent_unknown", True)
    assert [each["details"]["outcome"] for each in await changes_of(place)] == ["unknown"]
    monkeypatch.setattr(Shop, "one", one)
    monkeypatch.setattr(Shop, "post", real)
    assert (await place.change({"order_id": 2, "state": 5})).status_code == 200
    assert (await place.change(wish, key=KEY)).headers["idempotency-replayed"] == "true"
    assert place.histories(2) == [1, 4, 5]


async def test_without_the_history_it_is_not_sent_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the first was done before somebody else changed the order cannot be seen: a person has to look."""
    await place.lacking({"orders": ["GET", "PATCH"], "order_states": ["GET"], "order_histories": ["POST"]})
    wish = {"order_id": 2, "state": 4, "email": True}
    await crash(place, wish, monkeypatch, sends=True)
    assert (await place.change({"order_id": 2, "state": 5})).status_code == 200
    problem(await place.change(wish, key=KEY), 409, "unsettled")
    place.relay.clock.ahead += 2000
    told = problem(await place.change(wish, key=KEY), 409, "unsettled")
    assert told["retryable"] is False
    assert "order_histories" in told["detail"]
    assert place.histories(2) == [1, 4, 5]


async def changes_of(place: Place) -> list[dict[str, Any]]:
    """What is on record of its orders, newest first."""
    listed = await place.listed(f"/v1/audit?subject={place.connection}")
    return [each for each in listed if each["action"] == "order.change_state"]


def hang_up_on_posts(place: Place, monkeypatch: pytest.MonkeyPatch, *, then: str) -> None:
    """From the next POST on the store does its work and hangs up; after the POST it does `then`."""
    real = Shop.post

    async def post(self: Shop, resource: str, document: bytes, parameters: Sequence[tuple[str, str]] = ()) -> list[Row]:
        place.store.knobs.set("hang_up", "before_answer")
        try:
            return await real(self, resource, document, parameters)
        finally:
            place.store.knobs.set("hang_up", then)

    monkeypatch.setattr(Shop, "post", post)


async def crash(place: Place, wish: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *, sends: bool) -> None:
    """The request, in a relay that dies before the answer is kept: before it is sent, or after."""

    async def dying(shop: Any, plan: Any) -> Any:
        if sends:
            await carry_out(shop, plan)
        raise RuntimeError("the relay dies here")

    with monkeypatch.context() as patched:
        patched.setattr("relay.api.order_state_changes.carry_out", dying)
        problem(await place.change(wish, key=KEY), 500, "relay_fault")
