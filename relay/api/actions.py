"""`/v1/connections/{id}/actions/…` that only read: lists in pages or as streams, and single things."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from relay.api.action_asking import (
    Call,
    Calling,
    Id,
    Paging,
    PagingWanted,
    Window,
    WindowWanted,
    expression,
    no_others,
    told,
)
from relay.api.action_shapes import (
    CartList,
    CustomerList,
    LastLine,
    Order,
    OrderList,
    OrderStateList,
    Product,
    ProductList,
    RawItem,
)
from relay.api.answers import Answer
from relay.api.authentication import account_router
from relay.api.openapi import refusals
from relay.api.problems import OF_ACTIONS, ProblemError, invalid, members_of, translate
from relay.api.shares import ShareExceededError
from relay.api.streams import NDJSON, CutShortError, Lines, wanted
from relay.database.errors import DatabaseError
from relay.prestashop.lists import Items, List, Wanted
from relay.prestashop.paging import CursorError, ahead, decode_cursor, encode_cursor
from relay.prestashop.query import FULL, equals
from relay.prestashop.resources import CARTS, CUSTOMERS, ORDER_STATES, ORDERS, PRODUCTS, Resource
from relay.prestashop.values import Facts

router: APIRouter = account_router("/v1/connections/{connection}/actions", "actions")
router.dependencies.append(Depends(no_others))

SHOP_ZONE = "Postern-Shop-Time-Zone"
_PRODUCTS_SHOWN = "[id,reference,name,price,active,date_upd]"
_ORDERS_SHOWN = "[id,reference,current_state,total_paid,id_customer,date_add,date_upd]"
_CUSTOMERS_SHOWN = "[id,firstname,lastname,email,active,date_add,date_upd]"
_REFUSALS = refusals("not_found", *OF_ACTIONS)
_ZONE_HEADER = {
    SHOP_ZONE: {"description": "The shop's time zone; absent where it is not known.", "schema": {"type": "string"}}
}
_READS: dict[int | str, dict[str, Any]] = {200: {"headers": _ZONE_HEADER}, **_REFUSALS}
_LISTS: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": _ZONE_HEADER,
        "content": {
            NDJSON: {
                "schema": {
                    "type": "string",
                    "description": "With `Accept: application/x-ndjson`: one item a line, to the list's end. A stream "
                    "that is not whole ends with a line that has `problem` and no `id`, and `next` to go on with; "
                    "where something failed, the transfer is broken off as well.",
                }
            }
        },
    },
    **_REFUSALS,
}


@router.get("/list-products", summary="List products", response_model=ProductList, responses=_LISTS)
async def list_products(
    call: Calling,
    paging: PagingWanted,
    window: WindowWanted,
    reference: Annotated[str | None, Query(max_length=255, description="Exactly this one, but for case.")] = None,
    active: Annotated[bool | None, Query()] = None,
) -> Response:
    """In the order of their ids. `quantity`, where asked for, is the real one, from stock_availables."""
    asked = Wanted(PRODUCTS, _PRODUCTS_SHOWN, _equal(reference=reference, active=active))
    return await _list(call, asked, paging, window)


@router.get("/get-product", summary="Get a product", response_model=Product | RawItem, responses=_READS)
async def get_product(
    call: Calling,
    id: Id,  # noqa: A002 - PrestaShop's name
) -> Response:
    """All of it, unless `fields` or `display` say less. Quantities are the real ones, from stock_availables."""
    return await _one(call, PRODUCTS, id)


@router.get("/list-orders", summary="List orders", response_model=OrderList, responses=_LISTS)
async def list_orders(
    call: Calling,
    paging: PagingWanted,
    window: WindowWanted,
    state: Annotated[Id | None, Query(description="The id of their current state.")] = None,
    customer: Annotated[Id | None, Query(description="The customer's id.")] = None,
) -> Response:
    """In the order of their ids. Any change of state moves an order's `date_upd`; tracking and payments do not."""
    asked = Wanted(ORDERS, _ORDERS_SHOWN, _equal(current_state=state, id_customer=customer))
    return await _list(call, asked, paging, window)


@router.get("/get-order", summary="Get an order with its rows", response_model=Order | RawItem, responses=_READS)
async def get_order(
    call: Calling,
    id: Id,  # noqa: A002 - PrestaShop's name
) -> Response:
    """All of it, unless `fields` or `display` say less; what was bought is in `order_rows`."""
    return await _one(call, ORDERS, id)


@router.get("/list-customers", summary="List customers", response_model=CustomerList, responses=_LISTS)
async def list_customers(
    call: Calling,
    paging: PagingWanted,
    email: Annotated[str | None, Query(max_length=255, description="Exactly this one, but for case.")] = None,
    active: Annotated[bool | None, Query()] = None,
) -> Response:
    """In the order of their ids."""
    asked = Wanted(CUSTOMERS, _CUSTOMERS_SHOWN, _equal(email=email, active=active))
    return await _list(call, asked, paging)


@router.get("/list-carts", summary="List carts with their rows", response_model=CartList, responses=_LISTS)
async def list_carts(
    call: Calling,
    paging: PagingWanted,
    window: WindowWanted,
    customer: Annotated[Id | None, Query(description="The customer's id.")] = None,
    abandoned: Annotated[
        bool | None,
        Query(description="Only carts without an order, or (false) with one. A page may then hold fewer than `limit`."),
    ] = None,
) -> Response:
    """In the order of their ids."""
    asked = Wanted(CARTS, FULL, _equal(id_customer=customer), abandoned=abandoned)
    return await _list(call, asked, paging, window)


@router.get("/order-states", summary="List order states", response_model=OrderStateList, responses=_LISTS)
async def list_order_states(
    call: Calling,
    paging: PagingWanted,
) -> Response:
    """Those that were deleted as well (`deleted`): old orders may be in them, no order can get there."""
    return await _list(call, Wanted(ORDER_STATES, FULL), paging)


def _equal(**values: str | bool | int | None) -> tuple[tuple[str, str], ...]:
    given = {field: value for field, value in values.items() if value is not None}
    return tuple(expression(field, lambda value=value: equals(_plain(value))) for field, value in given.items())  # type: ignore[misc]  # bound now


def _plain(value: str | bool | int) -> str | int:
    return value if isinstance(value, str) else int(value)


async def _one(call: Call, resource: Resource, id_: int) -> Response:
    with told():
        shop = await call.shop()
        facts = await call.parts.shops.facts(shop)
        shaping = call.shaping
        asked = Wanted(resource, shaping.display or FULL, scope=shaping.scope(facts), raw=shaping.raw)
        item = await List(asked, facts).one(shop, id_)
    if item is None:
        raise ProblemError("not_in_store", f"the store has no {resource.node} with the id {id_}")
    return Answer(item, headers=_zone(facts))


async def _list(call: Call, asked: Wanted, paging: Paging, window: Window | None = None) -> Response:
    """A page, or from it on the rest of the list as a stream."""
    with told():
        shop = await call.shop()
        facts = await call.parts.shops.facts(shop)
        shaping = call.shaping
        asked = dataclasses.replace(
            asked,
            display=shaping.display or asked.display,
            filters=asked.filters + (window.filters(facts) if window else ()),
            scope=shaping.scope(facts),
            raw=shaping.raw,
        )
        walk = _Walk(call, List(asked, facts), f"{call.connection} {asked}", paging)
        page = await walk.rows.page(shop, walk.start(), paging.limit)
    if wanted(call.request):
        return walk.stream(page, _zone(facts))
    return Answer({"items": page.items, "next": walk.cursor(page.after)}, headers=_zone(facts))


@dataclass(frozen=True, slots=True)
class _Walk:
    """A list on its way; `name` is all that makes it this list."""

    call: Call
    rows: List
    name: str
    paging: Paging

    def start(self) -> int:
        try:
            return decode_cursor(self.paging.cursor, self.name) if self.paging.cursor is not None else 0
        except CursorError as error:
            raise invalid([("cursor", str(error))]) from None

    def cursor(self, after: int | None) -> str | None:
        return None if after is None else encode_cursor(after, self.name)

    def stream(self, first: Items, headers: dict[str, str]) -> Response:
        """Raises ProblemError `account_busy`."""
        stack = ExitStack()
        try:
            stack.enter_context(self.call.parts.streams.one(self.call.asking.caller.account))
        except ShareExceededError:
            raise ProblemError("account_busy", "wait for some of its streams to end") from None
        return Lines(self._pages(first), stack.close, **headers)

    async def _pages(self, first: Items) -> AsyncGenerator[list[dict[str, Any]]]:
        """Raises CutShortError, which carries the place behind what was handed out."""
        after: int | None = None
        try:
            async for page in ahead(self._read(first)):
                yield page.items
                after = page.after
        except ProblemError as problem:
            raise self._cut(problem, after, aborted=True) from None
        if after is not None:
            detail = f"the list was read for {self.paging.pages} pages; go on with `next`, or ask for more `pages`"
            raise self._cut(ProblemError("page_ceiling", detail), after, aborted=False)

    async def _read(self, first: Items) -> AsyncGenerator[Items]:
        page = first
        yield page
        for _ in range(self.paging.pages - 1):
            if page.after is None:
                return
            page = await self._next(page.after)
            yield page

    async def _next(self, after: int) -> Items:
        try:
            with told():
                return await self.rows.page(await self.call.shop_again(), after, self.paging.limit)
        except DatabaseError as error:
            raise translate(error) from None

    def _cut(self, problem: ProblemError, after: int | None, *, aborted: bool) -> CutShortError:
        line = LastLine(problem=members_of(problem), next=self.cursor(after))
        return CutShortError(line.model_dump(), aborted=aborted)


def _zone(facts: Facts) -> dict[str, str]:
    return {SHOP_ZONE: facts.zone} if facts.zone and facts.tz else {}
