"""The states that a shop's orders can have, found by id or by name in any of its languages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relay.prestashop.query import Query
from relay.prestashop.rows import Row
from relay.prestashop.shop import Shop

STATES_MOST = 500
"""Of one shop; PrestaShop brings 13, and modules add some."""


@dataclass(frozen=True, slots=True)
class State:
    """`names` by language id. `mails`: the shop writes to the customer when an order gets there, if it is let."""

    id: int
    names: dict[int, str]
    mails: bool
    deleted: bool


class StateError(Exception):
    """No state, or several, are meant by what was given; `candidates` are those that could be."""

    def __init__(self, code: str, message: str, candidates: Sequence[State]) -> None:
        super().__init__(message)
        self.code = code
        self.candidates = tuple(candidates)


async def states_of(shop: Shop) -> list[State]:
    """Those that were deleted as well. Raises GatewayError, StoreError."""
    rows = await shop.rows(Query("order_states", "[id,send_email,deleted,name]", limit=STATES_MOST))
    return [_state(row) for row in rows]


def meant(states: Sequence[State], wanted: int | str) -> State:
    """The state with this id, or of this name in whatever language and case.

    Raises StateError `state_unknown`, `state_ambiguous`. A deleted state is unknown: the shop would fail over it.
    """
    usable = [state for state in states if not state.deleted]
    if isinstance(wanted, int):
        found = [state for state in usable if state.id == wanted]
    else:
        found = [state for state in usable if any(_folded(name) == _folded(wanted) for name in state.names.values())]
    if not found:
        raise StateError("state_unknown", "the shop has no order state of this id or name", usable)
    if len(found) > 1:
        raise StateError("state_ambiguous", "several order states have this name: give the id of one", found)
    return found[0]


def _state(row: Row) -> State:
    name = row.fields.get("name", "")
    names = name if isinstance(name, dict) else {0: name}
    return State(row.id, names, mails=row.text("send_email") == "1", deleted=row.text("deleted") == "1")


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()
