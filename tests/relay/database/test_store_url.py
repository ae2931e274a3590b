"""A store's address, as merchants write and paste it."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.destination import Destination
from relay.database.errors import Invalid
from relay.database.store_url import Understood, parse_store_url, understand


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("http://shop.lan", "http://shop.lan"),
        ("HTTP://Shop.Lan:80/", "http://shop.lan"),
        ("https://shop.lan:443", "https://shop.lan"),
        ("https://shop.lan:80", "https://shop.lan:80"),
        ("http://shop.lan:/", "http://shop.lan"),
        ("http://192.168.1.20:8080", "http://192.168.1.20:8080"),
        ("http://shop.lan/api", "http://shop.lan"),
        ("http://shop.lan/api/", "http://shop.lan"),
        ("http://shop.lan//api//", "http://shop.lan"),
        ("HTTPS://SHOP.FR/API/", "https://shop.fr"),
        ("http://shop.lan/prestashop/", "http://shop.lan/prestashop"),
        ("http://shop.lan/a//b", "http://shop.lan/a/b"),
        ("http://shop.lan/a/b.c/~d_e-f/api", "http://shop.lan/a/b.c/~d_e-f"),
        ("http://shop.lan/myapi", "http://shop.lan/myapi"),
        ("https://shop.fr/PrestaShop", "https://shop.fr/PrestaShop"),
        ("https://shop.fr/api/products?display=full&output_format=JSON", "https://shop.fr"),
        ("https://shop.fr/presta/api/orders/7?ws_key=SECRET", "https://shop.fr/presta"),
        ("https://shop.fr/admin123/index.php?controller=AdminLogin&token=0123abc", "https://shop.fr"),
        ("https://shop.fr/presta/admin847dtwxk0/index.php/sell/catalog/products?_token=x", "https://shop.fr/presta"),
        ("https://shop.fr/presta/backstage/index.php?controller=AdminDashboard&token=x", "https://shop.fr/presta"),
        ("https://shop.fr/presta/index.php?controller=cart&add=1&token=x", "https://shop.fr/presta"),
        ("https://shop.fr/admin847dtwxk0/", "https://shop.fr"),
        ("https://shop.fr/admin-dev/", "https://shop.fr"),
        ("https://shop.fr/administration", "https://shop.fr/administration"),
        ("https://shop.fr/#top", "https://shop.fr"),
        ("https://shop.fr/?#", "https://shop.fr"),
        ("shop.fr", "https://shop.fr"),
        ("//www.shop.fr/presta/", "https://www.shop.fr/presta"),
        ("www.shop.fr:443", "https://www.shop.fr"),
        ("www.shop.fr:80", "http://www.shop.fr"),
        ("www.shop.fr:8443/api", "https://www.shop.fr:8443"),
        ("shop.lan", "http://shop.lan"),
        ("shop.lan:8080/presta", "http://shop.lan:8080/presta"),
        ("prestashop", "http://prestashop"),
        ("192.168.1.20", "http://192.168.1.20"),
        ("https://shop.fr.", "https://shop.fr"),
        ("https://B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/", "https://xn--bcher-kva.example"),
        ("https://fa\N{LATIN SMALL LETTER SHARP S}.de", "https://xn--fa-hia.de"),
        ("https://b\N{LATIN SMALL LETTER U}\N{COMBINING DIAERESIS}cher.example", "https://xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        (' "http://shop.lan/" ', "http://shop.lan"),
        ("\u00ab\N{NO-BREAK SPACE}http://shop.lan\N{NO-BREAK SPACE}\u00bb", "http://shop.lan"),
        ("<https://shop.fr>,", "https://shop.fr"),
        ("\N{ZERO WIDTH NO-BREAK SPACE}https://shop.fr\N{ZERO WIDTH SPACE}\n", "https://shop.fr"),
    ],
)  # fmt: skip
def test_addresses_that_are_taken(text: str, meant: str) -> None:
    """What people write, the one spelling that is kept, and a sentence for whoever did not write just that."""
    understood = understand(text)
    assert str(understood.store) == meant
    assert bool(understood.notes) == (text != meant)
    assert understood.notes[:1] in {(), (f"taken as {meant}",)}
    assert understand(meant) == Understood(understood.store)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "missing"),
        (' "" ', "missing"),
        ("ftp://shop.lan", "not by ftp://"),
        ("javascript:alert(1)", "must begin with http:// or https://"),
        ("mailto:me@shop.lan", "user name"),
        ("http:/shop.lan", "must begin with"),
        ("http:shop.lan", "must begin with"),
        ("http://", "no host name"),
        ("/prestashop", "no host name"),
        ("http://user:CANARY@shop.lan", "leave out the user name and password"),
        ("user:CANARY@shop.lan", "leave out the user name and password"),
        ("ftp://user:CANARY@shop.lan", "not by ftp://"),
        ("http://shop.lan:99999", "port 99999"),
        ("http://shop.lan:0", "port 0"),
        ("http://shop.lan:http", "no host name"),
        ("http://shop.lan/?ws_key=CANARY", r"from the \? on, if the store's address is http://shop.lan$"),
        ("https://shop.fr/12-scarf.html", "one page"),
        ("https://shop.fr/api/api/products", "twice"),
        ("http://shop.lan/../x", "the path holds"),
        ("http://shop.lan/./x", "the path holds"),
        ("http://shop.lan/a%2fb", "the path holds"),
        ("http://shop.lan/a b", "blanks"),
        ("http://shop.lan http://shop.fr", "blanks"),
        ("http://shop.lan/a\\b", "no \\\\"),
        ("http:\\\\shop.lan", "no \\\\"),
        ("http://shop.lan/" + "a" * 300, "the path holds"),
        ("http://shop.lan/" + "a" * 3000, "too long"),
        ("http://my_shop.lan", "is not a host name"),
        ("http://sh%6fp.lan", "is not a host name"),
        ("http://-shop.lan", "is not a host name"),
        ("http://\N{SNOWMAN}.example", "no name on the Internet"),
        ("http://a\N{RIGHT-TO-LEFT OVERRIDE}b.example", "blanks or control"),
        ("http://[fd00::1]/", "IPv6"),
        ("http://shop\x00.lan", "blanks or control"),
    ],
)
def test_addresses_that_are_refused(text: str, words: str) -> None:
    """A sentence for the merchant says what is wrong, and repeats no password and no key."""
    with pytest.raises(Invalid, match=words) as refused:
        parse_store_url(text)
    assert refused.value.field == "store_url"
    assert "CANARY" not in str(refused.value)


PIECES = ["http://", "https://", "HTTP:", "//", "shop.lan", "@", ":", "80", "/", "api", "admin1", "index.php", "?",
          "#", "controller=Admin", "_token=", "..", "%2f", "[", "]", "\\", " ", "'", "\u00fc", "\u3002", "\u202e",
          "xn--", "-"]  # fmt: skip
WRITTEN = (
    st.text(max_size=60)
    | st.text(max_size=40).map("http://{}".format)
    | st.text(max_size=40).map("http://shop.lan/{}".format)
    | st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
)


@given(text=WRITTEN)
def test_whatever_is_written(text: str) -> None:
    """Either it is refused by name, or it is taken in a spelling that means itself and that nobody needs to hear of."""
    try:
        understood = understand(text)
    except Invalid:
        return
    store = understood.store
    assert understand(str(store)) == Understood(store)
    assert not store.base_path.endswith("/")
    assert "/api/" not in f"{store.base_path}/"
    assert bool(understood.notes) == (str(store) != text)


LABEL = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12).filter(lambda text: text != "xn")
HOST = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
DIRECTORY = LABEL.filter(lambda text: text != "api" and not text.startswith("admin"))


@given(
    scheme=st.sampled_from(["http", "https"]),
    host=HOST,
    port=st.none() | st.integers(1, 65535),
    base=st.lists(DIRECTORY, max_size=3),
    upper=st.booleans(),
    inside=st.sampled_from(["", "/", "/api", "/api/", "/api/orders?display=full", "/index.php?controller=product", "#x",
                            "/admin12/index.php?controller=AdminX"]),
    around=st.sampled_from([("", ""), (" ", "\n"), ('"', '"'), ("<", ">,")]),
)  # fmt: skip
def test_host_port_and_directory_are_kept(
    *,
    scheme: str,
    host: str,
    port: int | None,
    base: list[str],
    upper: bool,
    inside: str,
    around: tuple[str, str],
) -> None:
    """However an address is dressed up, it leads to the same place."""
    written = host.upper() if upper else host
    text = f"{scheme}://{written}{'' if port is None else f':{port}'}{''.join(f'/{name}' for name in base)}{inside}"
    store = parse_store_url(text.join(around))
    default = {"http": 80, "https": 443}[scheme]
    assert (store.scheme, store.destination) == (scheme, Destination.of(host, default if port is None else port))
    assert store.base_path == "".join(f"/{name}" for name in base)
