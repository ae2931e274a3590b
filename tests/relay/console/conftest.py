"""The surface of tests/relay/api, as a browser asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.relay.api.conftest import prepared_postgresql, prepared_sqlite, relay, state
from tests.relay.api.scene import Relay
from tests.relay.console.scene import Browser, browser_of

__all__ = ["prepared_postgresql", "prepared_sqlite", "relay", "state"]


@pytest.fixture
async def browser(relay: Relay) -> AsyncIterator[Browser]:
    """One that has not signed in."""
    async with browser_of(relay) as browser:
        yield browser
