"""One store's webservice as the relay itself uses it: lists read, single things changed, through the connection's pool.

What it sends takes its turn at the store like a connector's requests, and counts against the same limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar
from xml.sax.saxutils import escape

from relay.gateway.call import Answer, call
from relay.gateway.errors import GatewayError, Outcome
from relay.gateway.gateway import Gateway
from relay.gateway.pool import HEAVY_TIMES, QUEUE_SECONDS
from relay.prestashop.json_rows import NotRowsError, rows_of_json
from relay.prestashop.page_sizes import PageSizes
from relay.prestashop.query import EVERYWHERE, FULL, Query, Scope, address, equals
from relay.prestashop.reading import Element, NotXmlError
from relay.prestashop.rows import Row, rows_of
from relay.prestashop.scrubbing import Scrubber
from relay.prestashop.store_errors import StoreError, document_of
from relay.records import Connection

ANSWER_BYTES = 8 * 1024 * 1024
"""Of one answer, which is held in memory: 50 products in full have some 350 KB."""
SPARE_SECONDS = 5.0
"""A call's own deadline comes after those of the wait for a turn and of the store's silence, which say more."""
APART_BYTES = 128 * 1024
"""A longer document is read in a thread, so that everybody else's bytes go on meanwhile."""
_FIELDS = (("User-Agent", "Postern"), ("Accept", "*/*"), ("Accept-Encoding", "identity"))
"""Firewalls refuse requests without the first two; without the third a store may answer packed (RFC 9110 §12.5.3)."""
_JSON = ("Output-Format", "JSON")
_XML = ("Content-Type", "text/xml; charset=utf-8")

T = TypeVar("T")


class Shop:
    """Asks in XML: it is whole in every version, where JSON drops fields, types and associations.

    Its methods raise GatewayError for what failed on the way, StoreError for what the store answered.
    """

    def __init__(
        self, gateway: Gateway, connection: Connection, *, in_json: bool = False, sizes: PageSizes | None = None
    ) -> None:
        """`sizes` are those of all shops' lists; without them it keeps its own."""
        self.connection = connection
        self.sizes = sizes or PageSizes(gateway.clock)
        self._gateway = gateway
        self._in_json_first = in_json
        self._scrubber = Scrubber(connection.api_key)

    @property
    def lean(self) -> Shop:
        """The same shop, asked for its lists in JSON, a third as long, for as long as that can be read.

        What is shown comes to the same in both, but for associations that are empty: they are left out.
        """
        return Shop(self._gateway, self.connection, in_json=True, sizes=self.sizes)

    @property
    def longest(self) -> float:
        """Seconds after which any of its requests has ended."""
        return HEAVY_TIMES * QUEUE_SECONDS + self.connection.answer_timeout + SPARE_SECONDS

    async def rows(self, query: Query) -> list[Row]:
        """The rows of a list, in the order that the query asks for; in JSON where a text in them breaks the XML."""
        return (await self.answered(query))[0]

    async def answered(self, query: Query) -> tuple[list[Row], Answer]:
        """The same, with the answer that they came in: its `Date` is the shop's own clock."""
        if self._in_json_first and (found := await self._in_json(query)):
            return found
        answer = await self._send("GET", query.path)
        try:
            rows = await self._rows(answer, chooses_shop=query.scope.chooses_shop)
        except StoreError as error:
            if error.code == "store_not_xml" and (found := await self._in_json(query)):
                return found
            raise
        self._in_json_first = False
        return rows, answer

    async def one(self, resource: str, id_: int, scope: Scope = EVERYWHERE) -> Row | None:
        """The whole entity, of whichever shop of a multistore; None where there is none.

        Without `display`: up to 1.7.7 a single entity with it shrinks to its id.
        """
        path = address(f"{resource}/{id_}", scope.parameters())
        try:
            rows = await self._rows(await self._send("GET", path), chooses_shop=scope.chooses_shop)
        except StoreError as error:
            if error.code == "not_in_store":
                return None
            if error.code != "store_not_xml":
                raise
            rows = await self.rows(Query(resource, FULL, (("id", equals(id_)),), limit=1, scope=scope))
        return next((row for row in rows if row.id == id_), None)

    async def read(self, path: str) -> Element:
        """Any document of the webservice; `path` begins with `/api` and is encoded."""
        return await self._document(await self._send("GET", path), chooses_shop=False)

    async def post(self, resource: str, document: bytes, parameters: Sequence[tuple[str, str]] = ()) -> list[Row]:
        """Make what the document (see `entity`) tells of. Never sent twice, however it ends."""
        return await self._rows(await self._send("POST", address(resource, parameters), document))

    async def patch(self, resource: str, document: bytes, parameters: Sequence[tuple[str, str]] = ()) -> list[Row]:
        """Change the fields that the document names, of the entity whose id it holds (PrestaShop 8 and later)."""
        return await self._rows(await self._send("PATCH", address(resource, parameters), document))

    async def get(self, path: str, *, fields: tuple[tuple[str, str], ...] = (), limit: int = ANSWER_BYTES) -> Answer:
        """The answer to a GET, whatever it is and whatever it means; for pictures, say."""
        return await self._send("GET", path, fields=fields, limit=limit)

    async def _in_json(self, query: Query) -> tuple[list[Row], Answer] | None:
        """None where it is no list in JSON either."""
        answer = await self._send("GET", query.path, fields=(_JSON,))
        if answer.status != 200:
            return None
        try:
            return await _apart(answer, lambda: rows_of_json(answer.body)), answer
        except NotRowsError:
            return None

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        fields: tuple[tuple[str, str], ...] = (),
        limit: int = ANSWER_BYTES,
    ) -> Answer:
        declared = (_XML,) if body else ()
        return await call(
            self._gateway,
            self.connection,
            path,
            method=method,
            fields=(*_FIELDS, *declared, *fields),
            body=body,
            limit=limit,
            deadline=self.longest,
        )

    async def _rows(self, answer: Answer, *, chooses_shop: bool = False) -> list[Row]:
        return await _apart(answer, lambda: self._rows_in(answer, chooses_shop=chooses_shop))

    async def _document(self, answer: Answer, *, chooses_shop: bool) -> Element:
        return await _apart(answer, lambda: self._document_in(answer, chooses_shop=chooses_shop))

    def _rows_in(self, answer: Answer, *, chooses_shop: bool) -> list[Row]:
        root = self._document_in(answer, chooses_shop=chooses_shop)
        try:
            return list(rows_of(root))
        except NotXmlError as error:
            raise StoreError("store_not_xml", str(error), status=answer.status) from None

    def _document_in(self, answer: Answer, *, chooses_shop: bool) -> Element:
        try:
            return document_of(answer, chooses_shop=chooses_shop)
        except StoreError:
            scrubbed = self._scrubber.answer(answer)
            return document_of(scrubbed, chooses_shop=chooses_shop)


async def _apart(answer: Answer, read: Callable[[], T]) -> T:
    """A long document is read in a thread, whatever comes of it."""
    return read() if len(answer.body) < APART_BYTES else await asyncio.to_thread(read)


def entity(node: str, **fields: str | int) -> bytes:
    """The document that a POST or PATCH sends: `<prestashop><order><id>41</id>…`."""
    inner = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in fields.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<prestashop><{node}>{inner}</{node}></prestashop>'.encode()


def too_heavy(error: Exception) -> bool:
    """Whether the same may be asked again in smaller parts: the store ran out of memory or time over it."""
    if isinstance(error, StoreError):
        return error.code in {"php_fatal", "store_proxy_failed", "store_not_xml"}
    if isinstance(error, GatewayError) and error.outcome is not Outcome.NOT_SENT:
        return error.failure.code in {"store_closed_early", "store_timeout", "store_bad_answer"}
    return False
