"""What nodes serve from: remembered, kept true, and bounded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import delete, update

from agent.wire.token import new_id
from relay.database import accounts, agent_tokens, agents, changes, connections, instances, tokens
from relay.database.connection_form import ConnectionPatch
from relay.database.credentials import digest
from relay.database.directory import SERVE_SECONDS, Directory
from relay.database.engine import Database, open_database
from relay.database.errors import DatabaseUnavailable
from relay.database.revocations import REMEMBER_SECONDS, Revocations
from relay.database.secrets import Keyring, MasterKey
from relay.database.shelf import LOOKUPS, Shelf
from relay.database.tables import ConnectionRow
from relay.records import MISSING, Change, Scope
from tests.relay.database.scene import BY, NOW, Clock, Installation, form


class Outage:
    """Makes a database unreachable, and reachable again; counts who asked."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away = False
        self.asked = 0
        self._more = asyncio.Event()
        reading = database.reading

        @contextlib.asynccontextmanager
        async def perhaps() -> AsyncIterator[object]:
            self.asked += 1
            self._more.set()
            if self.away:
                raise DatabaseUnavailable("pulled the plug")
            async with reading() as session:
                yield session

        monkeypatch.setattr(database, "reading", perhaps)

    async def times(self, number: int) -> None:
        """Wait until somebody has asked so often."""
        async with asyncio.timeout(10):
            while self.asked < number:
                self._more.clear()
                await self._more.wait()


@pytest.fixture
def steady() -> Clock:
    """The monotonic clock."""
    return Clock(1000.0)


@pytest.fixture
def outage(database: Database, monkeypatch: pytest.MonkeyPatch) -> Outage:
    return Outage(database, monkeypatch)


@pytest.fixture
async def directory(database: Database, steady: Clock) -> Directory:
    made = Directory(database, steady)
    await made.start()
    return made


@contextlib.asynccontextmanager
async def watching(directory: Directory) -> AsyncIterator[asyncio.Queue[Change]]:
    """Follow changes while the block runs; the queue gets each that was told."""
    told: asyncio.Queue[Change] = asyncio.Queue()

    def tell(batch: list[Change]) -> None:
        for change in batch:
            told.put_nowait(change)

    directory.subscribe(tell)
    task = asyncio.create_task(directory.watch())
    try:
        yield told
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def told_of(told: asyncio.Queue[Change], subject: str) -> Change:
    async with asyncio.timeout(5):
        while True:
            change = await told.get()
            if change.subject == subject:
                return change


async def test_ends_when_woken_and_cancelled_at_once(directory: Directory) -> None:
    """Stopping is not lost on a watch that was woken in the same moment."""
    task = asyncio.create_task(directory.watch())
    await asyncio.sleep(0.1)
    directory.wake()
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=2)
    assert done == {task}


async def test_remembers(database: Database, account: str, directory: Directory, outage: Outage) -> None:
    """Asked once, answered ever after without waiting; what is not there is remembered too."""
    made = await connections.create(database, account, form(), by=BY)
    absent = new_id("con")
    assert directory.peek_connection(made.connection.id) is MISSING
    found = await directory.connection(made.connection.id)
    assert found is not None
    assert await directory.connection(absent) is None
    asked = outage.asked
    assert directory.peek_connection(made.connection.id) is found
    assert await directory.connection(made.connection.id) is found
    assert directory.peek_connection(absent) is None
    assert await directory.connection(absent) is None
    assert outage.asked == asked


async def test_callers(database: Database, account: str, directory: Directory, clock: Clock) -> None:
    """A token is a caller until it expires, remembered or not; an unknown digest is nobody."""
    made = await tokens.create(database, account, "t", [Scope.READ], by=BY, expires_at=NOW + 10)
    sha256 = digest(made.text.get_secret_value())
    assert directory.peek_caller(sha256) is MISSING
    caller = await directory.caller(sha256)
    assert caller is not None
    assert (caller.account, caller.id, caller.scope) == (account, made.token.id, Scope.READ)
    assert directory.peek_caller(sha256) is caller
    clock.now = NOW + 10
    assert directory.peek_caller(sha256) is None
    assert await directory.caller(sha256) is None
    assert await directory.caller("0" * 64) is None


async def test_changes_of_another_process(
    database: Database, account: str, address: str, directory: Directory, clock: Clock
) -> None:
    """What a command line writes reaches a running node: the connection, its keys, the token, the absence."""
    made = await connections.create(database, account, form(), by=BY)
    token = await tokens.create(database, account, "t", [Scope.READ], by=BY)
    id_, sha256, nobody = made.connection.id, digest(token.text.get_secret_value()), "0" * 64
    elsewhere = await open_database(address, keys=database.keys, clock=clock)
    await directory.start()
    async with watching(directory) as told:
        await directory.connection(id_)
        await directory.caller(sha256)
        await directory.caller(nobody)
        await connections.update(elsewhere, account, id_, ConnectionPatch(name="new"), by=BY)
        assert (await told_of(told, id_)).revoked is False
        found = await directory.connection(id_)
        assert found is not None
        assert found.name == "new"
        await tokens.revoke(elsewhere, account, token.token.id, by=BY)
        assert (await told_of(told, token.token.id)).revoked is True
        assert directory.peek_caller(sha256) is MISSING
        assert directory.peek_caller(nobody) is MISSING
        assert await directory.caller(sha256) is None
        await connections.delete(elsewhere, account, id_, by=BY)
        await told_of(told, id_)
        assert await directory.connection(id_) is None
    await elsewhere.close()


async def test_revoked_within_a_second(database: Database, account: str, address: str, directory: Directory) -> None:
    """From the revoke to the word that cuts the tunnels: less than a second, without any hint."""
    made = await agents.create(database, account, "shop", by=BY)
    enrolled = await Installation().enrol(database, made.text)
    elsewhere = await open_database(address)
    loop = asyncio.get_running_loop()
    await directory.start()
    async with watching(directory) as told:
        since = loop.time()
        await instances.revoke(elsewhere, account, made.agent.id, enrolled.instance, by=BY)
        assert (await told_of(told, enrolled.instance)).revoked
        assert loop.time() - since < 1.0
        assert directory.revocations.is_revoked(made.agent.id, enrolled.instance, made.token.id)
    await elsewhere.close()


async def test_wake_looks_at_once(database: Database, account: str, directory: Directory, outage: Outage) -> None:
    """A hint makes the node look now, not at the next beat."""
    async with watching(directory) as told:
        await outage.times(outage.asked + 2)
        made = await accounts.create(database, "new", by=BY)
        since = asyncio.get_running_loop().time()
        directory.wake()
        await told_of(told, made.id)
        assert asyncio.get_running_loop().time() - since < 0.3


async def test_outage(database: Database, account: str, directory: Directory, outage: Outage, steady: Clock) -> None:
    """What is known serves for ten minutes; what is unknown is unavailable, never absent; then nothing serves."""
    made = await connections.create(database, account, form(), by=BY)
    known = await directory.connection(made.connection.id)
    assert await directory.caller("0" * 64) is None
    outage.away = True
    for later in (0, SERVE_SECONDS):
        steady.now = 1000.0 + later
        assert await directory.connection(made.connection.id) is known
        assert directory.peek_caller("0" * 64) is None
        with pytest.raises(DatabaseUnavailable):
            await directory.connection(new_id("con"))
        with pytest.raises(DatabaseUnavailable):
            await directory.caller("1" * 64)
    steady.now += 1
    assert directory.peek_connection(made.connection.id) is MISSING
    with pytest.raises(DatabaseUnavailable):
        await directory.connection(made.connection.id)
    assert not directory.healthy


async def test_watching_goes_on_after_an_outage(
    database: Database, account: str, directory: Directory, outage: Outage, steady: Clock
) -> None:
    """While the database is away nothing is confirmed; when it is back, what was missed is told, and all is well."""
    async with watching(directory) as told:
        outage.away = True
        steady.now += 60
        await outage.times(outage.asked + 2)
        assert not directory.healthy
        made = await agents.create(database, account, "shop", by=BY)
        outage.away = False
        directory.wake()
        await told_of(told, made.agent.id)
        await outage.times(outage.asked + 1)
        assert directory.healthy


async def test_follower_that_fails(database: Database, account: str, directory: Directory) -> None:
    """A follower's fault is its own: the others are told, and the next batch comes."""

    def fail(_: list[Change]) -> None:
        raise ZeroDivisionError

    directory.subscribe(fail)
    async with watching(directory) as told:
        for name in "ab":
            made = await agents.create(database, account, name, by=BY)
            directory.wake()
            assert await told_of(told, made.agent.id)


async def test_many_changes_in_order(database: Database, account: str, directory: Directory) -> None:
    """More changes than one batch: each is told once, in the order of its number."""
    async with database.writing() as session:
        for number in range(changes.BATCH + 50):
            await changes.append(session, "account", f"acc_{number}", at=NOW)
    async with watching(directory) as told:
        async with asyncio.timeout(10):
            got = [await told.get() for _ in range(changes.BATCH + 50)]
        assert [change.subject for change in got] == [f"acc_{number}" for number in range(changes.BATCH + 50)]
        assert told.empty()


async def test_old_changes_are_forgotten(database: Database, clock: Clock) -> None:
    """The table keeps three days; the numbers go on growing."""
    first = await changes.latest(database)
    clock.now += changes.KEEP_SECONDS + 1
    made = await accounts.create(database, "new", by=BY)
    kept = await changes.after(database, 0)
    assert [change.subject for change in kept] == [made.id]
    assert kept[0].seq > first


async def test_lookups_are_shared() -> None:
    """However many wait for one key, one lookup is made; whoever leaves does not take it along."""
    asked: list[str] = []
    answer = asyncio.Event()

    async def look_up(key: str) -> str:
        asked.append(key)
        await answer.wait()
        return key.upper()

    shelf = Shelf(look_up, present=2, absent=2)
    waiting = [asyncio.create_task(shelf.look_up("a")) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    answer.set()
    assert await asyncio.gather(*waiting[1:]) == ["A"] * 4
    assert asked == ["a"]
    assert shelf.peek("a") == "A"


async def test_lookup_that_saw_the_past_is_not_kept() -> None:
    """A change that arrives during a lookup: its answer is given to those who asked, and forgotten."""
    versions = iter(["old", "new"])
    answer = asyncio.Event()

    async def look_up(_: str) -> str:
        value = next(versions)
        await answer.wait()
        return value

    for forget in ("drop", "drop_where"):
        versions, answer = iter(["old", "new"]), asyncio.Event()
        shelf = Shelf(look_up, present=2, absent=2)
        early = asyncio.create_task(shelf.look_up("a"))
        await asyncio.sleep(0)
        if forget == "drop":
            shelf.drop("a")
        else:
            shelf.drop_where(lambda _: False)
        late = asyncio.create_task(shelf.look_up("a"))
        await asyncio.sleep(0)
        answer.set()
        assert (await early, await late) == ("old", "new")
        assert shelf.peek("a") == "new"


async def test_memory_is_bounded() -> None:
    """Guessed keys push out other guesses, never what is real; the least used real one goes first."""

    async def look_up(key: str) -> str | None:
        return key if key.startswith("real") else None

    shelf = Shelf(look_up, present=2, absent=3)
    for key in ("real1", "real2", *map(str, range(10))):
        await shelf.look_up(key)
    assert shelf.peek("real1") == "real1"
    assert [key for key in map(str, range(10)) if shelf.peek(key) is None] == ["7", "8", "9"]
    await shelf.look_up("real3")
    assert shelf.peek("real2") is MISSING
    assert shelf.peek("real1") == "real1"


async def test_flood_of_lookups_is_turned_away() -> None:
    """Beyond the bound, unknown keys are unavailable at once instead of queueing; a failed lookup frees its room."""
    answer = asyncio.Event()

    async def look_up(_: str) -> str:
        await answer.wait()
        raise DatabaseUnavailable("away")

    shelf = Shelf(look_up, present=2, absent=2)
    waiting = [asyncio.create_task(shelf.look_up(str(number))) for number in range(LOOKUPS)]
    await asyncio.sleep(0)
    with pytest.raises(DatabaseUnavailable, match="too many"):
        await shelf.look_up("one more")
    answer.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}
    with pytest.raises(DatabaseUnavailable, match="away"):
        await shelf.look_up("one more")
    assert shelf.peek("0") is MISSING


async def test_revocations_are_read_at_the_start(database: Database, account: str, clock: Clock) -> None:
    """A node that starts knows what was revoked within two lives of a certificate, and nothing older."""
    made = await agents.create(database, account, "shop", by=BY)
    token = await agent_tokens.create(database, account, made.agent.id, by=BY)
    enrolled = await Installation().enrol(database, token.text)
    await agent_tokens.revoke(database, account, made.agent.id, made.token.id, by=BY)
    await instances.release(database, account, made.agent.id, enrolled.instance, by=BY)
    await agents.delete(database, account, made.agent.id, by=BY)
    for later, expected in ((REMEMBER_SECONDS, True), (REMEMBER_SECONDS + 1, False)):
        clock.now = NOW + later
        directory = Directory(database)
        await directory.start()
        for ids in ((made.agent.id, "", ""), ("", enrolled.instance, ""), ("", "", made.token.id)):
            assert directory.revocations.is_revoked(*ids) is expected
        assert not directory.revocations.is_revoked("agt_x", "ins_x", token.token.id)


async def test_enrolled_again_is_lifted(database: Database, account: str, directory: Directory) -> None:
    """An instance that was released and let in again may use what it is given."""
    made = await agents.create(database, account, "shop", by=BY)
    installation = Installation()
    await installation.enrol(database, made.text)
    await instances.release(database, account, made.agent.id, installation.id, by=BY)
    directory.apply(await changes.after(database, 0))
    assert directory.revocations.is_revoked(made.agent.id, installation.id, made.token.id)
    await installation.enrol(database, made.text)
    directory.apply(await changes.after(database, 0))
    assert not directory.revocations.is_revoked(made.agent.id, installation.id, made.token.id)


def test_revocations_are_bounded_in_time(steady: Clock) -> None:
    """What no certificate can outlive is forgotten; renaming a revoked agent does not bring it back."""
    revocations = Revocations(steady)
    revocations.apply([Change(1, "agent", "agt_a", revoked=True)])
    steady.now += 10
    revocations.apply([Change(2, "agent", "agt_a", revoked=False), Change(3, "connection", "con_a", revoked=True)])
    assert revocations.is_revoked("agt_a", "", "")
    assert len(revocations) == 1
    steady.now += REMEMBER_SECONDS
    revocations.apply([])
    assert not revocations.is_revoked("agt_a", "", "")


async def test_key_that_does_not_open_is_no_absence(database: Database, account: str, directory: Directory) -> None:
    """A connection whose key is damaged, or sealed with a lost master key, is unavailable; it does not vanish."""
    made = await connections.create(database, account, form(), by=BY)
    async with database.writing() as session:
        await session.execute(update(ConnectionRow).values(store_url="http://evil.lan"))
    with pytest.raises(DatabaseUnavailable, match="altered or moved"):
        await directory.connection(made.connection.id)
    lost = Keyring((MasterKey.generate(),))
    async with database.writing() as session:
        row = await session.get_one(ConnectionRow, made.connection.id)
        row.key_sealed = lost.seal(b"key", connections.place(row))
    with pytest.raises(DatabaseUnavailable, match="not in the key file"):
        await directory.connection(made.connection.id)
    async with database.writing() as session:
        await session.execute(delete(ConnectionRow))
    assert await directory.connection(made.connection.id) is None
