"""From what happens to what is written down: nothing lost while the database is away, or when much happens at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterable, Sequence

import pytest

from relay.alert_records import About, AlertKind, Condition, Ending, Expected, Running, Word
from relay.health import alerting
from relay.health.alert_rules import GRACE_SECONDS, START_SECONDS
from relay.health.alerting import Alerting
from relay.health.feed import Feed
from relay.trigger_records import DeskAwayError

BEGAN = 1_760_000_000
DAY = 86_400
SECONDS = 5.0


class Desk:
    """What was told, and a database that may be away. It is its own book of what ends."""

    def __init__(self) -> None:
        self.words: list[Word] = []
        self.came = asyncio.Event()
        self.conditions: set[Condition] = set()
        self.waited_for: list[Expected] = []
        self.ending: list[Ending] = []
        self.behind: list[Running] = []
        self.away = False
        self.broken = False
        self.most = 0

    async def open(self) -> Collection[Condition]:
        self._check()
        return self.conditions

    async def expected(self, before: int) -> Sequence[Expected]:
        assert before == BEGAN
        return self.waited_for

    async def tell(self, words: Sequence[Word]) -> list[Word]:
        await asyncio.sleep(0)
        self._check()
        if self.broken:
            raise RuntimeError("what nobody foresaw")
        self.most = max(self.most, len(words))
        self.words += words
        self.came.set()
        return list(words)

    async def prune(self) -> None:
        self._check()

    async def endings(self, before: int) -> Sequence[Ending]:
        self._check()
        return [each for each in self.ending if each.ends_at < before]

    async def running(self, since: int, version: str) -> Sequence[Running]:
        assert (since < BEGAN, version) == (True, "1.2.3")
        return self.behind

    def kinds(self) -> list[str]:
        return [word.condition.kind.value for word in self.words]

    def _check(self) -> None:
        if self.away:
            raise DeskAwayError


class Scene:
    def __init__(self) -> None:
        self.now = BEGAN
        self.desk = Desk()
        self.feed = Feed(lambda: self.now)
        self.here: set[str] = set()
        self.certificates: list[Ending] = []
        self.alerting = Alerting(
            self.feed,
            self.desk,
            self.desk,
            version="1.2.3",
            clock=lambda: self.now,
            here=self.here.__contains__,
            certificates=self._certificates,
        )

    def refuse(self, connection: str) -> None:
        self.feed.publish(
            "store.key_refused", account="acc_one", agent="agt_one", connection=connection, code="key_unknown"
        )

    async def until(self, number: int) -> None:
        async with asyncio.timeout(SECONDS):
            while len(self.desk.words) < number:
                self.desk.came.clear()
                await self.desk.came.wait()

    def _certificates(self) -> Iterable[Ending]:
        return self.certificates


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(alerting, "AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(alerting, "TICK_SECONDS", 0.01)
    return Scene()


@contextlib.asynccontextmanager
async def running(played: Scene) -> AsyncIterator[None]:
    task = asyncio.create_task(played.alerting.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_what_happens_is_told_in_its_order(scene: Scene) -> None:
    """Also what happened before it began to listen."""
    scene.refuse("con_0")
    async with running(scene):
        for number in range(1, 200):
            scene.refuse(f"con_{number}")
        await scene.until(200)
    assert [word.condition.subject for word in scene.desk.words] == [f"con_{number}" for number in range(200)]
    assert scene.desk.most == alerting.AT_ONCE


async def test_more_at_once_than_a_subscriber_is_kept(scene: Scene) -> None:
    """Five thousand in one turn of the loop: all are told."""
    async with running(scene):
        await asyncio.sleep(0.05)
        for number in range(5000):
            scene.refuse(f"con_{number}")
        await scene.until(5000)
    assert len({word.condition.subject for word in scene.desk.words}) == 5000


async def test_a_database_that_is_away_is_waited_for(scene: Scene) -> None:
    """From the start, and later; nothing is lost or told out of order."""
    scene.desk.away = True
    async with running(scene):
        scene.refuse("con_1")
        await asyncio.sleep(0.1)
        scene.desk.away = False
        await scene.until(1)
        scene.desk.away = True
        scene.refuse("con_2")
        await asyncio.sleep(0.1)
        scene.refuse("con_3")
        scene.desk.away = False
        await scene.until(3)
    assert [word.condition.subject for word in scene.desk.words] == ["con_1", "con_2", "con_3"]


async def test_a_fault_does_not_end_it(scene: Scene) -> None:
    """What could not be written is lost, the next is not."""
    async with running(scene):
        scene.desk.broken = True
        scene.refuse("con_1")
        await asyncio.sleep(0.05)
        scene.desk.broken = False
        scene.refuse("con_2")
        await scene.until(1)
    assert [word.condition.subject for word in scene.desk.words] == ["con_2"]


async def test_agents_that_do_not_come_back_after_a_restart(scene: Scene) -> None:
    """Told when the time for it is over, but for those that have a tunnel."""
    scene.desk.waited_for = [Expected("acc_one", agent, BEGAN - 30) for agent in ("agt_one", "agt_two")]
    scene.here.add("agt_two")
    async with running(scene):
        scene.now = BEGAN + START_SECONDS - 1
        await asyncio.sleep(0.05)
        assert scene.desk.words == []
        scene.now = BEGAN + START_SECONDS
        await scene.until(1)
        await asyncio.sleep(0.05)
    assert [(word.condition.kind, word.condition.subject) for word in scene.desk.words] == [
        (AlertKind.AGENT_OFFLINE, "agt_one")
    ]


async def test_an_agent_that_is_lost_is_told_after_the_grace(scene: Scene) -> None:
    """By the clock alone: nothing else needs to happen."""
    scene.now = BEGAN + 10 * START_SECONDS
    async with running(scene):
        scene.feed.publish("agent.offline", account="acc_one", agent="agt_one", planned=False)
        await asyncio.sleep(0.05)
        assert scene.desk.words == []
        scene.now += GRACE_SECONDS
        await scene.until(1)
        scene.feed.publish("agent.online", account="acc_one", agent="agt_one")
        await scene.until(2)
    assert scene.desk.kinds() == ["agent.offline"] * 2


async def test_what_ends_soon_is_told_once_and_published(scene: Scene) -> None:
    """Tokens, stores' and the relay's certificates, versions behind; whoever looks on hears of it as well."""
    token = Ending(AlertKind.TOKEN_EXPIRING, "acc_one", "tok_one", BEGAN + 5 * DAY, About(details={"name": "ERP"}))
    far = Ending(AlertKind.TOKEN_EXPIRING, "acc_one", "tok_two", BEGAN + 50 * DAY, About())
    scene.desk.ending = [token, far]
    scene.certificates = [Ending(AlertKind.CERTIFICATE_EXPIRING, None, "relay", BEGAN + DAY, About())]
    scene.desk.behind = [Running("acc_one", "agt_one", "ins_one", "1.0.0")]
    async with running(scene):
        await scene.until(3)
        assert await scene.alerting.look() == []
    wanted = ["token.expiring", "certificate.expiring", "agent.version_behind"]
    assert scene.desk.kinds() == wanted
    notices = scene.feed.since(scene.feed._first)
    assert [notice.kind for notice in notices] == wanted
    assert [notice.account for notice in notices] == ["acc_one", None, "acc_one"]
    assert notices[0].details == {"subject": "tok_one", "expires_at": BEGAN + 5 * DAY, "days": 7, "name": "ERP"}
    scene.now = BEGAN + 4 * DAY + 1
    assert [alarm.about.details["days"] for alarm in await scene.alerting.look()] == [1]
