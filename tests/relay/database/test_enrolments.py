"""Enrolments as they come: signatures, nonces, places, and what is written about them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from agent.wire.enrolment import (
    INSTANCE_SIGNATURE,
    NONCE,
    TIME,
    TOKEN,
    TOKEN_SIGNATURE,
    EnrolmentRequest,
    SignedRequest,
)
from agent.wire.limits import CLOCK_SKEW_SECONDS
from agent.wire.refusal import EnrolmentRefusal
from agent.wire.token import AccessToken, new_id
from relay.database import agent_tokens, agents, instances
from relay.database.engine import Database
from relay.database.enrolment_rules import TAKE_OVER_SECONDS, Kind
from relay.database.enrolments import LIMIT_EVENT_SECONDS, Enrolled
from relay.database.errors import EnrolmentRefused
from relay.database.records import NewAgent
from relay.database.tables import EnrolmentNonceRow
from tests.relay.database.scene import BY, NOW, RELAY, Clock, Installation, read, send, written

NOBODY: frozenset[str] = frozenset()


@pytest.fixture
async def shop(database: Database, account: str) -> NewAgent:
    return await agents.create(database, account, "shop", by=BY)


async def refusal(coroutine: Any) -> EnrolmentRefused:
    with pytest.raises(EnrolmentRefused) as refused:
        await coroutine
    return refused.value


async def test_first_enrolment_is_an_event(database: Database, shop: NewAgent) -> None:
    """Who, from where, as what: whoever holds an agent's place receives the store's key."""
    installation = Installation(host_name="till")
    enrolled = await installation.enrol(database, shop.text)
    assert enrolled == Enrolled(
        shop.agent.account, shop.agent.id, "shop", installation.id, shop.token.id, NOW, Kind.FIRST, enrolled.ticket
    )
    record = await instances.find(database, shop.agent.account, installation.id)
    assert (record.host_name, record.version, record.stores) == ("till", "1", ("http://shop.lan",))
    assert (record.public_key, record.enrolled_at) == (installation.public_key, NOW)
    events, changed = await written(database)
    assert events[-1] == ("instance.enrol", installation.id)
    assert changed[-1] == ("instance", installation.id, False)


async def test_renewal_needs_no_token(database: Database, shop: NewAgent, clock: Clock) -> None:
    """Signed with the key alone: a higher serial, what is told is kept, and no event."""
    installation = Installation()
    first = await installation.enrol(database, shop.text)
    before = await written(database)
    installation.host_name = "renamed"
    second = await installation.enrol(database)
    clock.now += 3600
    third = await installation.enrol(database, shop.text)
    assert first.serial < second.serial < third.serial
    assert (second.kind, third.kind) == (Kind.RENEWAL, Kind.RENEWAL)
    assert await written(database) == before
    record = await instances.find(database, shop.agent.account, installation.id)
    assert (record.host_name, record.last_seen_at, record.enrolled_at) == ("renamed", NOW + 3600, NOW)


async def test_instance_belongs_to_the_token_shown_last(database: Database, shop: NewAgent) -> None:
    """Rotation: after the new token was shown, the old one is revoked without harm; the new one still counts."""
    installation = Installation()
    await installation.enrol(database, shop.text)
    seen, agent = shop.agent.account, shop.agent.id
    newer = await agent_tokens.create(database, seen, agent, by=BY)
    assert (await installation.enrol(database, newer.text)).token == newer.token.id
    await agent_tokens.revoke(database, seen, agent, shop.token.id, by=BY)
    assert (await installation.enrol(database)).token == newer.token.id
    assert (await refusal(installation.enrol(database, shop.text))).refusal is EnrolmentRefusal.TOKEN_REVOKED
    await agent_tokens.revoke(database, seen, agent, newer.token.id, by=BY)
    assert (await refusal(installation.enrol(database))).refusal is EnrolmentRefusal.TOKEN_REVOKED


async def test_second_key_is_a_possible_clone(database: Database, shop: NewAgent, clock: Clock) -> None:
    """Another key with the same token finds no place; that is reported, once an hour however often it knocks."""
    first, clone = Installation(), Installation()
    await first.enrol(database, shop.text)
    for _ in range(3):
        error = await refusal(clone.enrol(database, shop.text, online=frozenset({first.id})))
        assert error.refusal is EnrolmentRefusal.INSTANCE_LIMIT
    assert (await written(database))[0].count(("instance.refuse", clone.id)) == 1
    clock.now += LIMIT_EVENT_SECONDS
    await refusal(clone.enrol(database, shop.text, online=frozenset({first.id})))
    assert (await written(database))[0].count(("instance.refuse", clone.id)) == 2


async def test_reinstalled_machine_takes_its_place(database: Database, shop: NewAgent, clock: Clock) -> None:
    """With a new token, while the old installation is offline; the old key is out and what it had is revoked."""
    old, new = Installation(), Installation()
    await old.enrol(database, shop.text)
    clock.now += TAKE_OVER_SECONDS
    assert (await refusal(new.enrol(database, shop.text))).refusal is EnrolmentRefusal.INSTANCE_LIMIT
    token = await agent_tokens.create(database, shop.agent.account, shop.agent.id, by=BY)
    enrolled = await new.enrol(database, token.text)
    assert (enrolled.kind, enrolled.displaced) == (Kind.TAKE_OVER, old.id)
    events, changed = await written(database)
    assert events[-2:] == [("instance.displace", old.id), ("instance.enrol", new.id)]
    assert changed[-2:] == [("instance", old.id, True), ("instance", new.id, False)]
    assert (await refusal(old.enrol(database))).refusal is EnrolmentRefusal.INSTANCE_UNKNOWN


async def test_one_place_among_many_hands(database: Database, shop: NewAgent) -> None:
    """Thirty installations with one token at the same time: exactly one is let in."""
    hands = [Installation() for _ in range(30)]
    online = frozenset(hand.id for hand in hands)
    outcomes = await asyncio.gather(
        *(hand.enrol(database, shop.text, online=online) for hand in hands), return_exceptions=True
    )
    assert sum(isinstance(outcome, Enrolled) for outcome in outcomes) == 1
    assert {outcome.refusal for outcome in outcomes if isinstance(outcome, EnrolmentRefused)} == {
        EnrolmentRefusal.INSTANCE_LIMIT
    }


async def test_replay_is_refused(database: Database, shop: NewAgent, clock: Clock) -> None:
    """The same request counts once, even many times at once, while its time is accepted; then it is too old."""
    installation = Installation()
    attempt = installation.attempt(NOW + CLOCK_SKEW_SECONDS, shop.text)
    outcomes = await asyncio.gather(*(send(database, attempt) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(outcome, Enrolled) for outcome in outcomes) == 1
    clock.now = NOW + 2 * CLOCK_SKEW_SECONDS
    await installation.enrol(database)
    assert (await refusal(send(database, attempt))).refusal is EnrolmentRefusal.NONCE_REUSED
    clock.now += 1
    assert (await refusal(send(database, attempt))).refusal is EnrolmentRefusal.CLOCK_SKEW


async def test_nonces_are_forgotten(database: Database, shop: NewAgent, clock: Clock) -> None:
    """The table holds what could still be replayed, no more."""
    installation = Installation()
    await installation.enrol(database, shop.text)
    for _ in range(3):
        await installation.enrol(database)
    clock.now += CLOCK_SKEW_SECONDS + 1
    await installation.enrol(database)
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(EnrolmentNonceRow)) == 1


async def test_who_proves_nothing_writes_nothing(database: Database, shop: NewAgent) -> None:
    """Unknown keys, unknown tokens and wrong signatures leave no trace that would fill the tables."""
    stranger = Installation()
    wrong = AccessToken(shop.token.id, b"\0" * 16, b"\1" * 32)
    unknown = AccessToken(new_id("atk"), b"\0" * 16, b"\1" * 32)
    malformed = dataclasses.replace(stranger.attempt(NOW, shop.text), token_id="atk_\x00")
    for attempt, expected in (
        (stranger.attempt(NOW), EnrolmentRefusal.INSTANCE_UNKNOWN),
        (stranger.attempt(NOW, SecretStr(wrong.reveal())), EnrolmentRefusal.SIGNATURE_INVALID),
        (stranger.attempt(NOW, SecretStr(unknown.reveal())), EnrolmentRefusal.TOKEN_UNKNOWN),
        (malformed, EnrolmentRefusal.TOKEN_UNKNOWN),
    ):
        before = await written(database)
        assert (await refusal(send(database, attempt))).refusal is expected
        assert await written(database) == before
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(EnrolmentNonceRow)) == 0


async def test_signature_covers_everything(database: Database, shop: NewAgent) -> None:
    """Body, time, nonce and key: whatever was changed on the way, the signature does not fit."""
    attempt = Installation().attempt(NOW, shop.text)
    other = Installation().attempt(NOW, shop.text)
    for changed in (
        {"body": attempt.body.replace(b"shop.lan", b"evil.lan")},
        {"time": NOW + 1},
        {"nonce": "0" * 32},
        {"instance_signature": other.instance_signature},
        {"token_signature": other.token_signature},
        {"request": other.request},
    ):
        error = await refusal(send(database, dataclasses.replace(attempt, **changed)))
        assert error.refusal is EnrolmentRefusal.SIGNATURE_INVALID


async def test_signed_for_another_address(database: Database, shop: NewAgent) -> None:
    """An agent that was given another of the relay's addresses is told the right one, not that its key is wrong."""
    attempt = Installation(relay="https://10.0.0.1").attempt(NOW, shop.text)
    error = await refusal(send(database, attempt, also_known_as=("http://evil", "https://10.0.0.1:443/")))
    assert (error.refusal, error.extras) == (EnrolmentRefusal.RELAY_MISMATCH, {"relay": RELAY})
    assert (await refusal(send(database, attempt))).refusal is EnrolmentRefusal.SIGNATURE_INVALID


async def test_wrong_clock_comes_first(database: Database, shop: NewAgent) -> None:
    """A wrong clock is reported in seconds, before anything else is held against the agent."""
    error = await refusal(send(database, Installation().attempt(NOW - 7200, shop.text)))
    assert (error.refusal, error.extras) == (EnrolmentRefusal.CLOCK_SKEW, {"skew_seconds": -7200})


async def test_moving_to_another_agent(database: Database, account: str, stranger: str, shop: NewAgent) -> None:
    """An installation that shows another agent's token leaves its place; what it had there is cut."""
    installation = Installation()
    first = await installation.enrol(database, shop.text)
    other = await agents.create(database, stranger, "other", by=BY)
    second = await installation.enrol(database, other.text)
    assert (second.account, second.agent) == (stranger, other.agent.id)
    assert second.serial > first.serial
    assert (await instances.page(database, account)).items == ()
    assert (await written(database))[1][-2:] == [
        ("instance", installation.id, True),
        ("instance", installation.id, False),
    ]


async def test_revoked_stays_out(database: Database, account: str, shop: NewAgent) -> None:
    """A revoked instance is refused by name with key or token, a revoked agent likewise."""
    installation = Installation()
    await installation.enrol(database, shop.text)
    await instances.revoke(database, account, shop.agent.id, installation.id, by=BY)
    for token in (None, shop.text):
        error = await refusal(installation.enrol(database, token))
        assert error.refusal is EnrolmentRefusal.INSTANCE_REVOKED
    assert (await Installation().enrol(database, shop.text)).kind is Kind.FIRST
    await agents.revoke(database, account, shop.agent.id, by=BY)
    assert (await refusal(Installation().enrol(database, shop.text))).refusal is EnrolmentRefusal.AGENT_REVOKED


def test_form_of_a_request() -> None:
    """Headers and body are read strictly; a mistake is refused without an attempt to mend it."""
    installation = Installation()
    token = AccessToken.generate(b"\0" * 16)
    request = EnrolmentRequest(public_key=installation.public_key, host_name="h", version="1", stores=[])
    signed = SignedRequest.sign(request, relay=RELAY, time=NOW, key=installation.key, token=token)
    right = signed.headers
    assert read(signed.body, right).request == request
    body = json.loads(signed.body)
    for header, value in (
        (TIME, ""),
        (TIME, "-1"),
        (TIME, "1e9"),
        (TIME, "١٨"),
        (TIME, f" {NOW}"),
        (TIME, "9" * 13),
        (NONCE, ""),
        (NONCE, "A" * 32),
        (NONCE, "0" * 31),
        (NONCE, "0" * 32 + "\n"),
        (INSTANCE_SIGNATURE, ""),
        (INSTANCE_SIGNATURE, "AAAA"),
        (INSTANCE_SIGNATURE, "ä" * 88),
        (TOKEN_SIGNATURE, "AAAA"),
        (TOKEN, None),
        (TOKEN_SIGNATURE, None),
    ):
        headers = {name: each for name, each in {**right, header: value}.items() if each is not None}
        with pytest.raises(EnrolmentRefused) as refused:
            read(signed.body, headers)
        assert refused.value.refusal is EnrolmentRefusal.REQUEST_INVALID
    for wrong in (
        b"",
        b"[]",
        b"\xff",
        json.dumps(body | {"public_key": "ssh-ed25519 AAAA"}).encode(),
        json.dumps(body | {"public_key": "ssh-rsa AAAA"}).encode(),
        json.dumps(body | {"host_name": "a\nb"}).encode(),
        json.dumps(body | {"host_name": "\ud800"}).encode(),
        json.dumps(body | {"stores": ["x"] * 65}).encode(),
    ):
        with pytest.raises(EnrolmentRefused) as refused:
            read(wrong, right)
        assert refused.value.refusal is EnrolmentRefusal.REQUEST_INVALID
