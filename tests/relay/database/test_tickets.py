"""Tunnel tickets: how long they are good, and when they end early."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from sqlalchemy import select

from agent.wire.limits import CERTIFICATE_SECONDS
from relay.database import agent_tokens, agents, changes, instances
from relay.database.credentials import digest
from relay.database.directory import Directory
from relay.database.engine import Database
from relay.database.enrolments import Enrolled
from relay.database.records import NewAgent
from relay.database.tables import InstanceRow
from relay.records import Change, Ticket
from tests.relay.database.scene import BY, NOW, Clock, Installation


@pytest.fixture
async def shop(database: Database, account: str) -> NewAgent:
    return await agents.create(database, account, "shop", by=BY)


@pytest.fixture
async def directory(database: Database) -> Directory:
    made = Directory(database, Clock(1000.0))
    await made.start()
    return made


def sha256(enrolled: Enrolled) -> str:
    return digest(enrolled.ticket.text.get_secret_value())


async def test_an_enrolment_brings_a_ticket(database: Database, shop: NewAgent, directory: Directory) -> None:
    """Random, its instance's, good for the life of the certificate, and nowhere in the database as it is."""
    installation = Installation()
    enrolled = await installation.enrol(database, shop.text)
    found = await directory.ticket(sha256(enrolled))
    assert found == Ticket(shop.agent.id, installation.id, shop.token.id, NOW + CERTIFICATE_SECONDS)
    text = enrolled.ticket.text.get_secret_value()
    assert len(text) == 43
    assert text not in repr(enrolled)
    async with database.reading() as session:
        row = (await session.scalars(select(InstanceRow))).one()
        assert text not in str(vars(row))
        assert row.ticket_sha256 == sha256(enrolled)
    assert await directory.ticket(digest("a guess")) is None


async def test_two_tickets_are_good_at_once(
    database: Database, shop: NewAgent, directory: Directory, clock: Clock
) -> None:
    """The one before the newest until it expires, so that a renewal breaks nothing; the one before that no more."""
    installation = Installation()
    one = await installation.enrol(database, shop.text)
    clock.now += CERTIFICATE_SECONDS // 2
    two = await installation.enrol(database)
    assert await directory.ticket(sha256(one))
    assert await directory.ticket(sha256(two))
    clock.now += CERTIFICATE_SECONDS // 2
    assert await directory.ticket(sha256(one)) is None, "expired, though it is remembered"
    assert await directory.ticket(sha256(two))
    three = await installation.enrol(database)
    four = await installation.enrol(database)
    assert await Directory(database).ticket(sha256(two)) is None, "two newer ones have taken both places"
    assert [bool(await directory.ticket(sha256(each))) for each in (three, four)] == [True, True]


async def test_visits_push_no_ticket_out_that_an_agent_has(
    database: Database, shop: NewAgent, directory: Directory, clock: Clock
) -> None:
    """However many there are; the last one's own is good, and nothing else that is kept of the instance changes."""
    installation = Installation()
    running = await installation.enrol(database, shop.text)
    clock.now += 60
    visitor = Installation(installation.key, host_name="another name", visit=True)
    first, second, third = [await visitor.enrol(database) for _ in range(3)]
    good = [bool(await directory.ticket(sha256(each))) for each in (running, first, second, third)]
    assert good == [True, False, False, True]
    assert running.serial < first.serial < second.serial < third.serial
    async with database.reading() as session:
        row = (await session.scalars(select(InstanceRow))).one()
    assert (row.host_name, row.last_seen_at, row.token) == ("shop-server", NOW, shop.token.id)
    renewed = await installation.enrol(database)
    assert [bool(await directory.ticket(sha256(each))) for each in (running, renewed)] == [True, True]


async def _revoke_instance(database: Database, shop: NewAgent, instance: str) -> None:
    await instances.revoke(database, shop.agent.account, shop.agent.id, instance, by=BY)


async def _release(database: Database, shop: NewAgent, instance: str) -> None:
    await instances.release(database, shop.agent.account, shop.agent.id, instance, by=BY)


async def _revoke_token(database: Database, shop: NewAgent, _instance: str) -> None:
    await agent_tokens.revoke(database, shop.agent.account, shop.agent.id, shop.token.id, by=BY)


async def _revoke_agent(database: Database, shop: NewAgent, _instance: str) -> None:
    await agents.revoke(database, shop.agent.account, shop.agent.id, by=BY)


@pytest.mark.parametrize("end", [_revoke_instance, _release, _revoke_token, _revoke_agent])
async def test_a_ticket_ends_with_what_it_stands_for(
    database: Database,
    shop: NewAgent,
    directory: Directory,
    end: Callable[[Database, NewAgent, str], Awaitable[None]],
) -> None:
    """Remembered or not; and a node that starts later knows it too."""
    installation = Installation()
    enrolled = await installation.enrol(database, shop.text)
    assert await directory.ticket(sha256(enrolled))
    before = await changes.latest(database)
    await end(database, shop, installation.id)
    directory.apply(await changes.after(database, before))
    assert await directory.ticket(sha256(enrolled)) is None
    assert await Directory(database).ticket(sha256(enrolled)) is None


async def test_a_released_instance_that_enrols_again_has_only_its_new_ticket(
    database: Database, shop: NewAgent, directory: Directory
) -> None:
    """What it had before the release stays void."""
    installation = Installation()
    before = await installation.enrol(database, shop.text)
    assert await directory.ticket(sha256(before))
    await _release(database, shop, installation.id)
    after = await installation.enrol(database, shop.text)
    directory.apply([replace(change) for change in await changes.after(database, 0)])
    assert await directory.ticket(sha256(before)) is None
    assert await directory.ticket(sha256(after))


async def test_a_look_up_that_saw_the_past_is_not_believed(
    database: Database, shop: NewAgent, directory: Directory
) -> None:
    """What was revoked while the database was being asked counts, whatever that answered."""
    installation = Installation()
    enrolled = await installation.enrol(database, shop.text)
    directory.revocations.apply([Change(1, "instance", installation.id, revoked=True)])
    assert await directory.ticket(sha256(enrolled)) is None
