"""Lists in pages: without holes or repeats while rows come and go, in parts that the store can bear, read ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateway.call import Answer
from relay.prestashop.paging import CursorError, Reader, ahead, decode_cursor, encode_cursor
from relay.prestashop.query import Query
from relay.prestashop.rows import Row
from relay.prestashop.shop import Shop
from relay.prestashop.store_errors import StoreError
from tests.relay.prestashop.scene import place


async def ids_of(reader: Reader, shop: Shop, count: int) -> list[int]:
    found: list[int] = []
    while True:
        page = await reader.page(shop, found[-1] if found else 0, count)
        found += [row.id for row in page.rows]
        if not page.more:
            return found


@pytest.mark.parametrize("count", [1, 3, 19, 50])
async def test_the_whole_list(count: int) -> None:
    """Pages of any size make up the list, and the last one says that it is the last."""
    async with place() as here:
        wanted = sorted(here.store.shop["products"].rows)
        assert await ids_of(Reader(Query("products", "[id]")), here.shop, count) == wanted


async def test_rows_that_go_shift_nothing() -> None:
    """A row deleted from a page that was read makes no hole in the next one."""
    async with place() as here:
        reader = Reader(Query("products", "[id]"))
        first = await reader.page(here.shop, 0, 5)
        here.store.shop["products"].delete(2)
        second = await reader.page(here.shop, first.last, 5)
        assert [row.id for row in first.rows + second.rows] == list(range(1, 11))


async def test_pages_that_are_too_much() -> None:
    """A store that dies over a page is asked for less, gives all the same, and is asked for no more after that."""
    async with place() as here:
        row = len((await here.shop.rows(Query("products", limit=1)))[0].fields)
        here.store.knobs.fatal_cells = row * 9
        wanted = sorted(here.store.shop["products"].rows)
        assert await ids_of(Reader(Query("products")), here.shop, 50) == wanted
        failed = [seen for seen in here.store.requests if seen.status == 500]
        assert 1 <= len(failed) <= 5


async def test_a_row_that_is_too_much() -> None:
    """What fails row by row is an error."""
    async with place(fatal=True) as here:
        with pytest.raises(StoreError) as caught:
            await Reader(Query("products")).page(here.shop, 0, 50)
        assert caught.value.code == "php_fatal"


@pytest.mark.parametrize("ids", [[2, 1], [1, 1], [0], [1, 2, 3, 4]])
async def test_lists_that_do_not_keep_order(ids: list[int]) -> None:
    """Rows that come otherwise than asked for are an error: they would be read for ever, or with holes."""

    class Unruly(Shop):
        async def answered(self, query: Query) -> tuple[list[Row], Answer]:
            del query
            return [Row(id_, {}) for id_ in ids], Answer(200, "OK", (), b"", 0.1)

    async with place() as here:
        with pytest.raises(StoreError) as caught:
            await Reader(Query("products")).page(Unruly(here.gateway, here.connection), 0, 2)
    assert caught.value.code == "store_out_of_order"


async def test_reading_ahead_is_bounded() -> None:
    """While the taker rests, two parts are made and one waits to be put away; no more."""
    made = 0

    async def parts() -> AsyncIterator[int]:
        nonlocal made
        for number in range(100):
            made += 1
            yield number

    taken = ahead(parts(), most=2)
    assert await anext(taken) == 0
    for _ in range(50):
        await asyncio.sleep(0)
    assert made == 4
    assert [number async for number in taken] == list(range(1, 100))


async def test_reading_ahead_overlaps() -> None:
    """The next part is made before it is asked for."""
    second_begun = asyncio.Event()

    async def parts() -> AsyncIterator[int]:
        yield 1
        second_begun.set()
        yield 2

    taken = ahead(parts())
    assert await anext(taken) == 1
    async with asyncio.timeout(5):
        await second_begun.wait()
    assert [number async for number in taken] == [2]


async def test_errors_come_after_what_was_read() -> None:
    """What failed while reading ahead is told once everything before it has been taken."""

    async def parts() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise StoreError("php_fatal", "", status=500)

    taken = ahead(parts())
    assert [await anext(taken), await anext(taken)] == [1, 2]
    with pytest.raises(StoreError):
        await anext(taken)


async def test_a_taker_that_leaves_ends_the_reading() -> None:
    """Nothing is read for nobody."""
    ended = asyncio.Event()

    async def parts() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(0)
        finally:
            ended.set()

    taken = ahead(parts())
    assert await anext(taken) == 1
    await taken.aclose()  # type: ignore[attr-defined]  # it is a generator
    async with asyncio.timeout(5):
        await ended.wait()


@given(after=st.integers(1, 2**63 - 1), asked=st.text(max_size=40), other=st.text(max_size=40))
def test_cursors(after: int, asked: str, other: str) -> None:
    """A cursor leads where it was made for, and nowhere in another list."""
    cursor = encode_cursor(after, asked)
    assert decode_cursor(cursor, asked) == after
    if other != asked:
        with pytest.raises(CursorError):
            decode_cursor(cursor, other)


@given(cursor=st.text(max_size=200))
def test_cursors_that_are_none(cursor: str) -> None:
    """Whatever else is given as a cursor is refused."""
    with pytest.raises(CursorError):
        decode_cursor(cursor, "list")
