"""The trigger `product-catalogue`: one cycle looks over a bounded part of a catalogue, and tells what changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from relay.gateway.errors import GatewayError
from relay.prestashop.catalogue_items import UNREADABLE, Items, digest_of, fitted, removed
from relay.prestashop.catalogue_overview import Overview
from relay.prestashop.catalogue_window import Finding, OpenTimes, Verdict, compare, end_of
from relay.prestashop.order_trigger import fault_of
from relay.prestashop.store_errors import StoreError
from relay.prestashop.watermark import Moment
from relay.trigger_records import Cycle, Entry, Fault, Noted, Section

EVENT_BYTES = 256 * 1024
"""Of one event's items, as JSON."""
READ_AT_ONCE = 25
"""Things that are read whole: what does not fit into the event is read again by the next cycle."""
ENTRIES_AT_ONCE = 1000
"""Of what is known, held in memory for one window."""
ENTRIES_MOST = 2000
"""Of one cycle, written in one transaction."""
SECONDS = 30.0
"""After so long no further part is asked for: what was read is written down before a slow store reads on."""
THINGS_MOST = 500_000
"""Of one section: each is known by some 150 bytes in the relay's database."""
_ENDLESS = 2**63 - 1

Known = Callable[[Section, int, int], Awaitable[list[Entry]]]
"""What is known of a section behind an id, at most so many, in the order of ids."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a trigger has come: whole runs, and in the one under way the section and the last id dealt with."""

    runs: int = 0
    section: Section = Section.CATEGORY
    after: int = 0
    count: int = 0
    """Things of the section up to there, as far as they had to be dealt with."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Place:
        """As `state` gave it, JSON in between; empty: at the very beginning."""
        return cls(**{**state, "section": Section(state["section"])}) if state else cls()

    @property
    def state(self) -> dict[str, Any]:
        return {"runs": self.runs, "section": self.section.value, "after": self.after, "count": self.count}

    def behind(self, id_: int, findings: Sequence[Finding]) -> Place:
        """Behind an id up to which these have been dealt with."""
        there = sum(each.id > self.after and each.verdict is not Verdict.GONE for each in findings)
        return replace(self, after=id_, count=self.count + there)

    @property
    def next(self) -> Place:
        """Behind this section."""
        sections = list(Section)
        index = sections.index(self.section) + 1
        return Place(self.runs, sections[index]) if index < len(sections) else Place(self.runs + 1)


@dataclass(slots=True)
class CatalogueCycle:
    """One cycle, of one section. The first run of all only takes note: the snapshot tells what is there.

    `clock` is the relay's, unix seconds; `snapshot` the address of the snapshot.
    """

    items: Items
    known: Known
    clock: Callable[[], float]
    place: Place
    ceiling: int
    snapshot: str
    _told: list[dict[str, Any]] = field(default_factory=list)
    _bytes: int = 0
    _entries: list[Entry] = field(default_factory=list)
    _gone: list[int] = field(default_factory=list)

    async def run(self) -> Cycle:
        """What came of it, also if the store failed on the way: what was read until then counts."""
        section = self.place.section
        try:
            await self._read()
        except (GatewayError, StoreError) as error:
            return self._cycle(section, fault=fault_of(error))
        over = self.place.section is not section and self.place == Place(self.place.runs)
        if over and self.place.runs == 1:
            self._told.append({"kind": "ready", "snapshot": self.snapshot})
        return self._cycle(section, unfinished=not over)

    async def _read(self) -> None:
        """Window by window, until the section ends or the cycle has had its share. Raises GatewayError, StoreError."""
        began = self.clock()
        overview = Overview(self.items.shop, self.place.section)
        moment = await overview.moment(self.clock)
        while True:
            if self.place.count > THINGS_MOST:
                raise StoreError("catalogue_too_large", f"it has more than {THINGS_MOST} in one list", status=200)
            end, findings = await self._window(overview, moment)
            if not await self._deal(overview, findings, began):
                return
            if end == _ENDLESS:
                self.place = self.place.next
                return
            self.place = self.place.behind(end, findings)
            if len(self._entries) >= ENTRIES_MOST or self._late(began):
                return

    async def _window(self, overview: Overview, moment: Moment) -> tuple[int, list[Finding]]:
        page = await overview.page(self.place.after)
        if page is None:
            return _ENDLESS, []
        entries = await self.known(self.place.section, self.place.after, ENTRIES_AT_ONCE + 1)
        listed = [row.id for row in page.rows]
        whole = len(entries) <= ENTRIES_AT_ONCE
        end = end_of(listed, entries, listed_all=not page.more, entries_all=whole)
        now = replace(moment, shop=moment.apart + int(self.clock()))
        seen = await overview.seen([row for row in page.rows if row.id <= end])
        return end, compare(
            seen, [entry for entry in entries if entry.id <= end], OpenTimes.at(now, self.items.facts.tz)
        )

    async def _deal(self, overview: Overview, findings: Sequence[Finding], began: float) -> bool:
        """False where the rest of the window is left for the next cycle."""
        if self.place.runs == 0:
            self._entries += [each.entry for each in findings if each.entry]
            self._gone += [each.id for each in findings if each.verdict is Verdict.GONE]
            return True
        asked = [each for each in findings if each.verdict is not Verdict.SAME]
        for at in range(0, len(asked), READ_AT_ONCE):
            if at and self._late(began):
                return False
            if not await self._tell(overview, asked[at : at + READ_AT_ONCE]):
                return False
        return True

    async def _tell(self, overview: Overview, part: Sequence[Finding]) -> bool:
        gone = [each.id for each in part if each.verdict is Verdict.GONE]
        back = await overview.there(gone) if gone else set()
        wanted = [each.id for each in part if each.verdict is not Verdict.GONE]
        read = await self.items.of(self.place.section, wanted) if wanted else {}
        for finding in part:
            if finding.verdict is Verdict.GONE:
                fits = finding.id in back or self._tell_gone(finding.id)
            else:
                fits = finding.id not in read or self._tell_item(finding, read[finding.id])
            if not fits:
                return False
            self.place = self.place.behind(finding.id, [finding])
        return True

    def _tell_gone(self, id_: int) -> bool:
        if not self._put(removed(self.place.section, id_)):
            return False
        self._gone.append(id_)
        return True

    def _tell_item(self, finding: Finding, item: dict[str, Any]) -> bool:
        if finding.entry is None:
            return True
        entry = replace(finding.entry, content=digest_of(item))
        if item["kind"] == UNREADABLE:
            entry = replace(entry, settled=False)
        told_before = finding.verdict is Verdict.UNSETTLED and entry.content == finding.entry.content
        if not told_before and not self._put(item):
            return False
        self._entries.append(entry)
        return True

    def _put(self, item: dict[str, Any]) -> bool:
        """False where it has no room in the event."""
        item, size = fitted(item)
        if len(self._told) >= self.ceiling or (self._told and self._bytes + size > EVENT_BYTES):
            return False
        self._told.append(item)
        self._bytes += size
        return True

    def _late(self, began: float) -> bool:
        return self.clock() - began > SECONDS

    def _cycle(self, section: Section, *, unfinished: bool = False, fault: Fault | None = None) -> Cycle:
        noted = Noted(section, self._entries, self._gone) if self._entries or self._gone else None
        return Cycle(self.place.state, self._told, noted=noted, unfinished=unfinished, fault=fault)
