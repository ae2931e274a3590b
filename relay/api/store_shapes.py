"""What is known of stores, as the typed surface shows it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, Field

from relay.api.sentences import Sentence
from relay.api.shapes import Time
from relay.health.store_states import StoreState
from relay.prestashop.remedies import remedy


class StoreSeen(BaseModel):
    """How a store does, as this node sees it: it looks each minute, with a connection's key each quarter of an hour.

    Null means that it is not known yet.
    """

    store: Annotated[str, Field(description="What is dialled.", examples=["shop.lan:80"])]
    reachable: Annotated[bool | None, Field(description="Whether its machine takes connections.")]
    answering: Annotated[bool | None, Field(description="Whether PrestaShop's webservice answers there.")]
    key: Annotated[bool | None, Field(description="Whether the webservice takes the connection's key.")]
    last_success: Annotated[Time | None, Field(description="When it last answered as it should. Unix seconds.")]
    checked_at: Time | None
    code: Annotated[
        str | None, Field(description="What is wrong, as a connection test calls it.", examples=["webservice_off"])
    ]
    remedy: Sentence | None

    @classmethod
    def of(cls, state: StoreState) -> Self:
        advice = Sentence.of(remedy(state.code, state.store)) if state.code else None
        return cls(
            store=state.store,
            reachable=state.reachable,
            answering=state.answering,
            key=state.key,
            last_success=state.last_success,
            checked_at=state.checked_at,
            code=state.code,
            remedy=advice,
        )
