"""What a request is for the store that answers it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateway.kinds import kind_of

LIGHT = [
    "/api", "/api/", "//api/orders/41", "/api/orders/41?display=full", "/api/images/products/12/31",
    "/api/orders?limit=1", "/api/orders?limit=40,10&display=full", "/api/products?filter[reference]=[A-1]&display=full",
    "/api/customers?filter%5Bemail%5D=a%40b.c", "/api/stock_availables?filter[id_product]=[1|2|3]",
]  # fmt: skip
HEAVY = [
    "/api/products", "/api/products?display=full", "/api/products?display=full&limit=50", "/api/products?limit=11",
    "/api/products?limit=0,250", "/api/products?filter[id]=%3E%5B100%5D&limit=50", "/api/orders?filter[id]=[1,1000]",
    "/api/orders?filter[date_upd]=[2026-01-01%2000:00:00,2026-02-01%2000:00:00]&date=1",
    "/api/products?filter[id]=![1]",
    "/api/products?filter[name]=%25[a]%25", "/api/products?limit=abc", "/api/search?query=shoe&language=1",
]  # fmt: skip


@pytest.mark.parametrize("path", LIGHT)
def test_looks_are_light(path: str) -> None:
    """One thing, a few rows, or those with a certain value."""
    assert kind_of(b"GET", path.encode()).light


@pytest.mark.parametrize("path", HEAVY)
def test_exports_are_heavy(path: str) -> None:
    """Lists of whatever length."""
    assert not kind_of(b"GET", path.encode()).light


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE"])
def test_changes_are_light(method: bytes) -> None:
    """Somebody waits for them, and there is one thing in each."""
    assert kind_of(method, b"/api/products").light


def test_like_is_compared_with_like() -> None:
    """Entities of one resource are one kind, whatever their ids; pages of other lengths and displays are others."""
    kinds = {
        kind_of(b"GET", path)
        for path in (b"/api/orders/1", b"/api/orders/2?x=y", b"/api/orders?limit=50&display=full",
                     b"/api/orders?display=full&limit=50&filter[id]=>[50]")
    }  # fmt: skip
    assert len(kinds) == 2
    assert kind_of(b"GET", b"/api/orders?limit=50") != kind_of(b"GET", b"/api/orders?limit=100")
    assert kind_of(b"GET", b"/api/orders?limit=50") != kind_of(b"GET", b"/api/orders?limit=50&display=full")


@given(method=st.sampled_from([b"GET", b"HEAD", b"FOO"]), rest=st.binary(max_size=200))
def test_any_path_is_of_some_kind(method: bytes, rest: bytes) -> None:
    """Whatever a caller makes up, and what is remembered of it is short."""
    kind = kind_of(method, b"/api" + rest)
    assert sum(len(part) for part in (kind.resource, kind.shape, kind.rows)) <= 120
