"""What has changed in a part of a catalogue: the shop's list beside what was known of it, decided without asking.

The rules.

1. A list is read in windows, by id. A window ends where both sides have been read to: behind it neither the shop's list
   nor what is known of it says anything yet.
2. What is known and not in the list is gone; what is in the list and not known, or not as it was known, is told.
3. `date_upd` is a whole second, may be written to until that is over, and may come to light late. What was read so soon
   after its `date_upd`, by the shop's own clock, is not settled: the next run reads it once more, and tells it if it is
   not as it was told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from enum import Enum, auto

from relay.prestashop.catalogue_overview import Seen
from relay.prestashop.values import TIME_FORMAT
from relay.prestashop.watermark import OPEN_SECONDS, OVERLAP_SECONDS, Moment
from relay.trigger_records import Entry

_WEST, _EAST = timezone(timedelta(hours=-12)), timezone(timedelta(hours=14))
"""Between these is the shop whose zone is not known."""
_QUARTER = 900
"""Clocks are only ever set by law at full quarters of an hour."""
_ENDLESS = 2**63 - 1


class Verdict(Enum):
    SAME = auto()
    CHANGED = auto()
    """Or new."""
    UNSETTLED = auto()
    GONE = auto()


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one id. `entry` is what is to be known of it, `before` what was."""

    id: int
    verdict: Verdict
    entry: Entry | None = None
    before: Entry | None = None


@dataclass(frozen=True, slots=True)
class OpenTimes:
    """Between which texts a `date_upd` is too young for what was read of it to be the last word."""

    first: str
    last: str

    @classmethod
    def at(cls, now: Moment, tz: tzinfo | None) -> OpenTimes:
        """Without the shop's zone, wherever it is."""
        begin, end = now.shop - OVERLAP_SECONDS, now.shop + now.seconds + OPEN_SECONDS
        quarters = range(begin // _QUARTER * _QUARTER + _QUARTER, end + 1, _QUARTER)
        moments = [begin, end, *(quarter + by for quarter in quarters for by in (-1, 0))]
        texts = [_text(moment, zone) for moment in moments for zone in ([tz] if tz else [_WEST, _EAST])]
        return cls(min(texts), max(texts))

    def __contains__(self, stamp: str) -> bool:
        return self.first <= stamp <= self.last


def end_of(listed: Sequence[int], entries: Sequence[Entry], *, listed_all: bool, entries_all: bool) -> int:
    """The last id that both sides have been read to."""
    reached = _ENDLESS if listed_all else listed[-1]
    return min(reached, _ENDLESS if entries_all else entries[-1].id)


def compare(seen: Sequence[Seen], entries: Sequence[Entry], open_times: OpenTimes) -> list[Finding]:
    """A window's findings, in the order of ids."""
    before = {entry.id: entry for entry in entries}
    found = [_found(each, before.get(each.id), open_times) for each in seen]
    listed = {each.id for each in seen}
    found += [Finding(entry.id, Verdict.GONE, before=entry) for entry in entries if entry.id not in listed]
    return sorted(found, key=lambda finding: finding.id)


def _found(seen: Seen, before: Entry | None, open_times: OpenTimes) -> Finding:
    entry = Entry(seen.id, seen.digest, before.content if before else "", seen.stamp not in open_times)
    if before is None or before.overview != seen.digest:
        return Finding(seen.id, Verdict.CHANGED, entry, before)
    return Finding(seen.id, Verdict.SAME if before.settled else Verdict.UNSETTLED, entry, before)


def _text(moment: int, tz: tzinfo) -> str:
    return datetime.fromtimestamp(moment, tz).strftime(TIME_FORMAT)
