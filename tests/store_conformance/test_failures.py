"""Assertions 88 to 90: how the webservice fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.store_conformance.asking import get, get_json

if TYPE_CHECKING:
    from tests.store import Store
    from tests.store_conformance.asking import Shop


async def test_88_php_fatal(shop: Shop, store: Store) -> None:
    """88. 500, empty, text/html; debug mode: 200 HTML "Fatal error: Uncaught …"; also by too many cells."""
    store.knobs.fatal = True
    answer = await get(shop, "/api/orders")
    assert (answer.status, answer.body) == (500, b"")
    assert answer.header("Content-Type") == "text/html; charset=utf-8"
    assert answer.header("PSWS-Version") is None
    if shop.direct:
        assert answer.header("Content-Length") == "0"
    store.knobs.error_mode = "debug"
    debug = await get(shop, "/api/orders")
    assert (debug.status, debug.header("Content-Type")) == (200, "text/html; charset=utf-8")
    assert b"Fatal error</b>:  Uncaught" in debug.body
    store.knobs.update(fatal=False, error_mode="production", fatal_cells=100)
    assert (await get_json(shop, "/api/products?display=full")).status == 500
    assert (await get_json(shop, "/api/products?display=full&limit=1")).status == 200


@pytest.mark.parametrize(
    ("noise", "starts", "ends"),
    [
        ("warning", b"<br />\n<b>Warning</b>", b"</prestashop>\n"),
        ("bom", b"\xef\xbb\xbf<?xml", b"</prestashop>\n"),
        ("blank", b"\n<?xml", b"</prestashop>\n"),
        ("script", b"<?xml", b"</script>\n"),
    ],
)
async def test_89_noise(shop: Shop, store: Store, noise: str, starts: bytes, ends: bytes) -> None:
    """89. 200, noise and document, Content-Sha1 of the clean document."""
    clean = await get(shop, "/api/orders")
    store.knobs.set("noise", noise)
    answer = await get(shop, "/api/orders")
    assert answer.status == 200
    assert answer.body.startswith(starts)
    assert answer.body.endswith(ends)
    assert clean.body in answer.body
    assert answer.header("Content-Sha1") == clean.sha1
    assert answer.sha1 != clean.sha1


async def test_90_nothing_before_everything(shop: Shop, store: Store) -> None:
    """90. Nothing is sent before the whole answer is built: the first byte comes late, the rest at once."""
    store.knobs.latency = 0.4
    answer = await get(shop, "/api/products?display=full")
    assert len(answer.body) > 100_000
    assert answer.first_byte >= 0.38
    assert answer.rest < 0.3
