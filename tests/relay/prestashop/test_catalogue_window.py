"""What has changed in a part of a catalogue, and between which texts a change is too young: decided without a shop."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.prestashop.catalogue_overview import Seen
from relay.prestashop.catalogue_window import OpenTimes, Verdict, compare, end_of
from relay.prestashop.watermark import OVERLAP_SECONDS, Moment
from relay.trigger_records import Entry

MADRID = ZoneInfo("Europe/Madrid")
NEVER = OpenTimes("9", "9")
TEXT = "%Y-%m-%d %H:%M:%S"
_ids = st.dictionaries(st.integers(1, 30), st.sampled_from("ab"), max_size=12)


@given(listed=_ids, known=_ids)
def test_every_id_gets_one_verdict(listed: dict[int, str], known: dict[int, str]) -> None:
    """In the order of ids; told what differs, gone what is not there, the same what is."""
    seen = [Seen(id_, "", digest) for id_, digest in sorted(listed.items())]
    entries = [Entry(id_, digest) for id_, digest in sorted(known.items())]
    found = compare(seen, entries, NEVER)
    assert [each.id for each in found] == sorted(listed.keys() | known.keys())
    for each in found:
        if each.id not in listed:
            assert each.verdict is Verdict.GONE
        else:
            assert (each.verdict is Verdict.SAME) == (listed[each.id] == known.get(each.id))


def test_a_window_ends_where_both_sides_have_been_read_to() -> None:
    """What lies behind is for the next one."""
    entries = [Entry(2, "a"), Entry(9, "a")]
    assert end_of([3, 7], entries, listed_all=False, entries_all=True) == 7
    assert end_of([3, 7], entries, listed_all=True, entries_all=False) == 9
    assert end_of([3, 11], entries, listed_all=False, entries_all=False) == 9
    assert end_of([], [], listed_all=True, entries_all=True) > 2**60


def test_what_is_not_settled_is_read_once_more() -> None:
    """Whether it changed or not; what it was told as is remembered."""
    young = OpenTimes("2026-01-01 00:00:00", "2026-01-01 00:05:00")
    (new,) = compare([Seen(1, "2026-01-01 00:03:00", "a")], [], young)
    assert new.entry == Entry(1, "a", "", settled=False)
    (again,) = compare([Seen(1, "2026-01-01 00:03:00", "a")], [Entry(1, "a", "told", settled=False)], NEVER)
    assert (again.verdict, again.entry) == (Verdict.UNSETTLED, Entry(1, "a", "told", settled=True))


@pytest.mark.parametrize("around", ["2026-03-29T01:00+00:00", "2026-10-25T01:00+00:00", "2026-07-01T12:00+00:00"])
@given(by=st.integers(-4000, 4000), age=st.integers(0, OVERLAP_SECONDS))
def test_whatever_the_clock_is_set_to_a_young_change_is_young(around: str, by: int, age: int) -> None:
    """Summer time begins, ends, or neither: in the zone, and where it is not known."""
    now = int(datetime.fromisoformat(around).timestamp()) + by
    stamp = datetime.fromtimestamp(now - age, MADRID).strftime(TEXT)
    for zone in (MADRID, None):
        assert stamp in OpenTimes.at(Moment(now, now, 2), zone)


def test_an_old_change_is_not_young() -> None:
    """Nor one of the far future, which a wrong clock has made."""
    now = int(datetime(2026, 7, 1, 12, tzinfo=MADRID).timestamp())
    young = OpenTimes.at(Moment(now, now, 2), MADRID)
    assert "2026-07-01 11:54:59" not in young
    assert "2026-07-01 11:55:00" in young
    assert "2027-07-01 12:00:00" not in young
    assert "2026-06-30 11:00:00" not in OpenTimes.at(Moment(now, now, 2), None)
