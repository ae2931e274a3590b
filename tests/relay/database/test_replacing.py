"""After the master keys were lost for good."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from relay.database import agent_tokens, agents, audit, authorities, connections, replacing, rotation
from relay.database.connection_form import ConnectionPatch
from relay.database.engine import Database, open_database
from relay.database.errors import Conflict, DatabaseError, DatabaseUnusable
from relay.database.records import EVERY_ACCOUNT
from relay.database.secrets import KeyFile, MasterKey, UnknownMasterKey
from relay.database.setup import prepare
from tests.relay.database.scene import BY, STORE_KEY, Installation, form


@pytest.fixture
async def bereft(database: Database, account: str, address: str, keys: KeyFile) -> AsyncIterator[Database]:
    """The database with two connections and an agent, and without its key file."""
    for name in "ab":
        await connections.create(database, account, form(name=name), by=BY)
    await agents.create(database, account, "shop", by=BY)
    keys.path.unlink()
    opened = await open_database(address, keys=KeyFile(keys.path))
    yield opened
    await opened.close()


async def test_everything_can_be_begun_anew(bereft: Database, account: str) -> None:
    """The relay starts again, keys are entered again one by one, agents enrol with new tokens, and rotation works."""
    with pytest.raises(DatabaseUnusable, match="replace-lost"):
        await prepare(bereft, by=BY)
    records = (await connections.page(bereft, account)).items
    done = await replacing.replace_lost(bereft, by=BY)
    assert set(done.connections) == {record.id for record in records}
    assert done.authorities == ("host_ca", "node_ca", "ssh_host_key", "user_ca")
    await prepare(bereft, by=BY)
    for record in records:
        assert (await connections.find(bereft, account, record.id)).key_works is False
        with pytest.raises(UnknownMasterKey):
            await connections.load(bereft, record.id)
        await connections.update(bereft, account, record.id, ConnectionPatch(api_key=SecretStr(STORE_KEY)), by=BY)
        loaded = await connections.load(bereft, record.id)
        assert loaded is not None
        assert loaded.api_key.get_secret_value() == STORE_KEY
    agent = await agents.find(bereft, account, "shop")
    token = await agent_tokens.create(bereft, account, agent.id, by=BY)
    assert (await Installation().enrol(bereft, token.text)).agent == agent.id
    assert (await rotation.rotate(bereft, by=BY)).sealed == len(records) + len(authorities.Kind)
    events = [event.action for event in (await audit.page(bereft, EVERY_ACCOUNT)).items]
    assert "keys.replace_lost" in events
    assert STORE_KEY not in str(await audit.page(bereft, EVERY_ACCOUNT))


async def test_a_key_is_entered_again_before_the_rest(bereft: Database, account: str, keys: KeyFile) -> None:
    """With any key file that can be read, a store's key may be given, although the old one does not open."""
    keys.create()
    record = await connections.find(bereft, account, "a")
    await connections.update(bereft, account, record.id, ConnectionPatch(api_key=SecretStr(STORE_KEY)), by=BY)
    assert await connections.load(bereft, record.id)
    assert len((await replacing.replace_lost(bereft, by=BY)).connections) == 1


async def test_only_what_is_lost_is_replaced(database: Database, account: str, keys: KeyFile) -> None:
    """Refused where everything opens; one connection sealed with a key that is gone leaves all else alone."""
    with pytest.raises(Conflict) as refused:
        await replacing.replace_lost(database, by=BY)
    assert refused.value.code == "nothing_lost"
    fingerprint = await authorities.host_ca_fingerprint(database)
    kept = keys.path.read_text()
    stray = MasterKey.generate()
    keys.path.write_text(stray.line + kept)
    lost = (await connections.create(database, account, form(), by=BY)).connection
    keys.path.write_text(kept)
    afresh = await open_database(database.engine.url.render_as_string(hide_password=False), keys=KeyFile(keys.path))
    try:
        done = await replacing.replace_lost(afresh, by=BY)
        assert (done.connections, done.authorities) == ((lost.id,), ())
        assert await authorities.host_ca_fingerprint(afresh) == fingerprint
        assert await authorities.load(afresh)
    finally:
        await afresh.close()


async def test_keys_from_elsewhere_are_not_made_here(bereft: Database, address: str, keys: KeyFile) -> None:
    """Where somebody else provides the file, the refusal says that it does not exist, and nothing is changed."""
    provided = await open_database(address, keys=KeyFile(keys.path, credential=True))
    try:
        before = await authorities.host_ca_fingerprint(provided)
        with pytest.raises(DatabaseError, match="does not exist"):
            await replacing.replace_lost(provided, by=BY)
        assert await authorities.host_ca_fingerprint(provided) == before
    finally:
        await provided.close()
