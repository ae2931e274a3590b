"""Master keys renewed, under way and interrupted."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from sqlalchemy import JSON, String, cast, select

from relay.database import access_keys, accounts, agents, audit, authorities, connections, rotation, tokens
from relay.database.engine import Database, open_database
from relay.database.errors import Conflict
from relay.database.records import EVERY_ACCOUNT
from relay.database.secrets import KeyFile
from relay.database.tables import Row
from relay.records import Mode, Scope
from tests.relay.database.scene import BY, STORE_KEY, Clock, Installation, form

CONNECTIONS = 12
SEALED = CONNECTIONS + 4


@pytest.fixture
async def ids(database: Database, account: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(rotation, "BATCH", 5)
    made = [await connections.create(database, account, form(name=f"c{n}"), by=BY) for n in range(CONNECTIONS)]
    return [each.connection.id for each in made]


async def check_opens(database: Database, ids: list[str]) -> None:
    """Every secret opens, with a key file read afresh."""
    assert await authorities.load(database)
    for id_ in ids:
        loaded = await connections.load(database, id_)
        assert loaded is not None
        assert loaded.api_key.get_secret_value() == STORE_KEY


async def test_everything_is_sealed_again(database: Database, ids: list[str], keys: KeyFile) -> None:
    """A new key on the first line, with which everything is sealed; the older one is needed no more."""
    older = keys.keyring.current.id
    done = await rotation.rotate(database, by=BY)
    assert (done.sealed, done.older) == (SEALED, (older,))
    assert done.key == KeyFile(keys.path).keyring.current.id != older
    assert await rotation.count(database) == {done.key: SEALED}
    keys.path.write_text(keys.keyring.current.line)
    await check_opens(database, ids)
    assert [event.action for event in (await audit.page(database, EVERY_ACCOUNT, limit=2)).items] == [
        "keys.rotate",
        "keys.add",
    ]


@pytest.mark.parametrize("batches", [0, 1, 2])
async def test_interrupted_between_batches(
    database: Database, ids: list[str], keys: KeyFile, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    """Killed after any number of batches: everything opens, and the next run goes on with the same new key."""
    whole = rotation._seal_batch
    left = batches

    async def killed(database: Database) -> int:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return await whole(database)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(rotation, "_seal_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            await rotation.rotate(database, by=BY)
    added = KeyFile(keys.path).keyring.current.id
    counts = await rotation.count(database)
    assert counts[added] < SEALED
    assert sum(counts.values()) == SEALED
    await check_opens(database, ids)
    done = await rotation.rotate(database, by=BY)
    assert done.key == added
    assert done.sealed == SEALED - counts[added]
    assert len(KeyFile(keys.path).keyring.keys) == 2
    await check_opens(database, ids)


async def test_killed_in_the_middle_of_a_batch(
    database: Database, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch counts whole or not at all."""
    calls = 0
    seal = KeyFile.seal

    def failing(self: KeyFile, *given: object) -> str:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt
        return seal(self, *given)  # type: ignore[arg-type]  # passed on

    with monkeypatch.context() as interrupted:
        interrupted.setattr(KeyFile, "seal", failing)
        with pytest.raises(KeyboardInterrupt):
            await rotation.rotate(database, by=BY)
    await check_opens(database, ids)
    await rotation.rotate(database, by=BY)
    await check_opens(database, ids)


async def test_served_from_while_it_rotates(
    database: Database, ids: list[str], address: str, keys: KeyFile, clock: Clock
) -> None:
    """A running node, which read the key file before, opens everything throughout; what it writes stays readable."""
    running = await open_database(address, keys=KeyFile(keys.path), clock=clock)
    account = (await accounts.find(running, "default")).id
    await check_opens(running, ids)
    rotating = asyncio.create_task(rotation.rotate(database, by=BY))
    while not rotating.done():
        await check_opens(running, ids[:3])
    assert await rotating
    made = await connections.create(running, account, form(name="meanwhile"), by=BY)
    await check_opens(running, [*ids, made.connection.id])
    await check_opens(database, [*ids, made.connection.id])
    await running.close()


async def test_provided_keys(database: Database, ids: list[str], address: str, keys: KeyFile) -> None:
    """Keys that somebody else provides are not changed here; once a new first line is there, rotating uses it."""
    provided = await open_database(address, keys=KeyFile(keys.path, credential=True))
    with pytest.raises(Conflict, match="first line") as refused:
        await rotation.rotate(provided, by=BY)
    assert refused.value.code == "keys_elsewhere"
    added = keys.add_key().id
    done = await rotation.rotate(provided, by=BY)
    assert (done.key, done.sealed) == (added, SEALED)
    await check_opens(provided, ids)
    await provided.close()


async def test_no_secret_lies_open(
    database: Database, account: str, keys: KeyFile, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of all secrets that were ever shown or given, none is found in the database's tables, files or output."""
    made = await agents.create(database, account, "shop", by=BY)
    await Installation().enrol(database, made.text)
    token = await tokens.create(database, account, "t", [Scope.OPERATE], by=BY)
    connection = await connections.create(database, account, form(mode=Mode.ON_PREMISE, agent=made.agent.id), by=BY)
    key = await access_keys.rotate(database, account, connection.connection.id, by=BY)
    private = (await authorities.load(database)).user_ca.private_key.get_secret_value()
    await rotation.rotate(database, by=BY)
    texts = [each.get_secret_value() for each in (made.text, token.text, connection.access_key, key.text)]
    canaries = [text.encode() for text in texts] + [STORE_KEY.encode(), b"PRIVATE KEY", private.splitlines()[1]]
    canaries += [re.sub(r"^[a-z]+_", "", text).encode() for text in texts]
    dump = "\n".join([*await _rows(database), *capfd.readouterr()]).encode()
    await database.close()
    content = dump + _files(tmp_path, keys.path)
    assert connection.connection.id.encode() in content
    assert [canary for canary in canaries if canary in content] == []
    assert keys.keyring.current.secret not in content


def _files(directory: Path, but: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file() and path != but)


async def _rows(database: Database) -> list[str]:
    """Every cell of every table, as text."""
    cells = []
    async with database.reading() as session:
        for table in Row.metadata.sorted_tables:
            columns = [cast(c, String) if isinstance(c.type, JSON) else c for c in table.columns]
            cells += [str(tuple(row)) for row in await session.execute(select(*columns))]
    return cells
