"""Listens to what happens on this node, looks now and then for what ends soon, and has somebody told."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

import structlog

from relay.alert_records import Alarm, Condition, Ending, Expected, Running, Word
from relay.health.alert_expiry import SOON_SECONDS, behind, ending
from relay.health.alert_rules import Rules
from relay.health.feed import Feed, MissedError, Notice
from relay.trigger_records import DeskAwayError, LeaseLostError

log = structlog.get_logger()

TICK_SECONDS = 1.0
AT_ONCE = 50
"""Words in one transaction: others wait for it."""
WAITING_MOST = 50_000
"""Words that wait for the database; then the oldest are lost."""
AGAIN_SECONDS = 5.0
"""After the database did not answer."""
LOOK_SECONDS = 3600.0
"""How often tokens, certificates and versions are looked at."""
RUNNING_SECONDS = 7 * 86_400
"""An instance that was not seen for so long is no news of its version."""
TOLD_MOST = 50_000


class Desk(Protocol):
    """Where it is on record what was told. Methods raise DeskAwayError."""

    async def open(self) -> Collection[Condition]: ...

    async def expected(self, before: int, /) -> Sequence[Expected]: ...

    async def tell(self, words: Sequence[Word], /) -> list[Word]:
        """Those that were news. Raises LeaseLostError if others wrote the same in this moment."""

    async def prune(self) -> None: ...


class Book(Protocol):
    """What ends, and what runs. Methods raise DeskAwayError."""

    async def endings(self, before: int, /) -> Sequence[Ending]: ...

    async def running(self, since: int, version: str, /) -> Sequence[Running]: ...


class Alerting:
    """`clock` is unix seconds; `here` says whether an agent has a tunnel, `certificates` which this node has seen."""

    def __init__(
        self,
        feed: Feed,
        desk: Desk,
        book: Book,
        *,
        version: str,
        clock: Callable[[], float],
        here: Callable[[str], bool],
        certificates: Callable[[], Iterable[Ending]],
    ) -> None:
        self._feed = feed
        self._desk = desk
        self._book = book
        self._version = version
        self._clock = clock
        self._here = here
        self._certificates = certificates
        self._began = int(clock())
        self._rules = Rules(self._began)
        self._heard = feed.last
        self._waiting: deque[Word] = deque(maxlen=WAITING_MOST)
        self._came = asyncio.Event()
        self._told: set[Condition] = set()
        """Of what ends soon: it is looked at again and again."""

    async def run(self) -> None:
        """Until cancelled."""
        await self._begin()
        async with asyncio.TaskGroup() as group:
            for steps in (self._listen(), self._keep_time(), self._look(), self._write()):
                group.create_task(steps)

    async def _begin(self) -> None:
        """Learn what is on record; nothing is told before."""
        while True:
            try:
                self._rules.know(await self._desk.open())
                self._rules.expect(await self._desk.expected(self._began))
            except DeskAwayError:
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return

    async def _listen(self) -> None:
        with self._feed.subscription() as subscription:
            self._hear_since()
            while True:
                with contextlib.suppress(MissedError):
                    await subscription.take()
                self._hear_since()

    def _hear_since(self) -> None:
        """All that was published since, also what a subscription had to drop."""
        try:
            notices = self._feed.since(self._heard)
        except MissedError:
            log.warning("more has happened than is kept: alerts may be missing")
            notices = []
        self._heard = self._feed.last
        self._hear(notices)

    def _hear(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            self._say(self._rules.hear(notice))

    async def _keep_time(self) -> None:
        while True:
            self._say(self._rules.due(int(self._clock()), self._here))
            await asyncio.sleep(TICK_SECONDS)

    async def _look(self) -> None:
        while True:
            wait = LOOK_SECONDS
            try:
                self._say(await self.look())
                await self._desk.prune()
            except DeskAwayError:
                wait = AGAIN_SECONDS
            except Exception:
                log.exception("what ends soon could not be looked at")
            await asyncio.sleep(wait)

    async def look(self) -> list[Alarm]:
        """What ends soon or is out of date, and was not told since this node began. Raises DeskAwayError."""
        now = int(self._clock())
        endings = [*await self._book.endings(now + SOON_SECONDS), *self._certificates()]
        found = [alarm for one in endings if (alarm := ending(one, now))]
        found += behind(await self._book.running(now - RUNNING_SECONDS, self._version), self._version, now)
        new = [alarm for alarm in found if alarm.condition not in self._told]
        if len(self._told) > TOLD_MOST:
            self._told.clear()
        self._told.update(alarm.condition for alarm in new)
        return new

    def _say(self, words: Sequence[Word]) -> None:
        if words:
            self._waiting.extend(words)
            self._came.set()

    async def _write(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            while self._waiting:
                words = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
                try:
                    self._publish(await self._desk.tell(words))
                except (DeskAwayError, LeaseLostError) as error:
                    log.warning("alerts wait", reason=str(error), waiting=len(self._waiting))
                    self._waiting.extendleft(reversed(words[max(0, len(self._waiting) + len(words) - WAITING_MOST) :]))
                    await asyncio.sleep(AGAIN_SECONDS)
                except Exception:
                    log.exception("alerts are lost", number=len(words))

    def _publish(self, news: Sequence[Word]) -> None:
        """Whoever looks on hears of what ends soon as well; the rest is where it comes from."""
        for word in news:
            if isinstance(word, Alarm) and word.condition in self._told:
                about = word.about
                self._feed.publish(
                    word.condition.kind.value,
                    account=word.condition.account,
                    agent=about.agent,
                    connection=about.connection,
                    **{name: value for name, value in about.details.items() if name != "remedy"},
                )
