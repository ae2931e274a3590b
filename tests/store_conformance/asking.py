"""How the conformance tests ask a shop, and how they read its answers."""

from __future__ import annotations

import base64
import hashlib
import json
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.store import Store

XLINK = "{http://www.w3.org/1999/xlink}href"
JSON = ("Output-Format", "JSON")

# The names under which the assertions and the transcripts speak of keys, and those of the store.
KEY_NAMES = {
    "FULL": "full",
    "PROD": "products_get_only",
    "OFF": "disabled",
    "NOSHOP": "no_shop",
    "NONE": "no_permission",
}


@dataclass(slots=True)
class Response:
    """One answer; headers in wire order, names as spelled."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    first_byte: float = 0.0  # seconds from the request's last byte to the answer's first
    rest: float = 0.0  # seconds from the first byte to the last

    def header(self, name: str) -> str | None:
        """The value of a header, whatever its spelling."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        return found[0] if found else None

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def xml(self) -> ET.Element:
        return ET.fromstring(self.body)  # noqa: S314 - the stand-in's own answer

    @property
    def sha1(self) -> str:
        return hashlib.sha1(self.body).hexdigest()  # noqa: S324 - what PrestaShop uses

    @property
    def errors(self) -> list[tuple[int, str]]:
        """(code, message) of each error, from XML or JSON."""
        if (self.header("Content-Type") or "").startswith("application/json"):
            return [(one["code"], one["message"]) for one in self.json["errors"]]
        return [(int(one.findtext("code") or -1), one.findtext("message") or "") for one in self.xml.iter("error")]

    @property
    def codes(self) -> list[int]:
        return [code for code, _ in self.errors]

    @property
    def ids(self) -> list[int]:
        """The ids of a list, from XML or JSON."""
        if (self.header("Content-Type") or "").startswith("application/json"):
            listed = self.json
            return [one["id"] for one in next(iter(listed.values()))] if listed else []
        return [int(one.get("id") or one.findtext("id") or -1) for one in self.xml[0]]

    @property
    def hrefs(self) -> list[str]:
        return [one.attrib[XLINK] for one in self.xml.iter() if XLINK in one.attrib]


class Shop(Protocol):
    """A road to the stand-in store."""

    direct: bool  # nothing lies between: headers of the connection can be compared too

    async def request(
        self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Response:
        """Send exactly this (plus Host and Content-Length where they are missing) and read the answer."""
        ...

    def key(self, name: str) -> str:
        """What the caller sends as the key FULL, PROD, OFF, NOSHOP or NONE; other texts stand for themselves."""
        ...


def basic(user: str, password: str = "") -> tuple[str, str]:
    coded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return ("Authorization", f"Basic {coded}")


async def ask(
    shop: Shop,
    target: str,
    *,
    method: str = "GET",
    key: str | None = "FULL",
    json: bool = False,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes | str = b"",
) -> Response:
    """One request with a key in Basic (None: no credential)."""
    sent = [basic(shop.key(key))] if key is not None else []
    sent += [JSON] if json else []
    data = body.encode() if isinstance(body, str) else body
    return await shop.request(method, target, [*sent, *headers], data)


async def get(
    shop: Shop, target: str, *, key: str | None = "FULL", headers: Sequence[tuple[str, str]] = ()
) -> Response:
    return await ask(shop, target, key=key, headers=headers)


async def get_json(shop: Shop, target: str, *, key: str | None = "FULL") -> Response:
    return await ask(shop, target, key=key, json=True)


async def send(shop: Shop, method: str, target: str, xml: str, *, json: bool = False) -> Response:
    """A write of the inside of `<prestashop>`."""
    return await ask(shop, target, method=method, body=f"<prestashop>{xml}</prestashop>", json=json)


def order_state(store: Store, order: int) -> object:
    """Where an order stands in the shop's own data."""
    return store.shop.row("orders", order)["current_state"]


def histories(store: Store, order: int) -> int:
    return len(store.shop["order_histories"].where("id_order", order))
