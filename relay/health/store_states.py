"""What is known of a store: the shape in which it is told to whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreState:
    """What is known of a store. None: nothing yet. Times are unix seconds."""

    store: str
    """`host:port`, as its agent publishes it; of a cloud connection the store's URL."""
    reachable: bool | None = None
    """Whether the store's machine takes connections."""
    answering: bool | None = None
    """Whether PrestaShop's webservice answers."""
    key: bool | None = None
    """Whether the webservice takes the connection's key."""
    last_success: int | None = None
    """When the store last answered as it should."""
    checked_at: int | None = None
    code: str | None = None
    """What is wrong: of the hop, or of the webservice, as a connection test calls it."""
