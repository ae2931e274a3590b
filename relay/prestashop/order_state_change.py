"""Brings an order into another state, once: by which of PrestaShop's ways, with e-mail or without, and how it ended.

`POST order_histories` is the first choice: it exists in all versions, and the customer is written to only if asked for.
`PATCH orders` (8 and later) always writes to the customer where the state does, so it serves only where that is wanted.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from enum import StrEnum

from relay.gateway.errors import GatewayError, Outcome
from relay.prestashop.order_states import State
from relay.prestashop.query import EVERYWHERE, Query, above, equals
from relay.prestashop.rows import Row
from relay.prestashop.shop import Shop, entity
from relay.prestashop.store_errors import StoreError

_REFUSED = frozenset({"permission_missing", "method_unknown", "resource_missing"})
"""Ways that this key or version does not have: nothing was done."""
_SAID_BY_PHP = frozenset({"maintenance", "webservice_off"})


class Way(StrEnum):
    """What was sent to the store."""

    HISTORY = "order_histories"
    ORDER = "orders"


class Email(StrEnum):
    """What is known of the customer's e-mail."""

    SENT = "sent"
    NOT_SENT = "not_sent"
    NONE_FOR_STATE = "none_for_state"
    UNKNOWN = "unknown"


class NoSuchOrderError(Exception):
    """The shop has no order of this id."""


class UnsettledError(Exception):
    """The request went out, and whether the store carried it out is not known; `cause` is how it failed."""

    def __init__(self, cause: GatewayError | StoreError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, and how things stood before: enough to see afterwards whether it was done.

    `last_history` is the newest history row of the order; None where the key may not read order_histories.
    """

    order: int
    wanted: int
    email: bool
    mails: bool
    before: int
    last_history: int | None


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended. `state` is the order's real state, read afterwards; None where the store failed at being read.

    `way` is None where nothing was sent, or it is no longer known.
    """

    order: int
    before: int
    state: int | None
    changed: bool
    way: Way | None
    email: Email


async def plan(shop: Shop, order: int, wanted: State, *, email: bool) -> Plan:
    """How things stand. Raises NoSuchOrderError, GatewayError, StoreError."""
    newest = await _histories(shop, order, sort="[id_DESC]", limit=1)
    last = None if newest is None else newest[0].id if newest else 0
    return Plan(order, wanted.id, email, wanted.mails, await current_state(shop, order), last)


def nothing_to_do(plan: Plan) -> Done | None:
    """The end, where the order is in the wanted state: another history row or e-mail would be no help to anybody."""
    if plan.before != plan.wanted:
        return None
    return Done(plan.order, plan.before, plan.before, changed=False, way=None, email=Email.NOT_SENT)


async def carry_out(shop: Shop, plan: Plan) -> Done:
    """Send it, once. After anything but a success the order is read again: an error may come after the deed.

    Raises StoreError if the store did not do it, GatewayError if it was not sent, UnsettledError if nobody knows.
    """
    try:
        return await _send(shop, plan)
    except StoreError as error:
        if 300 <= error.status < 500:
            raise
        return await _settle(shop, plan, error)
    except GatewayError as error:
        if error.outcome is Outcome.NOT_SENT:
            raise
        return await _settle(shop, plan, error)


async def find_done(shop: Shop, plan: Plan) -> Done | None:
    """Whether it was done, by the order's state and its history since. Raises GatewayError, StoreError."""
    state = await current_state(shop, plan.order)
    if state != plan.wanted and not await _in_history(shop, plan):
        return None
    email = Email.UNKNOWN if plan.email and plan.mails else _email(plan)
    return Done(plan.order, plan.before, state, changed=True, way=None, email=email)


async def current_state(shop: Shop, order: int) -> int:
    """Raises NoSuchOrderError, GatewayError, StoreError."""
    row = await shop.one("orders", order)
    if row is None:
        raise NoSuchOrderError
    return row.number("current_state")


async def _send(shop: Shop, plan: Plan) -> Done:
    parameters = [("sendemail", "1")] if plan.email else []
    document = entity("order_history", id_order=plan.order, id_order_state=plan.wanted)
    try:
        await shop.post("order_histories", document, parameters)
    except StoreError as error:
        if error.code not in _REFUSED or (plan.mails and not plan.email):
            raise
        await _patch(shop, plan, error)
        email = Email.UNKNOWN if plan.mails else Email.NONE_FOR_STATE
        return await _done(shop, plan, Way.ORDER, email)
    return await _done(shop, plan, Way.HISTORY, _email(plan))


async def _patch(shop: Shop, plan: Plan, refusal: StoreError) -> None:
    """Where this way is not there either, the first refusal is what a merchant should mend."""
    try:
        await shop.patch("orders", entity("order", id=plan.order, current_state=plan.wanted))
    except StoreError as error:
        raise refusal if error.code in _REFUSED else error from None


async def _done(shop: Shop, plan: Plan, way: Way, email: Email) -> Done:
    """It is done, even if the store then fails at being read."""
    state: int | None = None
    with contextlib.suppress(GatewayError, StoreError, NoSuchOrderError):
        state = await current_state(shop, plan.order)
    return Done(plan.order, plan.before, state, changed=True, way=way, email=email)


async def _settle(shop: Shop, plan: Plan, error: GatewayError | StoreError) -> Done:
    try:
        done = await find_done(shop, plan)
    except (GatewayError, StoreError, NoSuchOrderError):
        raise UnsettledError(error) from None
    if done is not None:
        return done
    if isinstance(error, StoreError) and not _may_be_at_work(error):
        raise error
    raise UnsettledError(error)


def _may_be_at_work(error: StoreError) -> bool:
    """Whether somebody before PHP has answered for it, such as a proxy that waited for it in vain."""
    return error.status > 500 and not error.faults and error.code not in _SAID_BY_PHP


def _email(plan: Plan) -> Email:
    """Of the way by order_histories, which fails where the e-mail does."""
    if not plan.mails:
        return Email.NONE_FOR_STATE
    return Email.SENT if plan.email else Email.NOT_SENT


async def _in_history(shop: Shop, plan: Plan) -> bool:
    if plan.last_history is None:
        return False
    rows = await _histories(shop, plan.order, after=plan.last_history) or []
    return any(row.number("id_order_state") == plan.wanted for row in rows)


async def _histories(
    shop: Shop, order: int, *, after: int = 0, sort: str = "[id_ASC]", limit: int = 100
) -> list[Row] | None:
    """None where the key may not read them."""
    filters = (("id_order", equals(order)), ("id", above(after)))
    query = Query("order_histories", "[id,id_order_state]", filters, sort, limit, scope=EVERYWHERE)
    try:
        return await shop.rows(query)
    except StoreError as error:
        if error.code in _REFUSED:
            return None
        raise
