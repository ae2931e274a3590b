"""How many rows a page has: more while the store is quick, fewer where it is slow or lacks memory."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from relay.prestashop.page_sizes import (
    BAD_SECONDS,
    KEPT,
    PAGE_ROWS,
    PAGE_ROWS_MOST,
    PAGE_SECONDS,
    SLOW_SECONDS,
    PageSize,
    PageSizes,
)
from relay.prestashop.query import Query
from tests.relay.prestashop.scene import place

ALL = PAGE_ROWS_MOST + 1


def read(size: PageSize, pages: int, *, rows_most: int = 10**9, row_seconds: float = 0.0) -> list[int]:
    """So many pages one after the other of a store whose memory lasts for so many rows; what was asked for."""
    asked = []
    for _ in range(pages):
        asked.append(size.ask(ALL, 0.0))
        if asked[-1] > rows_most:
            size.failed(asked[-1], 0.0)
        else:
            size.answered(asked[-1], asked[-1], 0.08 + row_seconds * asked[-1])
    return asked


def test_quick_stores_are_asked_for_more() -> None:
    """Twice as many from page to page, up to all that may be asked for."""
    assert read(PageSize(), 5) == [PAGE_ROWS + 1, 102, 204, ALL, ALL]


@given(rows_most=st.integers(1, 300))
def test_what_failed_is_remembered(rows_most: int) -> None:
    """Whatever the memory lasts for: a few pages fail, then none, and the pages are not much smaller than could be."""
    size = PageSize()
    failed = [asked for asked in read(size, 20, rows_most=rows_most) if asked > rows_most]
    assert len(failed) <= 9
    later = read(size, 200, rows_most=rows_most)
    assert max(later) <= rows_most
    assert later[-1] * 5 >= min(rows_most, ALL) * 4 - 5


@given(row_seconds=st.floats(0.001, 2))
def test_pages_take_their_time_and_no_more(row_seconds: float) -> None:
    """About a second and a half of the store, where rows take long."""
    asked = read(PageSize(), 30, row_seconds=row_seconds)[-1]
    assert asked == 1 or 0.08 + row_seconds * asked <= SLOW_SECONDS
    assert asked == ALL or 0.08 + row_seconds * (asked + 1) * 2 >= PAGE_SECONDS / 2


def test_a_slow_page_makes_the_next_ones_shorter() -> None:
    """At most by half at once."""
    size = PageSize()
    size.answered(size.ask(51, 0.0), 51, 0.1)
    size.answered(size.ask(51, 0.0), 51, 30.0)
    assert size.ask(51, 0.0) == 25


def test_one_at_a_time_tries_more() -> None:
    """While a longer page is under way, the others ask for what is known to be good."""
    size = PageSize()
    size.answered(size.ask(ALL, 0.0), 51, 0.1)
    assert [size.ask(ALL, 0.0) for _ in range(4)] == [102, 51, 51, 51]
    size.dropped(102)
    assert size.ask(ALL, 0.0) == 102


def test_nothing_is_known_at_first() -> None:
    """While the first page is under way, the others ask for half of it."""
    size = PageSize()
    assert [size.ask(ALL, 0.0) for _ in range(3)] == [51, 25, 25]


def test_a_failed_size_is_tried_again_in_the_end() -> None:
    """It may have been the hour."""
    size = PageSize()
    size.answered(size.ask(ALL, 0.0), 51, 0.1)
    size.failed(size.ask(ALL, 0.0), 0.0)
    assert size.ask(ALL, BAD_SECONDS - 1) < 102
    assert size.ask(ALL, BAD_SECONDS) == 51
    size.dropped(76)
    assert size.ask(ALL, BAD_SECONDS) == 102


@given(
    st.lists(
        st.tuples(st.integers(1, ALL), st.integers(0, 3), st.floats(0, 100), st.floats(0, 1000)),
        max_size=60,
    )
)
def test_at_least_one_and_never_more_than_wanted(events: list[tuple[int, int, float, float]]) -> None:
    """Whatever stores do."""
    size, now = PageSize(), 0.0
    for wanted, what, seconds, later in events:
        now += later
        asked = size.ask(wanted, now)
        assert 1 <= asked <= wanted
        if what == 0:
            size.failed(asked, now)
        elif what == 1:
            size.dropped(asked)
        elif what == 2:
            size.answered(asked, asked, seconds)


async def test_lists_are_remembered_apart_and_within_bounds() -> None:
    """By account, connection, store, resource and display; another reader of the same list goes on where it was."""
    async with place() as here:
        sizes = PageSizes(here.gateway.clock)
        first = sizes.of(here.connection, Query("products"))
        assert sizes.of(here.connection, Query("products", filters=(("id", ">[5]"),))) is first
        for other in (replace(here.connection, account="acc_two"), replace(here.connection, id="con_other")):
            assert sizes.of(other, Query("products")) is not first
        for query in (Query("orders"), Query("products", "[id]")):
            assert sizes.of(here.connection, query) is not first
        for number in range(KEPT):
            sizes.of(replace(here.connection, id=f"con_{number}"), Query("products"))
        assert sizes.of(here.connection, Query("products")) is not first
        assert len(sizes._sizes) == KEPT


async def test_plain_fields_are_cheap() -> None:
    """Lists of them begin with long pages: 2,000 products came in a second where all their fields took five."""
    async with place() as here:
        sizes = PageSizes(here.gateway.clock)
        displays = ("full", "[id,categories[id]]", "[id,date_upd]")
        first = [sizes.of(here.connection, Query("products", display)).ask(ALL, 0.0) for display in displays]
        assert first == [51, 51, ALL]
