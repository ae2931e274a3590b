"""Which changed rows of a shop are new: a sweep over `date_upd` that loses nothing, decided without asking anybody.

The rules.

1. `date_upd` is the shop's local time, without offset, in whole seconds, written before it can be seen. So a row may
   appear late (`OVERLAP_SECONDS` at most), a second may be written to until it is over, and an hour may come twice.
2. A *sweep* reads all rows from a first time on, in the order of (`date_upd`, id), in as many pages and cycles as it
   takes. Whatever changes after the sweep began is for the next one.
3. The next sweep begins at the earliest local time that the shop's clock can have shown since the last one began, or
   in the overlap before it. That clock is the `Date` of its answers, put into its time zone; how far it is from the
   relay's, by any answer, is remembered for as long as the overlap, so that it may be set forward or back, by law or
   by hand, also in the middle of a sweep.
4. A row of a second that is not over by that clock is left for the next sweep.
5. What was told once is not told again: the same id with the same `date_upd` and the same content.
6. The first sweep of all begins where the shop's clock stood when the trigger was created, by what that sweep sees of
   it, and in the overlap before. What it finds of earlier times is only remembered, however late the first look came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

from relay.prestashop.query import LATEST
from relay.prestashop.values import zone_of
from relay.trigger_records import Mark

OVERLAP_SECONDS: Final = 300
"""How late a row may become visible: a transaction that runs for longer is lost to everybody who polls."""
OPEN_SECONDS: Final = 2
"""A second counts as over when the shop's clock is so far past it: one for rounding, one for a second web server."""
KEEP_SECONDS: Final = 28 * 3600
"""Marks are kept for so long behind a sweep's beginning: another time zone takes it back by 26 hours at most, the end
of summer time by one. A clock that is set back further tells once more what it told of the times that it shows again.
"""
ZONE_SECONDS: Final = 900
"""How long a shop's new time zone may go unnoticed: what is known of a shop is remembered for 600 s."""
_QUARTER = 900
"""Clocks are only ever set by law at full quarters of an hour."""
_SET_BACK_SECONDS = 6 * 3600
"""For so long after a sweep's beginning the local clock may show less than then: more than any law sets it back by."""
_RECENT_MOST = 128
"""Moments remembered, one for a distance between the clocks: it varies by the seconds that an answer takes."""
_TEXT = "%Y-%m-%d %H:%M:%S"
_BEYOND = "9999-12-31 23:59:60"
"""Where no row is."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment by two clocks, unix seconds. `shop` is the earliest that fits the answer's `Date`."""

    shop: int
    relay: int
    seconds: int = 0
    """How much later it may have been by the shop's clock: as long as the answer took."""

    @property
    def apart(self) -> int:
        """By how much the shop's clock is ahead of the relay's."""
        return self.shop - self.relay


@dataclass(frozen=True, slots=True)
class Seen:
    """A row as it came."""

    id: int
    stamp: str
    digest: str

    @property
    def place(self) -> tuple[str, int]:
        return self.stamp, self.id


@dataclass(frozen=True, slots=True)
class Ask:
    """Rows with `first` <= date_upd <= `last`, and ids above `above`; in the order of date_upd and id."""

    first: str
    last: str = LATEST
    above: int | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep under way. `after` is the place of the last row that was dealt with.

    `inside`: a second that fills more than a page is being read by ids. `silent`: the first sweep of all, which only
    remembers what is of the time before the trigger.
    """

    began: Moment
    zone: str
    start: str
    silent: bool = False
    after: tuple[str, int] | None = None
    inside: bool = False
    corrected: bool = False
    """An answer has told where the shop's clock stood at the beginning."""


@dataclass(slots=True)
class Taken:
    """What an answer's rows came to. `past` is to be remembered, `new` to be told as well. `forget_before` is told at
    the end of a sweep: no mark of an earlier stamp will be asked for again.
    """

    new: list[Seen] = field(default_factory=list)
    past: list[Seen] = field(default_factory=list)
    finished: bool = False
    forget_before: str | None = None


@dataclass(slots=True)
class Watermark:
    """How far a trigger has read. `created` is when it was made, by the relay's clock, unix seconds. `last` is where
    the clocks stood when the last whole sweep began, `zone` as then; `recent` are the other moments that an overlap
    reaches back to, before it and since: of those at which the clocks stood equally far apart, the latest.
    """

    created: int
    last: Moment | None = None
    zone: str | None = None
    recent: tuple[Moment, ...] = ()
    sweep: Sweep | None = None

    @classmethod
    def of(cls, state: Mapping[str, Any], created: int) -> Watermark:
        """As `state` gave it, JSON in between; empty: as new."""
        last, sweep = state.get("last"), state.get("sweep")
        return cls(
            created,
            Moment(**last) if last else None,
            state.get("zone"),
            tuple(Moment(**each) for each in state.get("recent", ())),
            _sweep(sweep) if sweep else None,
        )

    @property
    def state(self) -> dict[str, Any]:
        """All of it that changes, for JSON."""
        return {name: value for name, value in asdict(self).items() if name != "created"}

    @property
    def ask(self) -> Ask:
        """What to ask for next."""
        sweep = self._under_way
        if sweep.after is None:
            return Ask(sweep.start)
        stamp, id_ = sweep.after
        return Ask(stamp, stamp, id_) if sweep.inside else Ask(stamp)

    def begin(self, relay: int, zone: str, tz: tzinfo) -> None:
        """Start a sweep, unless one is under way, as if no clock had been set since the last one: see `correct`."""
        if self.sweep is None:
            now = Moment(relay + (self.last.apart if self.last else 0), relay)
            self.sweep = Sweep(now, zone, self._start(now, zone, tz), silent=self.last is None)

    def correct(self, now: Moment, tz: tzinfo) -> bool:
        """Hear from an answer where the shop's clock stands. True: its rows begin too late, ask again."""
        sweep = self._under_way
        if sweep.after is not None or sweep.corrected:
            return False
        start = min(sweep.start, self._start(now, sweep.zone, tz))
        self.sweep = Sweep(now, sweep.zone, start, sweep.silent, corrected=True)
        return start < sweep.start

    def take(
        self, rows: Sequence[Seen], *, full: bool, room: int, now: Moment, tz: tzinfo, known: Mapping[int, Mark]
    ) -> Taken:
        """Deal with the rows of an answer to `ask`; `full`: it had as many as were asked for.

        At most `room` of them are new or past; the rest is left for later.
        """
        sweep, taken = self._under_way, Taken()
        past_before = self._past_before(sweep, tz)
        self.recent = _latest([*self.recent, now])
        still_open = _open_seconds(now, tz)
        place, cut = sweep.after, False
        for row in rows:
            if place is not None and row.place <= place:
                continue
            if row.stamp not in still_open and not _told(row, known):
                if len(taken.new) + len(taken.past) >= room:
                    cut = True
                    break
                (taken.past if row.stamp < past_before else taken.new).append(row)
            place = row.place
        if not cut and not full and not sweep.inside:
            self._finish(sweep, taken)
        else:
            self.sweep = _further(sweep, place, rows, cut=cut, full=full)
        return taken

    @property
    def _under_way(self) -> Sweep:
        if self.sweep is None:
            raise ValueError("no sweep is under way")
        return self.sweep

    def _finish(self, sweep: Sweep, taken: Taken) -> None:
        moments = _latest([*self.recent, self.last] if self.last else self.recent)
        reached = [each.relay < sweep.began.relay - OVERLAP_SECONDS for each in moments].count(True)
        self.recent = moments[max(0, reached - 1) :]
        self.last, self.zone, self.sweep = sweep.began, sweep.zone, None
        taken.finished = True
        taken.forget_before = _shifted(sweep.start, -KEEP_SECONDS)

    def _start(self, now: Moment, zone: str, tz: tzinfo) -> str:
        """The earliest text that a row can have which changed, or came to light, since the last sweep began."""
        if self.last is None:
            return self._since_created(now, OVERLAP_SECONDS, tz)
        aparts = {each.apart for each in (*self.recent, self.last, now)}
        begin, end = self.last.relay - OVERLAP_SECONDS - OPEN_SECONDS, now.relay
        if zone == self.zone:
            return min(_earliest(begin + apart, end + apart, tz) for apart in aparts)
        zones = {tz, zone_of(self.zone) or tz}
        return min(_earliest(begin + apart - ZONE_SECONDS, end + apart, each) for apart in aparts for each in zones)

    def _past_before(self, sweep: Sweep, tz: tzinfo) -> str:
        """What is earlier was there when the trigger was created: the local clock has not shown it since."""
        return self._since_created(sweep.began, OPEN_SECONDS, tz) if sweep.silent else ""

    def _since_created(self, now: Moment, before: int, tz: tzinfo) -> str:
        return _earliest(min(self.created, now.relay) + now.apart - before, now.shop, tz)


def _latest(moments: Sequence[Moment]) -> tuple[Moment, ...]:
    """In the order of time; one at which the clocks stood as far apart as at a later one says nothing more."""
    latest = {each.apart: each for each in sorted(moments, key=_by_relay)}
    return tuple(sorted(latest.values(), key=_by_relay)[-_RECENT_MOST:])


def _by_relay(moment: Moment) -> int:
    return moment.relay


def _sweep(state: Mapping[str, Any]) -> Sweep:
    after = state["after"]
    given = {**state, "began": Moment(**state["began"]), "after": (after[0], after[1]) if after else None}
    return Sweep(**given)


def _further(sweep: Sweep, place: tuple[str, int] | None, rows: Sequence[Seen], *, cut: bool, full: bool) -> Sweep:
    inside = sweep.inside
    if not cut and inside and not full and place is not None:
        place, inside = (_shifted(place[0], 1), 0), False
    elif full and not inside:
        inside = rows[0].stamp == rows[-1].stamp
    return replace(sweep, after=place, inside=inside)


def _told(row: Seen, known: Mapping[int, Mark]) -> bool:
    mark = known.get(row.id)
    return mark is not None and (mark.stamp, mark.digest) == (row.stamp, row.digest)


def _open_seconds(now: Moment, tz: tzinfo) -> frozenset[str]:
    """The seconds that may still be written to. As texts: at the end of summer time no order of them can be trusted."""
    seconds = range(now.shop - OPEN_SECONDS, now.shop + now.seconds + OPEN_SECONDS + 1)
    return frozenset(_text(second, tz) for second in seconds)


def _earliest(begin: int, end: int, tz: tzinfo) -> str:
    """The least text that the local clock shows between the two."""
    end = max(begin, min(end, begin + _SET_BACK_SECONDS))
    quarters = range(begin // _QUARTER * _QUARTER + _QUARTER, end + 1, _QUARTER)
    return min(_text(second, tz) for second in (begin, *quarters, end))


def _text(second: int, tz: tzinfo) -> str:
    return datetime.fromtimestamp(second, tz).strftime(_TEXT)


def _shifted(text: str, seconds: int) -> str:
    """So many seconds later on a clock that nobody sets."""
    try:
        return (datetime.strptime(text, _TEXT) + timedelta(seconds=seconds)).strftime(_TEXT)  # noqa: DTZ007 - local text
    except OverflowError:
        return text if seconds < 0 else _BEYOND
