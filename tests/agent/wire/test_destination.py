"""How stores are named: one spelling for both ends, and a sentence for whoever wrote something else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.destination import CONTROL, Destination, DestinationError, Store, parse_origin


@pytest.mark.parametrize(
    ("text", "published", "dialled"),
    [
        ("http://shop.lan", "shop.lan:80", ("shop.lan", 80)),
        ("https://Shop.LAN:8443/", "shop.lan:8443", ("shop.lan", 8443)),
        ("https://www.shop.fr=192.168.1.20:443", "www.shop.fr:443", ("192.168.1.20", 443)),
        ("https://www.shop.fr=192.168.1.20", "www.shop.fr:443", ("192.168.1.20", 443)),
        ("http://shop.lan=[fd00::20]:8080", "shop.lan:8080".replace("8080", "80"), ("fd00::20", 8080)),
        ("http://192.168.1.20", "192.168.1.20:80", ("192.168.1.20", 80)),
    ],
)
def test_stores_are_read(text: str, published: str, dialled: tuple[str, int]) -> None:
    """Published name and dialled address, with the default port of the scheme."""
    store = Store.parse(text)
    assert (str(store.destination), (store.dial_host, store.dial_port)) == (published, dialled)
    assert Store.parse(str(store)) == store


@pytest.mark.parametrize(
    "text",
    [
        "", "shop.lan", "ftp://shop.lan", "http://", "http://user@shop.lan", "http://user:pw@shop.lan",
        "http://shop.lan/prestashop", "http://shop.lan?x=1", "http://shop.lan#x", "http://shop.lan:0",
        "http://shop.lan:65536", "http://shop.lan:x", "http://sh op.lan", "http://shop\n.lan", "http://-shop.lan",
        "http://shop_1.lan", "http://bücher.example", "http://" + "a" * 254, "http://shop..lan", "http://shop.lan.",
        "http://shop.lan=", "http://shop.lan=/etc/passwd", "http://shop.lan=[::1", "http://shop.lan=[zz]:80",
        "http://shop.lan=a:0", "http://shop.lan=a:b:c", "http://[::1]",
    ],
)  # fmt: skip
def test_what_names_no_store_is_refused(text: str) -> None:
    """Anything else is a DestinationError with words."""
    with pytest.raises(DestinationError, match=r"\w"):
        Store.parse(text)


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    """A store is read or refused; nothing else happens."""
    for candidate in (text, "http://" + text, "http://shop.lan=" + text):
        try:
            store = Store.parse(candidate)
        except DestinationError:
            continue
        assert Destination.of(store.destination.host, store.destination.port) == store.destination


def test_letter_case_does_not_matter() -> None:
    """asyncssh lower-cases names when it listens and not when it opens; we compare one spelling."""
    assert Destination.of("Shop.LAN", 80) == parse_origin("http://sHOP.lan")[1]


def test_the_control_name_can_be_no_store_of_anybody() -> None:
    """The reserved name lies under .invalid."""
    assert CONTROL.host.endswith(".invalid")
