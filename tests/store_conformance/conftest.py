"""The shop of the assertions: the demo shop as `shop.example`, with an order 41 and a few odd rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.store import Store
from tests.store_conformance.direct import DirectShop
from tests.store_conformance.scene import DOMAIN, open_scene

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.store_conformance.asking import Shop


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with Store.serve(shop=open_scene(), domain=DOMAIN) as running:
        yield running


@pytest.fixture
def shop(store: Store) -> Shop:
    return DirectShop(store)
