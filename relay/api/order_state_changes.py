"""`…/actions/update-order-state`: an order into another state, once for each `Idempotency-Key`, whatever breaks."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import structlog
from fastapi import APIRouter, Depends, Response

from relay.api.action_asking import ForwardCaller, no_others, shop_of, told
from relay.api.action_problems import of_store, of_way
from relay.api.action_shapes import OrderStateChanged, OrderStateWish, StateShown
from relay.api.answers import Answer
from relay.api.authentication import account_router
from relay.api.idempotency import REPLAYED, Creating, replay
from relay.api.openapi import refusals
from relay.api.parts import Serving
from relay.api.problems import KINDS, OF_ACTIONS, ProblemError
from relay.database.audit import Event, note_alone
from relay.database.engine import Database
from relay.database.errors import DatabaseUnavailable
from relay.database.once import Once, Repeated
from relay.database.records import Actor
from relay.gateway.errors import GatewayError, Outcome
from relay.prestashop.order_state_change import (
    Done,
    NoSuchOrderError,
    Plan,
    UnsettledError,
    carry_out,
    find_done,
    nothing_to_do,
    plan,
)
from relay.prestashop.order_states import State, StateError, meant, states_of
from relay.prestashop.shop import Shop
from relay.prestashop.store_errors import StoreError
from relay.prestashop.values import Facts
from relay.records import Connection

log = structlog.get_logger()

router: APIRouter = account_router("/v1/connections/{connection}/actions", "actions")
router.dependencies.append(Depends(no_others))

KEPT_SECONDS = 24 * 3600
"""How long a key is remembered: what it did cannot be undone, and connectors retry over a day."""
MARGIN_SECONDS = 60
"""How long a store may still be at work on a request that the relay has given up or died over."""
RETRY_SECONDS = 10
"""When a repeat is worth while, if a request ended without an answer."""
_CANDIDATES = 50
_REPLAY_HEADER = {
    REPLAYED: {
        "description": "`true`: the key was used before, and nothing was sent now.",
        "schema": {"type": "string"},
    }
}


@router.post(
    "/update-order-state",
    summary="Bring an order into another state",
    response_model=OrderStateChanged,
    responses={
        200: {"headers": _REPLAY_HEADER},
        **refusals("not_found", "answer_not_kept", "malformed", "invalid", *OF_ACTIONS),
    },
)
async def update_order_state(
    parts: Serving, asking: ForwardCaller, connection: str, wish: OrderStateWish, database: Creating
) -> Response:
    """Answers how the order stands afterwards. An order that is in the state already is left alone.

    With an `Idempotency-Key`, repeats within a day are answered as the first was. If the first ended without an
    answer, a repeat looks at the order's state and history instead of sending again; while the store may still be at
    work on it, the answer is `unsettled`.
    """
    with told():
        shop = await shop_of(parts, asking, connection)
        once = database if isinstance(database, Once) else None
        books = _Books(parts.database, once, asking.by, shop.connection)
        change = _Change(shop, await parts.shops.facts(shop), wish, books)
        try:
            return await change.made()
        except NoSuchOrderError:
            raise ProblemError("not_in_store", f"the store has no order with the id {wish.order_id}") from None
        except StateError as error:
            raise _no_state(error, change.facts) from None
        except UnsettledError as error:
            raise _not_known(error, keyed=once is not None) from None


class _Change:
    """One wish on its way, with or without a key that is spent on it."""

    def __init__(self, shop: Shop, facts: Facts, wish: OrderStateWish, books: _Books) -> None:
        self.facts = facts
        self._shop = shop
        self._wish = wish
        self._books = books
        self._once = books.once
        self._now = books.database.now

    async def made(self) -> Response:
        note = await self._begun()
        wanted = meant(await states_of(self._shop), self._wish.state)
        if note is None:
            return await self._first(wanted)
        return await self._repeated(note, wanted)

    async def _begun(self) -> bytes | None:
        """The note of an earlier request with this key that left no answer. Raises Repeated with an answer."""
        if self._once is None:
            return None
        try:
            await self._once.look()
        except Repeated as repeated:
            if _plan_of(repeated.answer) is None:
                raise
            return repeated.answer
        return None

    async def _first(self, wanted: State) -> Response:
        what = await plan(self._shop, self._wish.order_id, wanted, email=self._wish.email)
        if self._once:
            try:
                await self._once.begin(self._note(what), seconds=KEPT_SECONDS)
            except Repeated as repeated:
                if _plan_of(repeated.answer) is None:
                    raise
                raise _unsettled() from None
        return await self._send(what, wanted)

    async def _repeated(self, note: bytes, wanted: State) -> Response:
        """Look for the traces of the first; only once it can no longer be at work, and left none, is it sent again."""
        what, began = _plan_of(note) or (None, 0)
        if what is None or self._once is None:
            raise _unsettled()
        done = nothing_to_do(what) or await find_done(self._shop, what)
        if done:
            return await self._answer(done, wanted, replayed=True)
        if self._now() - began < self._longest:
            raise _unsettled()
        fresh = await plan(self._shop, self._wish.order_id, wanted, email=self._wish.email)
        if what.last_history is None and fresh.before != what.before:
            raise _untraceable()
        await self._once.begin_again(note, self._note(fresh))
        return await self._send(fresh, wanted)

    async def _send(self, what: Plan, wanted: State) -> Response:
        """What failed before it was done gives the key back, so that it may be tried again with it."""
        try:
            done = nothing_to_do(what) or await carry_out(self._shop, what)
        except (StoreError, GatewayError, NoSuchOrderError):
            await self._books.forget()
            raise
        except UnsettledError:
            await self._books.sent(what)
            raise
        return await self._answer(done, wanted)

    async def _answer(self, done: Done, wanted: State, *, replayed: bool = False) -> Response:
        body = _shown(done, wanted, self.facts).model_dump(mode="json")
        kept = json.dumps({"status": 200, "headers": {}, "body": body}).encode()
        await self._books.done(done, wanted, kept)
        return replay(kept) if replayed else Answer(body)

    @property
    def _longest(self) -> float:
        """After so many seconds a change has ended, also where both of the store's ways were tried."""
        return 2 * self._shop.longest + MARGIN_SECONDS

    def _note(self, what: Plan) -> bytes:
        return json.dumps({"begun": dataclasses.asdict(what), "at": self._now()}).encode()


@dataclass(frozen=True, slots=True)
class _Books:
    """Where it is noted what was done: on record, and with a key for repeats. What was done stands if that fails."""

    database: Database
    once: Once | None
    by: Actor
    connection: Connection

    async def done(self, done: Done, wanted: State, kept: bytes) -> None:
        """Both in one transaction, so that a change is on record once, however often it is asked for."""
        event = self._event(done.order, done.before, wanted.id, "changed") if done.changed else None
        try:
            if self.once:
                await self.once.keep(kept, event)
            elif event:
                await note_alone(self.database, event)
        except DatabaseUnavailable as error:
            log.warning("an order's change is neither kept for repeats nor on record", reason=str(error))

    async def sent(self, what: Plan) -> None:
        """Whether the store has done it is not known."""
        event = self._event(what.order, what.before, what.wanted, "unknown")
        try:
            await note_alone(self.database, event)
        except DatabaseUnavailable as error:
            log.warning("a change of an order is not on record", reason=str(error))

    async def forget(self) -> None:
        try:
            if self.once:
                await self.once.forget()
        except DatabaseUnavailable as error:
            log.warning("a key stays spent although nothing was done", reason=str(error))

    def _event(self, order: int, before: int, state: int, outcome: str) -> Event:
        details = {"order": order, "previous_state": before, "state": state, "outcome": outcome}
        return Event(self.by, "order.change_state", self.connection.id, self.connection.account, details)


def _plan_of(kept: bytes) -> tuple[Plan, int] | None:
    """What was begun and when; None where it is an answer."""
    told = json.loads(kept)
    return (Plan(**told["begun"]), told["at"]) if "begun" in told else None


def _shown(done: Done, wanted: State, facts: Facts) -> OrderStateChanged:
    return OrderStateChanged(
        order_id=done.order,
        current_state=done.state,
        state=_state(wanted, facts),
        previous_state=done.before,
        changed=done.changed,
        way=done.way,
        email=done.email,
    )


def _state(state: State, facts: Facts) -> StateShown:
    return StateShown(id=state.id, name={facts.language(id_): name for id_, name in state.names.items()})


def _no_state(error: StateError, facts: Facts) -> ProblemError:
    candidates = [_state(state, facts).model_dump() for state in error.candidates[:_CANDIDATES]]
    listed = ", ".join(
        f"{state.id} ({next(iter(state.names.values()), '')})" for state in error.candidates[:_CANDIDATES]
    )
    return ProblemError(error.code, f"{error}; there are: {listed or 'none'}", candidates=candidates)


def _not_known(error: UnsettledError, *, keyed: bool) -> ProblemError:
    """How the request failed; with a key it may be repeated, since a repeat looks before it sends."""
    problem = of_store(error.cause) if isinstance(error.cause, StoreError) else of_way(error.cause)
    problem.members["outcome"] = Outcome.SENT_UNKNOWN.value
    problem.kind = dataclasses.replace(problem.kind, retryable=keyed, retry_after=RETRY_SECONDS if keyed else None)
    return problem


def _unsettled() -> ProblemError:
    detail = (
        "the store shows no trace of it yet, and may still be at work on it: repeat this with the same key in a while"
    )
    return ProblemError("unsettled", detail)


def _untraceable() -> ProblemError:
    detail = (
        "the order has been changed since, and the store's key may not read order_histories, so that nobody can say "
        "whether this was done before: look at the order in the shop"
    )
    return ProblemError(dataclasses.replace(KINDS["unsettled"], retryable=False, retry_after=None), detail)
