"""Public keys of machines that run stock OpenSSH: what is taken, who is found by one, and what is written about it."""

from __future__ import annotations

import hashlib
from typing import Any

import asyncssh
import pytest

from relay.database import agent_keys, agents
from relay.database.agent_keys import KEYS_MOST, PublicKey
from relay.database.directory import Directory
from relay.database.engine import Database
from relay.database.errors import Conflict, DatabaseUnavailable, Invalid, NotFound
from relay.database.records import EVERY_ACCOUNT, NewAgent
from relay.records import AgentKey
from tests.relay.database.scene import BY, written


def new_key(kind: str = "ssh-ed25519", *, comment: str = "", **more: int) -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(kind, comment=comment, **more)


def line(key: asyncssh.SSHKey) -> str:
    return key.export_public_key().decode()


def digest(key: asyncssh.SSHKey) -> str:
    return hashlib.sha256(key.public_data).hexdigest()


@pytest.fixture
async def shop(database: Database, account: str) -> NewAgent:
    return await agents.create(database, account, "shop", by=BY)


async def test_a_key_is_found_by_agent_and_digest(database: Database, account: str, shop: NewAgent) -> None:
    """It logs in as its own agent and as nobody else; both its coming and its going are events and changes."""
    key, agent = new_key(comment="root@till"), shop.agent.id
    other = await agents.create(database, account, "other", by=BY)
    record = await agent_keys.add(database, account, agent, line(key), by=BY)
    assert record.fingerprint == key.get_fingerprint()
    assert (record.comment, record.public_key) == ("root@till", " ".join(line(key).split()[:2]))
    assert await agent_keys.find(database, agent, digest(key)) == AgentKey(record.id, agent)
    assert await agent_keys.find(database, other.agent.id, digest(key)) is None
    assert await agent_keys.find(database, agent, digest(new_key())) is None
    assert await agent_keys.find(database, "root", digest(key)) is None
    await agent_keys.delete(database, account, agent, record.id, by=BY)
    assert await agent_keys.find(database, agent, digest(key)) is None
    events, changed = await written(database)
    assert events[-2:] == [("agent_key.add", record.id), ("agent_key.delete", record.id)]
    assert changed[-2:] == [("agent_key", record.id, False), ("agent_key", record.id, True)]


async def test_a_revoked_agents_keys_open_nothing(database: Database, account: str, shop: NewAgent) -> None:
    """Nor is another one taken; with the agent its keys are deleted."""
    key = new_key()
    await agent_keys.add(database, account, shop.agent.id, line(key), by=BY)
    await agents.revoke(database, account, shop.agent.id, by=BY)
    assert await agent_keys.find(database, shop.agent.id, digest(key)) is None
    with pytest.raises(Conflict, match="revoked"):
        await agent_keys.add(database, account, shop.agent.id, line(new_key()), by=BY)
    await agents.delete(database, account, shop.agent.id, by=BY)
    with pytest.raises(NotFound):
        await agent_keys.page(database, EVERY_ACCOUNT, shop.agent.id)


async def test_accounts_do_not_meet(database: Database, account: str, stranger: str, shop: NewAgent) -> None:
    """Another account neither lists, adds nor deletes; nor does one of one's own agents stand in for another."""
    key = new_key()
    record = await agent_keys.add(database, account, shop.agent.id, line(key), by=BY)
    other = await agents.create(database, account, "other", by=BY)
    for attempt in (
        agent_keys.page(database, stranger, shop.agent.id),
        agent_keys.add(database, stranger, shop.agent.id, line(new_key()), by=BY),
        agent_keys.delete(database, stranger, shop.agent.id, record.id, by=BY),
        agent_keys.delete(database, account, other.agent.id, record.id, by=BY),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert [each.id for each in (await agent_keys.page(database, account, shop.agent.id)).items] == [record.id]
    assert (await agent_keys.page(database, account, other.agent.id)).items == ()


async def test_a_key_once_and_so_many(database: Database, account: str, shop: NewAgent) -> None:
    """The same key twice is a mistake that is told, two agents may share one, and there is a bound."""
    key = new_key()
    await agent_keys.add(database, account, shop.agent.id, line(key), by=BY)
    with pytest.raises(Conflict, match="already"):
        await agent_keys.add(database, account, shop.agent.id, line(key).strip() + " again", by=BY)
    other = await agents.create(database, account, "other", by=BY)
    await agent_keys.add(database, account, other.agent.id, line(key), by=BY)
    for _ in range(KEYS_MOST - 1):
        await agent_keys.add(database, account, shop.agent.id, line(new_key()), by=BY)
    with pytest.raises(Conflict, match="delete one first"):
        await agent_keys.add(database, account, shop.agent.id, line(new_key()), by=BY)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("ssh-ed25519", {}),
        ("ecdsa-sha2-nistp256", {}),
        ("ecdsa-sha2-nistp521", {}),
        ("ssh-rsa", {"key_size": 2048}),
    ],
)
def test_keys_that_people_have(kind: str, more: dict[str, Any]) -> None:
    """Each kind that ssh-keygen makes for machines is read, with or without a comment and an empty line."""
    key = new_key(kind, **more)
    for text in (line(key), f"\n{line(key).strip()} someone at work\r\n\n"):
        read = PublicKey.read(text)
        assert (read.digest, read.line) == (digest(key), " ".join(line(key).split()[:2]))
    assert read.comment == "someone at work"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "one line"),
        ("nothing of a key", "not a public key"),
        ("ssh-ed25519 AAAA", "not a public key"),
        ("ssh-ed25519", "not a public key"),
        ("ssh-ed25519 é", "not a public key"),
        ('command="sh" ' + line(new_key()), "not a public key"),
        (line(new_key()) * 2, "one line"),
        (new_key().export_private_key().decode(), "private key"),
        (line(new_key("ssh-rsa", key_size=1024)), "2048 bits"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "not a public key"),
    ],
    ids=["empty", "text", "short", "bare", "accent", "options", "two", "private", "small", "old"],
)
def test_what_is_no_public_key_is_told_so(text: str, says: str) -> None:
    """In a sentence that says what to give instead."""
    with pytest.raises(Invalid, match=says) as refused:
        PublicKey.read(text)
    assert refused.value.field == "public_key"


def test_a_comment_cannot_act_on_a_terminal() -> None:
    """Control characters are left out, and what is long is cut."""
    read = PublicKey.read(line(new_key()).strip() + " a\x1b[31mb" + "c" * 500)
    assert read.comment.startswith("a[31mb")
    assert len(read.comment) == 100


async def test_a_node_remembers_keys_and_forgets_them(
    database: Database, account: str, shop: NewAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked up once; deleted or new keys, and revoked agents, are noticed with the next look at `changes`."""
    directory, key, agent = Directory(database), new_key(), shop.agent.id
    await directory.start()
    assert await directory.agent_key(agent, digest(key)) is None
    record = await agent_keys.add(database, account, agent, line(key), by=BY)
    await directory._poll()
    assert await directory.agent_key(agent, digest(key)) == AgentKey(record.id, agent)
    with monkeypatch.context() as away:

        async def fail(*_: object) -> None:
            raise DatabaseUnavailable("away")

        away.setattr(agent_keys, "find", fail)
        assert await directory.agent_key(agent, digest(key)) == AgentKey(record.id, agent)
        with pytest.raises(DatabaseUnavailable):
            await directory.agent_key(agent, digest(new_key()))
    await agent_keys.delete(database, account, agent, record.id, by=BY)
    await directory._poll()
    assert await directory.agent_key(agent, digest(key)) is None
    assert directory.revocations.is_revoked("agt_x", record.id, record.id)
    again = await agent_keys.add(database, account, agent, line(key), by=BY)
    await directory._poll()
    assert await directory.agent_key(agent, digest(key)) == AgentKey(again.id, agent)
    await agents.revoke(database, account, agent, by=BY)
    await directory._poll()
    assert await directory.agent_key(agent, digest(key)) is None
