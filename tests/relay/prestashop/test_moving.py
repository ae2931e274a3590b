"""Redirects: what they say of the shop's name, and that only a usable address is ever offered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.database.store_url import parse_store_url
from relay.prestashop.moving import Elsewhere, leads_elsewhere

PARTS = st.lists(
    st.sampled_from(
        ["http:", "https:", "//", "/", "api", "?url=", "&url=", "a.example", "[::1]", ":80", ":99999", "@", "..", "%2e",
         "\\", "#", "é", "\t", "\r\n", "index.php", "x" * 250, "ftp:", "javascript:", "WWW.Shop.FR", ";", "boutique"]
    ),
    max_size=9,
).map("".join)  # fmt: skip


@pytest.mark.parametrize(
    ("location", "elsewhere"),
    [
        ("http://shop.fr/?url=", ("http://shop.fr", True)),
        ("https://Shop.FR/boutique/?url=orders%2F1", ("https://shop.fr/boutique", True)),
        ("http://shop.fr/boutique/index.php?url=", ("http://shop.fr/boutique", True)),
        ("http://www.shop.fr/api?url=", ("http://www.shop.fr", True)),
        ("http://www.shop.fr/boutique/api/orders?limit=1?url=orders&limit=1", ("http://www.shop.fr/boutique", True)),
        ("http://shop.fr:8080/?ws_key=&url=", ("http://shop.fr:8080", True)),
        ("https://shop.fr/api", ("https://shop.fr", False)),
        ("https://shop.fr:443/api/", ("https://shop.fr", False)),
        ("https://www.shop.fr/boutique/api?x=1", ("https://www.shop.fr/boutique", False)),
        ("https://shop.fr/login", (None, False)),
        ("/api/", (None, False)),
        ("/login?url=/api", (None, False)),
        ("https://user:pw@shop.fr/api", (None, False)),
        ("https://shop.fr/a b/api", (None, False)),
        ("https://shop.fr/../api", (None, False)),
        ("https://shop.fr/api/v2/api", (None, False)),
        ("http://[::1/api", (None, False)),
        ("http://[::1]/api", (None, False)),
        ("ftp://shop.fr/api", (None, False)),
        ("http://shop.fr:99999/?url=", (None, True)),
    ],
)
def test_where_a_redirect_leads(location: str, elsewhere: tuple[str | None, bool]) -> None:
    """The store URL that it stands for, without /api; none where a connection could not have it."""
    store_url, wrong_host = elsewhere
    assert leads_elsewhere(location) == Elsewhere(store_url or location, store_url, wrong_host)


@given(PARTS)
def test_an_offered_address_is_one_that_the_form_takes(location: str) -> None:
    """Whatever Location says: no exception, and what is offered is taken by the connection form as it stands."""
    found = leads_elsewhere(location)
    assert len(found.shown) <= 400
    if found.store_url is not None:
        assert str(parse_store_url(found.store_url)) == found.store_url
