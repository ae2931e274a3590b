"""How long it is remembered who changed what."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from relay.database import agents, audit
from relay.database.engine import Database
from relay.database.records import Actor
from relay.database.tables import AuditEventRow
from tests.relay.database.scene import BY, NOW, Clock

FEW = 4


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event looks for what need not be kept."""
    monkeypatch.setattr(audit, "PRUNE_EVERY", 1)


async def noted(database: Database, account: str | None, times: int) -> None:
    for _ in range(times):
        async with database.writing() as session:
            await audit.note(session, BY, "thing.change", "thing", at=database.now(), account=account)


async def events(database: Database, account: str | None) -> int:
    async with database.reading() as session:
        mine = AuditEventRow.account == account
        return await session.scalar(select(func.count()).select_from(AuditEventRow).where(mine)) or 0


async def test_events_are_kept_for_400_days(database: Database, account: str, clock: Clock) -> None:
    """To the second; what is older is forgotten with the next change, whoever's it is."""
    made = await agents.create(database, account, "shop", by=BY)
    clock.now = NOW + 400 * 86400
    await noted(database, "acc_another", 1)
    assert [event.action for event in (await audit.page(database, account, subject=made.agent.id)).items] == [
        "agent.create"
    ]
    clock.now += 1
    await noted(database, "acc_another", 1)
    assert (await audit.page(database, account)).items == ()
    assert await events(database, "acc_another") == 2


@pytest.mark.parametrize("busy", ["acc_busy", None])
async def test_an_account_has_its_share(
    database: Database, account: str, monkeypatch: pytest.MonkeyPatch, busy: str | None
) -> None:
    """The newest stay; another account's events are not touched. The relay's own count as an account's."""
    await agents.create(database, account, "shop", by=BY)
    before = await events(database, account)
    monkeypatch.setattr(audit, "KEEP_EVENTS", FEW)
    await noted(database, busy, 3 * FEW)
    assert await events(database, busy) == FEW
    assert await events(database, account) == before
    async with database.writing() as session:
        await audit.note(session, Actor("tok_last"), "thing.change", "last", at=NOW, account=busy)
    async with database.reading() as session:
        newest = await session.scalars(
            select(AuditEventRow.subject).where(AuditEventRow.account == busy).order_by(AuditEventRow.seq)
        )
        assert list(newest) == ["thing"] * (FEW - 1) + ["last"]


async def test_most_events_look_for_nothing(database: Database, account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pruning costs one change in so many; nothing is forgotten before."""
    monkeypatch.setattr(audit, "KEEP_EVENTS", 0)
    monkeypatch.setattr(audit, "PRUNE_EVERY", 10**9)
    await noted(database, account, 3)
    assert await events(database, account) >= 3
