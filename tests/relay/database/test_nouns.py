"""Accounts, agents, tokens and instances: what may be done to them, and what is written about it."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import event, insert, update
from sqlalchemy.exc import IntegrityError

from agent.wire.token import AccessToken, new_id
from relay.database import (
    access_keys,
    accounts,
    agent_tokens,
    agents,
    audit,
    authorities,
    connections,
    instances,
    tokens,
)
from relay.database.connection_form import ConnectionPatch
from relay.database.engine import Database
from relay.database.errors import Conflict, DatabaseUnavailable, Invalid, NameTaken, NotFound
from relay.database.names import NAME_CHARACTERS
from relay.database.records import EVERY_ACCOUNT, Actor
from relay.database.tables import AccessKeyRow, AgentRow, AgentTokenRow, ConnectionRow, InstanceRow
from relay.records import Caller, Mode, Scope
from tests.relay.database.scene import BY, NOW, Clock, Installation, form, written


async def test_first_account_stays(database: Database) -> None:
    """`default` is what commands use: it is neither renamed nor deleted."""
    default = await accounts.find(database, "default")
    for change in (accounts.rename(database, default.id, "other", by=BY), accounts.delete(database, default.id, by=BY)):
        with pytest.raises(Conflict, match="stays"):
            await change


async def test_account_with_agents_stays(database: Database, stranger: str) -> None:
    """An account is deleted only when nothing is left in it; its API tokens end with it."""
    made = await agents.create(database, stranger, "shop", by=BY)
    token = await tokens.create(database, stranger, "t", [Scope.READ], by=BY)
    with pytest.raises(Conflict, match="delete these first"):
        await accounts.delete(database, stranger, by=BY)
    await agents.delete(database, stranger, made.agent.id, by=BY)
    await accounts.delete(database, stranger, by=BY)
    assert await tokens.caller(database, hashlib.sha256(token.text.get_secret_value().encode()).hexdigest()) is None
    assert ("api_token", token.token.id, True) in (await written(database))[1]


async def test_agent_comes_with_its_token(database: Database, account: str) -> None:
    """The token names the relay's host CA; the database holds its public key and no more of it."""
    made = await agents.create(database, account, " shop ", by=BY, places=2)
    token = AccessToken.parse(made.text.get_secret_value())
    assert (made.agent.name, made.agent.places, made.token.id) == ("shop", 2, token.id)
    assert token.ca_fingerprint == await authorities.host_ca_fingerprint(database)
    async with database.reading() as session:
        row = await session.get_one(AgentTokenRow, token.id)
        assert row.public_key == token.public_key.hex()


async def test_names_are_unique_within_an_account(database: Database, account: str, stranger: str) -> None:
    """Two agents of one account never share a name; those of two accounts may."""
    made = await agents.create(database, account, "shop", by=BY)
    other = await agents.create(database, account, "other", by=BY)
    with pytest.raises(NameTaken):
        await agents.create(database, account, "shop", by=BY)
    with pytest.raises(NameTaken):
        await agents.update(database, account, other.agent.id, by=BY, name="shop")
    await agents.update(database, account, made.agent.id, by=BY, name="shop")
    assert (await agents.create(database, stranger, "shop", by=BY)).agent.name == "shop"


async def test_names_that_are_refused(database: Database, account: str) -> None:
    """Empty, too long, unprintable, or easily taken for an id."""
    for name in ("", "  ", "x" * (NAME_CHARACTERS + 1), "a\nb", "a\x00b", new_id("agt"), "\ud800"):
        with pytest.raises(Invalid) as refused:
            await agents.create(database, account, name, by=BY)
        assert refused.value.field == "name"


async def test_at_most_two_tokens(database: Database, account: str, clock: Clock) -> None:
    """A third valid token is refused; one that is revoked or expired makes room."""
    agent = (await agents.create(database, account, "shop", by=BY)).agent
    second = await agent_tokens.create(database, account, agent.id, by=BY, expires_at=NOW + 60)
    with pytest.raises(Conflict, match="revoke one first") as refused:
        await agent_tokens.create(database, account, agent.id, by=BY)
    assert refused.value.code == "two_tokens_valid"
    clock.now += 60
    third = await agent_tokens.create(database, account, agent.id, by=BY)
    await agent_tokens.revoke(database, account, agent.id, third.token.id, by=BY)
    await agent_tokens.create(database, account, agent.id, by=BY)
    page = await agent_tokens.page(database, account, agent.id)
    assert second.token.id in {token.id for token in page.items}
    assert len(page.items) == 4


async def test_revoked_agent_gets_no_token(database: Database, account: str) -> None:
    """Revoking is for good: the first date stays, and no new token is made."""
    agent = (await agents.create(database, account, "shop", by=BY)).agent
    first = await agents.revoke(database, account, agent.id, by=BY)
    assert (await agents.revoke(database, account, agent.id, by=BY)).revoked_at == first.revoked_at == NOW
    with pytest.raises(Conflict, match="revoked"):
        await agent_tokens.create(database, account, agent.id, by=BY)


async def test_agent_in_use_stays(database: Database, account: str) -> None:
    """An agent that connections use is not deleted; the refusal names them."""
    agent = (await agents.create(database, account, "shop", by=BY)).agent
    made = await connections.create(database, account, form(mode=Mode.ON_PREMISE, agent=agent.id), by=BY)
    with pytest.raises(Conflict, match="Shop"):
        await agents.delete(database, account, agent.id, by=BY)
    await connections.delete(database, account, made.connection.id, by=BY)
    await agents.delete(database, account, agent.id, by=BY)


async def test_deleted_agent_takes_all_along(database: Database, account: str) -> None:
    """Tokens and instances go with their agent."""
    made = await agents.create(database, account, "shop", by=BY)
    await Installation().enrol(database, made.text)
    await agents.delete(database, account, made.agent.id, by=BY)
    assert (await instances.page(database, account)).items == ()
    with pytest.raises(NotFound):
        await agent_tokens.page(database, account, made.agent.id)


async def test_api_token_is_found_by_its_digest(database: Database, account: str, clock: Clock) -> None:
    """The highest of the scopes counts; expired and revoked tokens are nobody's."""
    made = await tokens.create(
        database, account, "ci", [Scope.READ, Scope.MANAGE, Scope.STATUS], by=BY, expires_at=NOW + 10
    )
    digest = hashlib.sha256(made.text.get_secret_value().encode()).hexdigest()
    assert await tokens.caller(database, digest) == Caller(account, made.token.id, Scope.MANAGE, NOW + 10)
    assert await tokens.caller(database, "0" * 64) is None
    clock.now = NOW + 10
    assert await tokens.caller(database, digest) is None
    clock.now = NOW
    await tokens.revoke(database, account, made.token.id, by=BY)
    assert await tokens.caller(database, digest) is None


async def test_token_needs_a_scope_and_a_future(database: Database, account: str) -> None:
    """No scope, or an expiry that has passed, makes no token."""
    with pytest.raises(Invalid, match="scope"):
        await tokens.create(database, account, "ci", [], by=BY)
    for expires_at in (NOW, NOW - 1, 2**62):
        with pytest.raises(Invalid, match="future"):
            await tokens.create(database, account, "ci", [Scope.READ], by=BY, expires_at=expires_at)


async def test_released_instance_may_come_back(database: Database, account: str) -> None:
    """Released, it needs the token again; revoked, it stays out and there is nothing to release."""
    made = await agents.create(database, account, "shop", by=BY)
    installation = Installation()
    await installation.enrol(database, made.text)
    await instances.release(database, account, made.agent.id, installation.id, by=BY)
    assert (await instances.page(database, account, made.agent.id)).items == ()
    await installation.enrol(database, made.text)
    record = await instances.revoke(database, account, made.agent.id, installation.id, by=BY)
    assert record.revoked_at == NOW
    with pytest.raises(Conflict, match="nothing to release"):
        await instances.release(database, account, made.agent.id, installation.id, by=BY)


async def test_seen_puts_no_time_back(database: Database, account: str) -> None:
    """The last time counts, whichever order they arrive in; unknown ids are passed over."""
    made = await agents.create(database, account, "shop", by=BY)
    enrolled = await Installation().enrol(database, made.text)
    for at in (NOW + 50, NOW + 20):
        await instances.seen(database, [enrolled.instance, new_id("ins")], at)
    assert (await instances.find(database, account, enrolled.instance)).last_seen_at == NOW + 50


async def test_many_are_seen_in_few_statements(
    database: Database, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may write in between: a statement for each would hold them up for seconds."""
    monkeypatch.setattr(instances, "AT_ONCE", 2)
    made = await agents.create(database, account, "shop", by=BY, places=5)
    enrolled = [(await Installation().enrol(database, made.text)).instance for _ in range(5)]
    statements: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    await instances.seen(database, enrolled, NOW + 50)
    assert sum("UPDATE" in statement for statement in statements) == 3
    for instance in enrolled:
        assert (await instances.find(database, account, instance)).last_seen_at == NOW + 50


async def test_agents_that_were_here_lately_are_told(database: Database, account: str, clock: Clock) -> None:
    """Once each, the last seen ones last; neither those of long ago nor what is revoked."""
    made = [await agents.create(database, account, f"shop {n}", by=BY, places=2) for n in range(5)]
    seen: dict[str, int] = {}
    for n, (one, ago) in enumerate(zip(made, (10, 500, 20, 30, 40), strict=True)):
        for _ in range(1 + (n == 0)):
            clock.now = NOW - 1000
            seen[(await Installation().enrol(database, one.text)).instance] = NOW - ago
    clock.now = NOW
    for instance, at in seen.items():
        await instances.seen(database, [instance], at)
    await agents.revoke(database, account, made[3].agent.id, by=BY)
    last = (await instances.page(database, account, made[4].agent.id)).items[0]
    await instances.revoke(database, account, made[4].agent.id, last.id, by=BY)
    assert await instances.agents_seen(database, NOW - 100) == [made[2].agent.id, made[0].agent.id]


async def test_clones_are_put_on_record_once_an_hour(database: Database, account: str, clock: Clock) -> None:
    """As an event of the instance, in its account's trail."""
    made = await agents.create(database, account, "shop", by=BY)
    enrolled = await Installation().enrol(database, made.text)
    for clock.now in (NOW, NOW + 60, NOW + 3600):
        await instances.report_clone(database, made.agent.id, enrolled.instance)
    events = (await audit.page(database, account, subject=enrolled.instance)).items
    assert [(event.action, event.at) for event in events if event.action == "instance.clone"] == [
        ("instance.clone", NOW + 3600),
        ("instance.clone", NOW),
    ]


async def test_ids_of_other_accounts_are_unknown(database: Database, account: str, stranger: str) -> None:
    """Whatever is asked for under another account's id is answered exactly like an id that does not exist."""
    made = await agents.create(database, account, "shop", by=BY)
    enrolled = await Installation().enrol(database, made.text)
    token = (await tokens.create(database, account, "t", [Scope.READ], by=BY)).token.id
    connection = (await connections.create(database, account, form(), by=BY)).connection
    agent, key = made.agent.id, connection.access_keys[0].id

    def asked(*ids: str) -> list[Any]:
        seen, (agent, instance, token, connection, key, first) = stranger, ids
        return [
            agents.find(database, seen, agent),
            agents.update(database, seen, agent, by=BY, name="x"),
            agents.revoke(database, seen, agent, by=BY),
            agents.delete(database, seen, agent, by=BY),
            agent_tokens.create(database, seen, agent, by=BY),
            agent_tokens.page(database, seen, agent),
            agent_tokens.revoke(database, seen, agent, first, by=BY),
            instances.find(database, seen, instance),
            instances.release(database, seen, agent, instance, by=BY),
            instances.revoke(database, seen, agent, instance, by=BY),
            tokens.find(database, seen, token),
            tokens.rename(database, seen, token, "x", by=BY),
            tokens.revoke(database, seen, token, by=BY),
            tokens.delete(database, seen, token, by=BY),
            connections.find(database, seen, connection),
            connections.update(database, seen, connection, ConnectionPatch(name="x"), by=BY),
            connections.delete(database, seen, connection, by=BY),
            access_keys.rotate(database, seen, connection, by=BY),
            access_keys.revoke(database, seen, connection, key, by=BY),
        ]

    before = await written(database)
    foreign = asked(agent, enrolled.instance, token, connection.id, key, made.token.id)
    unknown = asked(*(new_id(prefix) for prefix in ("agt", "ins", "tok", "con", "key", "atk")))
    for ours, nobodys in zip(foreign, unknown, strict=True):
        answers = []
        for asking in (ours, nobodys):
            with pytest.raises(NotFound) as refused:
                await asking
            answers.append((refused.value.noun, refused.value.code))
        assert answers[0] == answers[1]
    for page in (agents.page, instances.page, tokens.page, connections.page, audit.page):
        seen = await page(database, stranger)
        assert all(getattr(item, "account", None) == stranger for item in seen.items)
    assert await written(database) == before
    assert (await agents.find(database, EVERY_ACCOUNT, agent)).account == account


async def test_ids_of_no_form_are_unknown(database: Database, account: str) -> None:
    """Text from an address that is no id gets the same answer, without upsetting the database."""
    odd = ("", "x", "agt_\x00", "agt_" + "a" * 500, "agt_ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ", "\ud800")
    for id_ in odd:
        for asking in (
            agents.find(database, account, id_),
            agents.find(database, EVERY_ACCOUNT, id_),
            connections.find(database, account, id_),
            connections.find(database, EVERY_ACCOUNT, id_),
        ):
            with pytest.raises(NotFound):
                await asking
        assert await connections.load(database, id_) is None


async def test_the_tables_keep_accounts_apart(database: Database, account: str, stranger: str) -> None:
    """Even a statement that is wrong cannot tie a row of one account to a row of another."""
    made = await agents.create(database, account, "shop", by=BY)
    enrolled = await Installation().enrol(database, made.text)
    mine = await connections.create(
        database, account, form(name="mine", mode=Mode.ON_PREMISE, agent=made.agent.id), by=BY
    )
    theirs = (await agents.create(database, stranger, "shop", by=BY)).agent.id
    their_token = (await agent_tokens.create(database, stranger, theirs, by=BY)).token.id
    connection = update(ConnectionRow).where(ConnectionRow.id == mine.connection.id)
    instance = update(InstanceRow).where(InstanceRow.id == enrolled.instance)
    wrong = [
        connection.values(agent=theirs),
        connection.values(account=stranger),
        connection.values(agent=None),
        instance.values(agent=theirs),
        instance.values(token=their_token),
        instance.values(account=stranger),
        update(AgentRow).where(AgentRow.id == made.agent.id).values(account=stranger),
        update(AgentTokenRow).where(AgentTokenRow.id == their_token).values(agent=made.agent.id),
        update(AccessKeyRow).values(account=stranger),
        insert(AccessKeyRow).values(
            id=new_id("key"), account=stranger, connection=mine.connection.id, digest="x", created_at=NOW
        ),
    ]
    for statement in wrong:
        with pytest.raises(Conflict) as refused:
            async with database.writing() as session:
                await session.execute(statement)
        assert isinstance(refused.value.__cause__, IntegrityError)


async def test_every_change_is_noted_with_it(database: Database, account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each function that changes something writes an audit event and a change; if either fails, nothing was changed."""
    by = Actor("tok_someone", "203.0.113.9")
    made = await agents.create(database, account, "shop", by=by)
    agent = made.agent.id
    enrolled = await Installation().enrol(database, made.text)
    connection = (await connections.create(database, account, form(), by=by)).connection
    token = (await tokens.create(database, account, "t", [Scope.READ], by=by)).token.id
    other = (await accounts.create(database, "other", by=by)).id
    steps: list[tuple[str, str, bool, Any]] = [
        ("account.create", "account", False, lambda: accounts.create(database, "third", by=by)),
        ("account.rename", "account", False, lambda: accounts.rename(database, other, "o", by=by)),
        ("account.delete", "account", True, lambda: accounts.delete(database, other, by=by)),
        ("agent.create", "agent", False, lambda: agents.create(database, account, "two", by=by)),
        ("agent.update", "agent", False, lambda: agents.update(database, account, agent, by=by, places=2)),
        ("agent_token.create", "agent_token", False, lambda: agent_tokens.create(database, account, agent, by=by)),
        (
            "agent_token.revoke",
            "agent_token",
            True,
            lambda: agent_tokens.revoke(database, account, agent, made.token.id, by=by),
        ),
        (
            "instance.revoke",
            "instance",
            True,
            lambda: instances.revoke(database, account, agent, enrolled.instance, by=by),
        ),
        ("agent.revoke", "agent", True, lambda: agents.revoke(database, account, agent, by=by)),
        ("agent.delete", "agent", True, lambda: agents.delete(database, account, agent, by=by)),
        (
            "connection.create",
            "connection",
            False,
            lambda: connections.create(database, account, form(name="n"), by=by),
        ),
        (
            "connection.update",
            "connection",
            False,
            lambda: connections.update(database, account, connection.id, ConnectionPatch(name="m"), by=by),
        ),
        ("access_key.create", "connection", False, lambda: access_keys.rotate(database, account, connection.id, by=by)),
        (
            "access_key.revoke",
            "connection",
            False,
            lambda: access_keys.revoke(database, account, connection.id, connection.access_keys[0].id, by=by),
        ),
        ("connection.delete", "connection", True, lambda: connections.delete(database, account, connection.id, by=by)),
        ("api_token.create", "api_token", False, lambda: tokens.create(database, account, "u", [Scope.READ], by=by)),
        ("api_token.rename", "api_token", False, lambda: tokens.rename(database, account, token, "v", by=by)),
        ("api_token.revoke", "api_token", True, lambda: tokens.revoke(database, account, token, by=by)),
        ("api_token.delete", "api_token", True, lambda: tokens.delete(database, account, token, by=by)),
    ]
    for action, kind, revoked, step in steps:
        before = await written(database)
        with monkeypatch.context() as broken:
            broken.setattr(audit, "note", _fail)
            with pytest.raises(DatabaseUnavailable):
                await step()
        assert await written(database) == before, f"{action} left something behind"
        await step()
        events, changed = await written(database)
        assert action in {each for each, _ in events[len(before[0]) :]}
        assert (kind, revoked) in {(each, gone) for each, _, gone in changed[len(before[1]) :]}
    newest = (await audit.page(database, account)).items[0]
    assert (newest.actor, newest.source, newest.at) == ("tok_someone", "203.0.113.9", NOW)


async def test_pages_shift_nothing(database: Database, account: str) -> None:
    """Read in parts of any size, each row comes once, in order, though rows come and go in between."""
    names = [f"{letter}{number}" for letter, number in itertools.product("aäz", range(4))]
    made = {name: (await agents.create(database, account, name, by=BY)).agent.id for name in names}
    whole = [agent.name for agent in (await agents.page(database, account)).items]
    assert sorted(whole) == sorted(names)
    for limit in (1, 5, 12, 100):
        seen: list[str] = []
        cursor = None
        while True:
            page = await agents.page(database, account, cursor=cursor, limit=limit)
            seen += [agent.name for agent in page.items]
            cursor = page.next
            if cursor is None:
                break
        assert seen == whole
    first = await agents.page(database, account, limit=3)
    await agents.delete(database, account, made[first.items[-1].name], by=BY)
    rest = await agents.page(database, account, cursor=first.next)
    assert [agent.name for agent in rest.items] == whole[3:]


async def test_newest_events_first(database: Database, account: str) -> None:
    """The audit log reads backwards, all of it or one subject's."""
    made = await agents.create(database, account, "shop", by=BY)
    await agents.update(database, account, made.agent.id, by=BY, name="new")
    events = (await audit.page(database, account, subject=made.agent.id)).items
    assert [event.action for event in events] == ["agent.update", "agent.create"]
    assert events[0].details == {"name": "new", "places": 1}
    first = await audit.page(database, account, limit=1)
    second = await audit.page(database, account, limit=1, cursor=first.next)
    assert first.items[0].seq > second.items[0].seq


async def test_revealed_once(database: Database, account: str) -> None:
    """What creating answers with does not print its secret."""
    made: list[tuple[Any, SecretStr]] = []
    agent = await agents.create(database, account, "shop", by=BY)
    token = await tokens.create(database, account, "t", [Scope.READ], by=BY)
    connection = await connections.create(database, account, form(), by=BY)
    key = await access_keys.rotate(database, account, connection.connection.id, by=BY)
    made += [(agent, agent.text), (token, token.text), (connection, connection.access_key), (key, key.text)]
    for answer, secret in made:
        assert secret.get_secret_value() not in f"{answer} {answer!r}"


async def _fail(*_: Any, **__: Any) -> None:
    raise DatabaseUnavailable("in the middle of it")
