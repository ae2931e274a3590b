"""prestapyt, unchanged, works against the stand-in as it was seen to work against a PrestaShop 9.1.4."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import prestapyt
import pytest

from tests.store import Store
from tests.store_conformance.test_writes import zoe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


# It warns of every release after 8.2 and works all the same.
pytestmark = pytest.mark.filterwarnings("ignore:This library may not be compatible:UserWarning")


@pytest.fixture
async def own_name() -> AsyncIterator[Store]:
    """A store whose domain is the address it listens on, as by default."""
    async with Store.serve() as running:
        yield running


async def asked(store: Store, work: Callable[[Any], Any], key: str = "full") -> Any:
    client = prestapyt.PrestaShopWebServiceDict(store.url, store.keys[key])
    return await asyncio.to_thread(work, client)


async def test_reading(own_name: Store) -> None:
    """Lists, single entities, searches with date=1 and HEAD."""
    order = await asked(own_name, lambda client: client.get("orders", 1))
    assert order["order"]["reference"] == "XKBKNABJK"
    assert len(order["order"]["associations"]["order_rows"]["order_row"]) == 2
    options = {"filter[date_upd]": ">[2020-01-01 00:00:00]", "date": "1"}
    assert await asked(own_name, lambda client: client.search("orders", options)) == [1, 2, 3, 4, 5]
    assert await asked(own_name, lambda client: client.head("orders", 1))


async def test_writing(own_name: Store) -> None:
    """Add, edit, delete."""
    xml = f"<prestashop>{zoe()}</prestashop>"
    added = await asked(own_name, lambda client: client.add("customers", xml))
    assert added["prestashop"]["customer"]["id"] == "3"
    whole = await asked(own_name, lambda client: client.get("customers", 3))
    for name in ("last_passwd_gen", "secure_key"):
        del whole["customer"][name]
    whole["customer"]["lastname"] = "Muster"
    await asked(own_name, lambda client: client.edit("customers", whole))
    assert own_name.shop.row("customers", 3)["lastname"] == "Muster"
    assert await asked(own_name, lambda client: client.delete("customers", 3))
    assert 3 not in own_name.shop["customers"].rows


async def test_failures(own_name: Store) -> None:
    """A wrong key is an authentication error, a missing id an empty answer."""
    with pytest.raises(prestapyt.PrestaShopAuthenticationError):
        await asked(own_name, lambda client: client.get("orders", 1), key="disabled")
    with pytest.raises(prestapyt.PrestaShopWebServiceError, match="empty"):
        await asked(own_name, lambda client: client.get("orders", 999))
