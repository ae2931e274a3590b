"""Stock clients, unchanged: pointed at the relay with an access key they do what they do at the shop itself."""

from __future__ import annotations

import base64
import re
import subprocess
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prestapyt import (
    PrestaShopAuthenticationError,
    PrestaShopWebService,
    PrestaShopWebServiceDict,
    PrestaShopWebServiceError,
)

from tests.store.jpeg import picture
from tests.store_conformance.replay import comparable
from tests.system.programs import HOST, environment
from tests.system.road import Connection, Road, Shop

CURL_SECONDS = 20.0
ZOE = {
    "passwd": "Sup3r-Secret-Pw!",
    "lastname": "Müller",
    "firstname": "Zoé",
    "email": "zoe.mueller@example.com",
    "active": "1",
}
# "content-sha1": of a body that names the shop's own port
VARYING = {"date", "access-time", "execution-time", "set-cookie", "connection", "keep-alive", "content-sha1"}
ADDED = {"content-security-policy", "x-content-type-options"}
RANDOM = re.compile(r"'(secure_key|passwd)': '[^']*'|last_passwd_gen': '[^']*'|reset_password_validity': '[^']*'")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two shops that began alike: one is called directly, the other through the relay."""

    direct: Shop
    relayed: Shop
    connection: Connection

    def clients(self, kind: type[PrestaShopWebService] = PrestaShopWebServiceDict) -> tuple[Any, Any]:
        return kind(self.direct.url, self.direct.key), kind(self.connection.url, self.connection.access_key)

    def outcomes(self, step: Callable[[Any], object], kind: type = PrestaShopWebServiceDict) -> tuple[str, str]:
        """What a step of a client comes to, directly and relayed, as texts that can be compared."""
        return tuple(self._plain(_outcome(step, client)) for client in self.clients(kind))  # type: ignore[return-value]  # two of them

    def _plain(self, text: str) -> str:
        for shop in (self.direct, self.relayed):
            text = text.replace(f"{HOST}:{shop.port}", "SHOP")
        return RANDOM.sub("random", comparable(text.encode()).decode())


def _outcome(step: Callable[[Any], object], client: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # prestapyt knows no PrestaShop later than 1.7
        try:
            return repr(_shown(step(client)))
        except PrestaShopWebServiceError as error:
            return repr((type(error).__name__, error.msg, error.error_code, error.ps_error_code, error.ps_error_msg))


def _shown(value: object) -> object:
    if isinstance(value, ET.Element):
        return ET.tostring(value)
    if hasattr(value, "lower_items"):  # headers, as `requests` has them
        return sorted((name, text) for name, text in value.lower_items() if name not in VARYING | ADDED)
    return value


@pytest.fixture(scope="module")
def pair(road: Road) -> Pair:
    """Both shops go by the address that they listen on, so that a direct client needs no other name."""
    direct, relayed = road.start_shop("--seed", "7"), road.start_shop("--seed", "7")
    agent = road.start_agent(road.new_agent(), [relayed.url])
    return Pair(direct, relayed, road.connect(agent.entry.id, relayed.url, relayed.key))


def _by_date(**more: str) -> dict[str, str]:
    return {"filter[date_upd]": ">[2000-01-01 00:00:00]", "sort": "[date_upd_ASC,id_ASC]", "date": "1", **more}


def _full_edit(client: Any) -> object:
    product = client.get("products", 3)["product"]
    for read_only in ("manufacturer_name", "quantity", "position_in_category"):
        product.pop(read_only, None)
    product["price"] = "31.500000"
    return client.edit("products", {"product": product})


def _life_of_a_customer(client: Any) -> object:
    made = client.add("customers", {"customer": ZOE})["prestashop"]["customer"]
    told = [made["id"], made["firstname"], made["lastname"]]
    told.append(client.get("customers", made["id"])["customer"]["email"])
    edited = client.partial_edit("customers", made["id"], {"customer": {"firstname": "Zoë"}})
    told.append(edited["prestashop"]["customer"]["firstname"])
    told.append(client.delete("customers", made["id"]))
    return [*told, _outcome(lambda again: again.delete("customers", made["id"]), client)]


def _delete_several(client: Any) -> object:
    ids = []
    for number in (1, 2):
        customer = {**ZOE, "email": f"several{number}@example.com"}
        ids.append(int(client.add("customers", {"customer": customer})["prestashop"]["customer"]["id"]))
    return [client.delete("customers", ids), _outcome(lambda again: again.get("customers", ids[0]), client)]


def _life_of_a_picture(client: Any) -> object:
    made = client.add("images/products/2", files=[("image", "mug.jpg", picture(300))])["prestashop"]
    url = f"{client._api_url}images/products/2/{made['image']['id']}"
    stored = client._execute(url, "GET")
    assert stored.content == base64.b64decode(made["content"].get("value", ""))
    return [made["image"], stored.headers["Content-Type"], len(stored.content), client.delete_with_url(url)]


STEPS: dict[str, Callable[[Any], object]] = {
    "root": lambda client: client.get(""),
    "head of the root": lambda client: client.head(""),
    "ids": lambda client: client.search("products"),
    "filter": lambda client: client.search("products", {"filter[id]": "[3|5]"}),
    "filter by text": lambda client: client.search("products", {"filter[name]": "%[mug]%", "limit": "0,2"}),
    "no hit": lambda client: client.search("products", {"filter[id]": "[9999]"}),
    "changed since": lambda client: client.search("orders", _by_date(limit="3")),
    "dates without date=1": lambda client: client.search("orders", {"filter[date_upd]": ">[2000-01-01]"}),
    "columns": lambda client: client.get("orders", options=_by_date(display="[id,reference,date_upd]")),
    "single": lambda client: client.get("products", 1),
    "single with display": lambda client: client.get("orders", 1, {"display": "full"}),
    "blank schema": lambda client: client.get("customers", options={"schema": "blank"}),
    "synopsis": lambda client: client.get("products", options={"schema": "synopsis"}),
    "head": lambda client: client.head("products", 1),
    "head of a missing id": lambda client: client.head("products", 9999),
    "missing id": lambda client: client.get("products", 9999),
    "missing id of a shop": lambda client: client.get("products", 1, {"id_shop": "1"}),
    "add, read, partly edit, delete": _life_of_a_customer,
    "delete several": _delete_several,
    "edit in full": _full_edit,
    "edit without id": lambda client: client.edit("customers", {"customer": {"firstname": "No"}}),
    "edit what is not there": lambda client: client.edit("customers", {"customer": {**ZOE, "id": "9999"}}),
    "add without e-mail": lambda client: client.add("customers", {"customer": {"firstname": "Zoé"}}),
    "add with a bad e-mail": lambda client: client.add("customers", {"customer": {**ZOE, "email": "zoe"}}),
    "add with an id": lambda client: client.add("customers", {"customer": {**ZOE, "id": "7"}}),
    "add what is in use": lambda client: client.add("customers", {"customer": {**ZOE, "email": "pub@prestashop.com"}}),
    "no such resource": lambda client: client.get("product", 1),
    "no such column": lambda client: client.get("products", options={"display": "[nosuch]"}),
    "no such picture": lambda client: client.get("images/products/1/999"),
    "delete what may not be": lambda client: client.delete("stock_availables", 1),
    "picture up and down": _life_of_a_picture,
}


@pytest.mark.parametrize("name", STEPS)
def test_95_prestapyt_does_what_it_does_directly(pair: Pair, name: str) -> None:
    """95. With dictionaries: list, get, search with date=1, edit, add, delete, HEAD, a missing id, pictures, errors."""
    direct, relayed = pair.outcomes(STEPS[name])
    assert relayed == direct


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (lambda client: client.get("product", 1), 27),
        (lambda client: client.search("orders", {"filter[date_upd]": ">[2000-01-01]"}), 32),
        (lambda client: client.add("customers", {"customer": {"firstname": "Zoé"}}), 41),
        (lambda client: client.delete("customers", 9999), 87),
    ],
)
def test_95_prestapyt_sees_prestashops_own_error_codes(pair: Pair, step: Callable[[Any], object], code: int) -> None:
    """95. An error of the shop is raised with the number that PrestaShop gave it."""
    with pytest.raises(PrestaShopWebServiceError) as caught:
        step(pair.clients()[1])
    assert str(caught.value.ps_error_code) == str(code)


def test_95_prestapyt_with_xml(pair: Pair) -> None:
    """95. Its other class, which gives XML: list, get, add, edit, delete."""

    def story(client: Any) -> object:
        blank = client.get("customers", options={"schema": "blank"})
        for name, value in {**ZOE, "email": "xml@example.com"}.items():
            blank.find(f"customer/{name}").text = value
        made = _writable(client.add("customers", ET.tostring(blank)))
        number = made.findtext("customer/id")
        made.find("customer/note").text = "edited"
        edited = client.edit("customers", ET.tostring(made))
        listed = client.search("customers", {"filter[note]": "[edited]"})
        return [edited.findtext("customer/note"), ET.tostring(listed), client.delete("customers", number)]

    direct, relayed = pair.outcomes(story, PrestaShopWebService)
    assert relayed == direct
    assert "edited" in relayed


def test_prestapyt_understands_the_relays_own_errors(road: Road, pair: Pair) -> None:
    """A wrong access key is an authentication error; an offline agent has a code and a sentence that people read."""
    wrong = PrestaShopWebServiceDict(pair.connection.url, "W" * 32)
    with pytest.raises(PrestaShopAuthenticationError):
        wrong.get("products", 1)
    offline = road.connect(road.new_agent().id, "http://shop.test", "K" * 32)
    with pytest.raises(PrestaShopWebServiceError) as caught:
        PrestaShopWebServiceDict(offline.url, offline.access_key).search("products")
    assert caught.value.error_code == 503
    assert int(str(caught.value.ps_error_code)) > 999
    assert "agent" in str(caught.value.ps_error_msg)


def _writable(document: Any) -> Any:
    """A customer without what PrestaShop shows and does not take back."""
    customer = document.find("customer")
    for name in ("last_passwd_gen", "secure_key"):
        customer.remove(customer.find(name))
    return document


def curl(*words: str, text: bytes = b"") -> bytes:
    """What a real curl prints."""
    command = ["curl", "--silent", "--show-error", "--globoff", "--max-time", str(CURL_SECONDS), *words]
    done = subprocess.run(command, input=text, capture_output=True, env=environment(), timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", ["/api/products?display=[id,name]&filter[id]=[1|3]", "/api", "/api/products/9999"])
def test_curl_with_basic_and_with_ws_key(pair: Pair, path: str) -> None:
    """curl -u KEY: and ?ws_key=KEY give the shop's own bytes."""
    shop, connection = pair.relayed, pair.connection
    direct = curl("--user", f"{shop.key}:", f"{shop.url}{path}")
    assert curl("--user", f"{connection.access_key}:", f"{connection.url}{path}") == direct
    mark = "&" if "?" in path else "?"
    assert curl(f"{connection.url}{path}{mark}ws_key={connection.access_key}") == direct


def test_curl_in_other_moods(pair: Pair, tmp_path: Path) -> None:
    """curl with HTTP/1.0, HEAD, a form upload after 100-continue, chunked bodies and --compressed."""
    connection = pair.connection
    user = ["--user", f"{connection.access_key}:"]
    expected = curl(*user, f"{connection.url}/api/orders")
    assert expected.startswith(b"<?xml")
    for mood in (["--http1.0"], ["--compressed"], ["--header", "Connection: close"]):
        assert curl(*user, *mood, f"{connection.url}/api/orders") == expected
    head = curl(*user, "--head", f"{connection.url}/api/orders")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"PSWS-Version: 9.1.4" in head
    picture_file = tmp_path / "mug.jpg"
    picture_file.write_bytes(picture(900))
    sent = curl(
        *user, "--header", "Expect: 100-continue", "--include", "--form", f"image=@{picture_file}",
        f"{connection.url}/api/images/products/3",
    )  # fmt: skip
    assert sent.startswith(b"HTTP/1.1 100 Continue\r\n"), sent[:200]
    assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in sent
    chunked = ["--header", "Transfer-Encoding: chunked", "--data-binary", "@-"]
    customer = "".join(f"<{name}>{value}</{name}>" for name, value in {**ZOE, "email": "curl@example.com"}.items())
    body = f"<prestashop><customer>{customer}</customer></prestashop>".encode()
    assert b"curl@example.com" in curl(*user, *chunked, f"{connection.url}/api/customers", text=body)


def test_curl_is_told_what_is_wrong(pair: Pair) -> None:
    """Without a key: 401 with a challenge that says which key is meant, and an error in PrestaShop's shape."""
    told = curl("--include", f"{pair.connection.url}/api/orders")
    assert told.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b"WWW-Authenticate: Basic" in told
    assert b"<code><![CDATA[" in told
    assert b"access key" in told
