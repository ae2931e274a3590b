"""Keyed requests: carried out once, whoever repeats them, and only the sender gets the answer again."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from relay.database import agents
from relay.database.engine import Database
from relay.database.errors import Conflict, Invalid, NameTaken
from relay.database.once import KEPT_SECONDS, KeyedRequest, Once, Repeated
from relay.database.records import EVERY_ACCOUNT
from relay.database.secrets import KeyFile
from relay.database.tables import IdempotencyKeyRow
from tests.relay.database.scene import BY, Clock


@pytest.fixture
def request_(account: str) -> KeyedRequest:
    return KeyedRequest(account, "tok_aaaaaaaaaaaaaaaa", "8e03978e", b"POST /v1/agents {}")


async def create(database: Database, account: str, name: str = "Lyon") -> str:
    return (await agents.create(database, account, name, by=BY)).agent.id


async def names(database: Database) -> list[str]:
    return [agent.name for agent in (await agents.page(database, EVERY_ACCOUNT)).items]


async def test_a_repeat_is_given_the_answer(database: Database, account: str, request_: KeyedRequest) -> None:
    """The second does nothing, and gets what was kept of the first."""
    first = Once(database, request_)
    await create(first, account)
    await first.keep(b"the answer")
    with pytest.raises(Repeated) as repeated:
        await create(Once(database, request_), account, "Paris")
    assert repeated.value.answer == b"the answer"
    assert await names(database) == ["Lyon"]


async def test_what_failed_may_be_tried_again(database: Database, account: str, request_: KeyedRequest) -> None:
    """The key is spent only together with the change."""
    await create(database, account)
    for _ in range(2):
        with pytest.raises(NameTaken):
            await create(Once(database, request_), account)
    await create(Once(database, request_), account, "Paris")
    assert await names(database) == ["Lyon", "Paris"]


async def test_of_many_at_once_one_is_carried_out(database: Database, account: str, request_: KeyedRequest) -> None:
    """The others are told to come back for the answer."""
    tries = (create(Once(database, request_), account, f"shop {number}") for number in range(5))
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert [refusal.code for refusal in refused] == ["answer_not_kept"] * 4
    assert len(await names(database)) == 1


@pytest.mark.parametrize("other", ["account", "sender", "key"])
async def test_keys_are_the_senders_own(database: Database, account: str, request_: KeyedRequest, other: str) -> None:
    """Another account, sender or key is another request, whatever its content."""
    await create(Once(database, request_), account)
    others = {
        "account": replace(request_, account="acc_bbbbbbbbbbbbbbbb"),
        "sender": replace(request_, sender="tok_bbbbbbbbbbbbbbbb"),
        "key": replace(request_, key="another"),
    }
    await create(Once(database, others[other]), account, "Paris")
    assert await names(database) == ["Lyon", "Paris"]


async def test_a_key_is_for_one_request(database: Database, account: str, request_: KeyedRequest) -> None:
    """With another content it is a mistake of the sender, and nothing is told of the first."""
    first = Once(database, request_)
    await create(first, account)
    await first.keep(b"the answer")
    with pytest.raises(Invalid) as refused:
        await create(Once(database, replace(request_, content=b"other")), account, "Paris")
    assert refused.value.field == "Idempotency-Key"


async def test_answers_are_sealed_and_forgotten(
    database: Database, account: str, request_: KeyedRequest, clock: Clock
) -> None:
    """What may hold a secret is not readable in the table, and after an hour it is gone."""
    first = Once(database, request_)
    await create(first, account)
    await first.keep(b"the answer")
    async with database.reading() as session:
        sealed = await session.scalar(select(IdempotencyKeyRow.answer_sealed))
    assert sealed
    assert "the answer" not in sealed
    clock.now += KEPT_SECONDS
    await create(Once(database, replace(request_, key="another")), account, "Paris")
    async with database.reading() as session:
        assert await session.scalar(select(func.count(IdempotencyKeyRow.id))) == 1
    await create(Once(database, request_), account, "Brest")


async def test_an_answer_whose_key_is_gone_is_not_kept(
    database: Database, account: str, request_: KeyedRequest, keys: KeyFile
) -> None:
    """After the master keys were changed and the older taken away: still not carried out twice."""
    first = Once(database, request_)
    await create(first, account)
    await first.keep(b"the answer")
    keys.add_key()
    lines = keys.path.read_text().splitlines(keepends=True)
    keys.path.write_text(lines[0])
    keys._keyring = None
    with pytest.raises(Conflict) as refused:
        await create(Once(database, request_), account, "Paris")
    assert refused.value.code == "answer_not_kept"
    assert await names(database) == ["Lyon"]
