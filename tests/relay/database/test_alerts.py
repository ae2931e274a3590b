"""Alerts in the database: subscriptions, conditions that are told once, events for who wants them, what ends soon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import func, select

from relay.alert_records import LEFT, About, Alarm, AlertKind, AllClear, Condition, Word
from relay.database import accounts, agent_tokens, agents, alerts, connections, events, instances, tokens, triggers
from relay.database.alarms import NOTED_SECONDS, Alarms
from relay.database.alerts import ALERTS_MOST, AlertForm, AlertPatch
from relay.database.cycles import Cycles
from relay.database.deliveries import Deliveries
from relay.database.endpoints import signing_secrets
from relay.database.engine import Database, open_database
from relay.database.errors import Conflict, Invalid, NotFound
from relay.database.secrets import KeyFile
from relay.database.store_book import StoreBook
from relay.database.tables import AlertConditionRow, InstanceRow, TriggerRow
from relay.database.upkeep import Upkeep
from relay.records import Mode, Scope
from relay.store_records import AgentWays, CloudWay
from relay.trigger_records import TriggerKind
from tests.relay.database.scene import BY, NOW, Clock, form, written

URL = "https://hooks.example.com/in"
ALL = AlertForm()
OFFLINE, ONLINE = AlertKind.AGENT_OFFLINE, AlertKind.AGENT_ONLINE


@pytest.fixture
async def agent(database: Database, account: str) -> str:
    return (await agents.create(database, account, "Lyon", by=BY)).agent.id


@pytest.fixture
async def second(address: str, clock: Clock, keys: KeyFile, database: Database) -> AsyncIterator[Database]:
    """The same database as another node sees it."""
    opened = await open_database(address, keys=keys, clock=clock)
    yield opened
    await opened.close()


def offline(account: str | None, agent: str, since: int = NOW, **more: Any) -> Alarm:
    return Alarm(Condition(account, OFFLINE, agent), since, About(agent=agent, details={"code": "x"}), **more)


def back(account: str, agent: str, at: int = NOW + 60) -> AllClear:
    return AllClear(Condition(account, OFFLINE, agent), at, ONLINE, About(agent=agent))


async def subscribed(database: Database, account: str, wanted: AlertForm = ALL) -> str:
    return (await alerts.create(database, account, wanted, by=BY)).alert.id


async def pulled(database: Database, account: str, alert: str) -> list[dict[str, Any]]:
    page = await alerts.told(database, account, alert)
    return [json.loads(record.body) for record in page.items]


async def conditions(database: Database) -> int:
    async with database.reading() as session:
        return int(await session.scalar(select(func.count()).select_from(AlertConditionRow)) or 0)


async def test_a_condition_is_told_once_and_then_that_it_is_over(database: Database, account: str, agent: str) -> None:
    """With the agent's name, since when, and whatever else is told."""
    alert = await subscribed(database, account)
    desk = Alarms(database)
    alarm = offline(account, agent, NOW - 90)
    assert await desk.tell([alarm, alarm]) == [alarm]
    assert await desk.tell([alarm]) == []
    assert await desk.open() == {alarm.condition}
    clear = back(account, agent)
    assert await desk.tell([clear]) == [clear]
    assert await desk.tell([clear]) == []
    assert await desk.open() == frozenset()
    begun, over = await pulled(database, account, alert)
    assert begun["type"] == "agent.offline"
    assert begun["data"] == {"alert": alert, "agent": agent, "name": "Lyon", "since": NOW - 90, "code": "x"}
    assert over["type"] == "agent.online"
    assert over["data"] == {"alert": alert, "agent": agent, "name": "Lyon", "since": NOW - 90}
    assert await desk.tell([alarm]) == [alarm], "it may begin again"


async def test_two_nodes_tell_it_once(database: Database, second: Database, account: str, agent: str) -> None:
    """Whoever comes first writes it down."""
    alert = await subscribed(database, account)
    alarm = offline(account, agent)
    told = await asyncio.gather(*(Alarms(each).tell([alarm]) for each in (database, second) * 4))
    assert sorted(len(news) for news in told) == [0] * 7 + [1]
    assert len(await pulled(database, account, alert)) == 1


async def test_a_subscription_gets_what_it_asked_for(
    database: Database, account: str, stranger: str, agent: str
) -> None:
    """Kinds of its own account, while it is enabled."""
    wanted = await subscribed(database, account, AlertForm(kinds=(ONLINE,)))
    disabled = await subscribed(database, account, AlertForm(enabled=False))
    others = await subscribed(database, stranger)
    await Alarms(database).tell([offline(account, agent), back(account, agent)])
    assert [event["type"] for event in await pulled(database, account, wanted)] == ["agent.online"]
    assert await pulled(database, account, disabled) == []
    assert await pulled(database, stranger, others) == []


async def test_nobody_is_told_of_what_is_gone(database: Database, account: str, stranger: str, agent: str) -> None:
    """Revoked agents, other accounts' agents never occur, accounts that were deleted meanwhile."""
    alert = await subscribed(database, account)
    desk = Alarms(database)
    await desk.tell([offline(account, agent)])
    await agents.revoke(database, account, agent, by=BY)
    assert await desk.tell([back(account, agent)]) == []
    assert await desk.tell([offline("acc_" + "q" * 16, agent)]) == []
    assert [event["type"] for event in await pulled(database, account, alert)] == ["agent.offline"]
    assert len(await desk.open()) == 1
    await desk.prune()
    assert await desk.open() == frozenset()
    assert stranger


async def test_what_is_still_there_is_not_pruned(database: Database, account: str, agent: str) -> None:
    """Conditions of agents, of their stores and of connections."""
    connection = (await connections.create(database, account, form(), by=BY)).connection.id
    desk = Alarms(database)
    words: list[Word] = [
        offline(account, agent),
        Alarm(Condition(account, AlertKind.STORE_UNREACHABLE, f"{agent} shop.lan:80"), NOW, About(agent=agent)),
        Alarm(Condition(account, AlertKind.STORE_KEY_REFUSED, connection), NOW, About(connection=connection)),
        Alarm(Condition(None, AlertKind.CERTIFICATE_EXPIRING, "relay 1 30"), NOW, About(), forget_at=NOW + 9),
    ]
    assert await desk.tell(words) == words
    await desk.prune()
    assert await conditions(database) == 4
    await connections.delete(database, account, connection, by=BY)
    await desk.prune()
    assert await conditions(database) == 3


async def test_what_nobody_ends_is_forgotten_in_time(
    database: Database, account: str, agent: str, clock: Clock
) -> None:
    """Told again before, it lasts longer; told again after, it is news."""
    alert = await subscribed(database, account)
    desk = Alarms(database)
    assert len(await desk.tell([offline(account, agent, forget_at=NOW + 100)])) == 1
    assert await desk.tell([offline(account, agent, forget_at=NOW + 200)]) == []
    assert await desk.open() == frozenset(), "nobody needs to end it"
    clock.now = NOW + 150
    assert await desk.tell([offline(account, agent, forget_at=NOW + 200)]) == []
    clock.now = NOW + 200
    assert len(await desk.tell([offline(account, agent, forget_at=NOW + 300)])) == 1
    assert len(await pulled(database, account, alert)) == 2


async def test_the_relays_own_alerts_go_to_the_default_account(database: Database, account: str, stranger: str) -> None:
    """Whose operator it is."""
    mine, theirs = await subscribed(database, account), await subscribed(database, stranger)
    condition = Condition(None, AlertKind.CERTIFICATE_EXPIRING, "relay 1 30")
    await Alarms(database).tell([Alarm(condition, NOW, About(details={"days": 30}), forget_at=NOW + 9)])
    assert [event["data"] for event in await pulled(database, account, mine)] == [
        {"alert": mine, "since": NOW, "days": 30}
    ]
    assert await pulled(database, stranger, theirs) == []


async def test_alerts_are_delivered_as_triggers_events_are(database: Database, account: str, agent: str) -> None:
    """Signed with the subscription's secret, given up and sent again, stopped by 410."""
    new = await alerts.create(database, account, AlertForm(url=URL), by=BY)
    assert new.secret
    alert = new.alert.id
    await Alarms(database).tell([offline(account, agent)])
    desk = Deliveries(database)
    (parcel,) = await desk.claim(9)
    assert (parcel.trigger, parcel.url) == (alert, URL)
    assert [each.get_secret_value() for each in parcel.secrets] == [new.secret.get_secret_value()]
    assert json.loads(parcel.body)["type"] == "agent.offline"
    await desk.dead(parcel.lease, "answered 500")
    (dead,) = (await alerts.given_up(database, account, alert)).items
    assert (dead.id, dead.last_failure) == (parcel.lease.subject, "answered 500")
    assert (await alerts.find(database, account, alert)).progress.dead == 1
    await alerts.replay(database, account, alert, dead.id, by=BY)
    (again,) = await desk.claim(9)
    await desk.gone(again.lease, "410 Gone")
    found = await alerts.find(database, account, alert)
    assert (found.enabled, found.progress.disabled_because, found.progress.waiting) == (False, "endpoint_gone", 1)
    enabled = await alerts.change(database, account, alert, AlertPatch(enabled=True), by=BY)
    assert (enabled.enabled, enabled.progress.disabled_because) == (True, None)
    assert len(await desk.claim(9)) == 1


async def test_secrets_rotate(database: Database, account: str) -> None:
    """For a day both sign; what is pulled has none."""
    new = await alerts.create(database, account, AlertForm(url=URL), by=BY)
    other = await alerts.rotate_secret(database, account, new.alert.id, by=BY)
    assert new.secret
    assert other.secret
    assert other.alert.former_secret_until == NOW + 86_400
    async with database.reading() as session:
        row = await session.get(TriggerRow, new.alert.id)
        assert row
        signing = {each.get_secret_value() for each in signing_secrets(database, row, NOW)}
    assert signing == {new.secret.get_secret_value(), other.secret.get_secret_value()}
    quiet = await subscribed(database, account)
    with pytest.raises(Conflict, match="nothing is signed"):
        await alerts.rotate_secret(database, account, quiet, by=BY)


async def test_subscriptions_are_no_triggers(database: Database, account: str) -> None:
    """They are not worked on, and not found as triggers; nor are triggers found as subscriptions."""
    connection = (await connections.create(database, account, form(), by=BY)).connection.id
    alert = await subscribed(database, account, AlertForm(url=URL))
    wanted = triggers.TriggerForm(TriggerKind.ORDER_UPDATED)
    trigger = (await triggers.create(database, account, connection, wanted, by=BY)).trigger.id
    assert [work.lease.subject for work in await Cycles(database).claim(9)] == [trigger]
    for asked in (
        triggers.find(database, account, alert),
        triggers.run_soon(database, account, alert, by=BY),
        triggers.rotate_secret(database, account, alert, by=BY),
        events.page(database, account, alert),
        alerts.find(database, account, trigger),
        alerts.delete(database, account, trigger, by=BY),
        alerts.told(database, account, trigger),
    ):
        with pytest.raises(NotFound):
            await asked
    assert [record.id for record in (await alerts.page(database, account)).items] == [alert]


async def test_another_accounts_subscription_is_an_unknown_one(database: Database, account: str, stranger: str) -> None:
    """Whatever is asked of it."""
    alert = await subscribed(database, account, AlertForm(url=URL))
    for asked in (
        alerts.find(database, stranger, alert),
        alerts.change(database, stranger, alert, AlertPatch(enabled=False), by=BY),
        alerts.rotate_secret(database, stranger, alert, by=BY),
        alerts.delete(database, stranger, alert, by=BY),
        alerts.told(database, stranger, alert),
        alerts.given_up(database, stranger, alert),
    ):
        with pytest.raises(NotFound):
            await asked
    assert (await alerts.page(database, stranger)).items == ()


async def test_changes_of_a_subscription(database: Database, account: str) -> None:
    """On record; a pulled one gets no address; an account has some."""
    alert = await subscribed(database, account)
    changed = await alerts.change(database, account, alert, AlertPatch(kinds=(OFFLINE, ONLINE)), by=BY)
    assert changed.kinds == (OFFLINE, ONLINE)
    assert (await alerts.change(database, account, alert, AlertPatch(kinds=None), by=BY)).kinds is None
    with pytest.raises(Invalid):
        await alerts.change(database, account, alert, AlertPatch(url=URL), by=BY)
    for _ in range(ALERTS_MOST - 1):
        await subscribed(database, account)
    with pytest.raises(Conflict, match="at most"):
        await subscribed(database, account)
    await alerts.delete(database, account, alert, by=BY)
    actions = [action for action, subject in (await written(database))[0] if subject == alert]
    assert actions == ["alert.create", "alert.update", "alert.update", "alert.delete"]


async def test_an_account_is_deleted_with_its_subscriptions(database: Database, stranger: str) -> None:
    """And with what was told it."""
    await subscribed(database, stranger)
    condition = Condition(stranger, AlertKind.TOKEN_EXPIRING, "tok_x 1 30")
    await Alarms(database).tell([Alarm(condition, NOW, About(), forget_at=NOW + 9)])
    await accounts.delete(database, stranger, by=BY)
    assert await conditions(database) == 0


async def test_an_endpoint_that_is_behind_gets_no_more(
    database: Database, account: str, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest are told as ever."""
    monkeypatch.setattr(events, "BEHIND_MOST", 1)
    slow, other = await subscribed(database, account, AlertForm(url=URL)), await subscribed(database, account)
    await Alarms(database).tell([offline(account, agent)])
    await Alarms(database).tell([back(account, agent)])
    assert len(await pulled(database, account, slow)) == 1
    assert len(await pulled(database, account, other)) == 2


async def instance(database: Database, account: str, name: str, seen_at: int, version: str = "0.1.0") -> str:
    """An agent with one instance that was seen then; the agent's id."""
    new = await agents.create(database, account, name, by=BY)
    async with database.writing() as session:
        session.add(
            InstanceRow(
                id="ins_" + new.agent.id[4:],
                account=account,
                agent=new.agent.id,
                token=new.token.id,
                public_key=f"ssh-ed25519 {name}",
                host_name="h",
                version=version,
                stores=[],
                serial=1,
                enrolled_at=seen_at,
                last_seen_at=seen_at,
            )
        )
    return new.agent.id


async def test_agents_that_are_expected_back(database: Database, account: str) -> None:
    """Those that were here when that was last written down, but for who said goodbye or was revoked."""
    here = await instance(database, account, "here", NOW - 500)
    await instance(database, account, "gone before", NOW - 500 - NOTED_SECONDS - 1)
    said = await instance(database, account, "said goodbye", NOW - 510)
    revoked = await instance(database, account, "revoked", NOW - 500)
    await instance(database, account, "new", NOW)
    await agents.revoke(database, account, revoked, by=BY)
    desk = Alarms(database)
    await desk.tell([Alarm(Condition(account, OFFLINE, said + LEFT), NOW, About(agent=said), quiet=True)])
    (expected,) = await desk.expected(NOW)
    assert (expected.agent, expected.account, expected.seen_at) == (here, account, NOW - 500)


async def test_quiet_words_make_no_event(database: Database, account: str, agent: str) -> None:
    """They are on record alone."""
    alert = await subscribed(database, account)
    condition = Condition(account, OFFLINE, agent + LEFT)
    await Alarms(database).tell([Alarm(condition, NOW, About(agent=agent), quiet=True)])
    assert await Alarms(database).open() == {condition}
    await Alarms(database).tell([AllClear(condition, NOW, None, About(agent=agent))])
    assert await conditions(database) == 0
    assert await pulled(database, account, alert) == []


async def test_tokens_that_end(database: Database, account: str) -> None:
    """API tokens and agents' tokens, while they are valid."""
    day = 86_400
    soon = await tokens.create(database, account, "ERP", [Scope.READ], by=BY, expires_at=NOW + 5 * day)
    await tokens.create(database, account, "later", [Scope.READ], by=BY, expires_at=NOW + 50 * day)
    await tokens.create(database, account, "never", [Scope.READ], by=BY)
    revoked = await tokens.create(database, account, "revoked", [Scope.READ], by=BY, expires_at=NOW + 5 * day)
    await tokens.revoke(database, account, revoked.token.id, by=BY)
    new = await agents.create(database, account, "Lyon", by=BY, token_expires_at=NOW + 6 * day)
    gone = await agents.create(database, account, "Nice", by=BY, token_expires_at=NOW + 6 * day)
    await agents.revoke(database, account, gone.agent.id, by=BY)
    found = await Upkeep(database).endings(NOW + 30 * day)
    assert [(each.subject, each.ends_at, each.about.agent) for each in found] == [
        (soon.token.id, NOW + 5 * day, None),
        (new.token.id, NOW + 6 * day, new.agent.id),
    ]
    await agent_tokens.revoke(database, account, new.agent.id, new.token.id, by=BY)
    assert len(await Upkeep(database).endings(NOW + 30 * day)) == 1


async def test_instances_of_other_versions(database: Database, account: str) -> None:
    """Those that were seen lately."""
    old = await instance(database, account, "old", NOW - 10, "0.0.9")
    await instance(database, account, "same", NOW - 10, "0.1.0")
    await instance(database, account, "long gone", NOW - 1000, "0.0.9")
    (found,) = await Upkeep(database).running(NOW - 100, "0.1.0")
    assert (found.agent, found.version) == (old, "0.0.9")


async def test_ways_to_stores(database: Database, account: str, agent: str) -> None:
    """By agent, and those without one; what is learnt of a key is kept."""
    through = form(name="lan", mode=Mode.ON_PREMISE, agent=agent, store_url="http://shop.lan:8080")
    mine = (await connections.create(database, account, through, by=BY)).connection.id
    open_ = form(name="cloud", mode=Mode.CLOUD, agent=None, store_url="https://shop.example.com/fr")
    cloud = (await connections.create(database, account, open_, by=BY)).connection.id
    book = StoreBook(database)
    assert await book.agents([agent, "agt_" + "q" * 16]) == {agent: AgentWays(account, ((mine, "shop.lan:8080"),))}
    assert await book.cloud() == [CloudWay(account, cloud, "shop.example.com:443")]
    await book.note_key(mine, works=False, at=NOW)
    assert (await connections.find(database, account, mine)).key_works is False
    assert await instances.agents_seen(database, 0) == []
