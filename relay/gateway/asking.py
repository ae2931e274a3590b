"""The request as the store gets it: its own Host, its own key, and none of what stops at the relay."""

from __future__ import annotations

import base64

from relay.gateway.exchange import Exchange
from relay.records import Connection, KeyPlace

_NO_KEY = b"Authorization: Basic %s\r\n" % base64.b64encode(b":")
"""An empty key: PrestaShop then says if its webservice is switched off; to no key at all it only says 401."""


class Asking:
    """What all requests of one connection have in common, made once."""

    __slots__ = ("_bare", "_base", "_opening", "_ws_key", "key")

    def __init__(self, connection: Connection) -> None:
        self.key = key = connection.api_key.get_secret_value().encode("ascii")
        opening = b" HTTP/1.1\r\nHost: %s\r\n" % connection.store.host_header.encode("ascii")
        self._bare = opening + _NO_KEY
        basic = connection.key_place is KeyPlace.BASIC
        if basic:
            opening += b"Authorization: Basic %s\r\n" % base64.b64encode(key + b":")
        self._base = connection.store.base_path.encode("ascii")
        self._opening = opening
        self._ws_key = b"" if basic else b"ws_key=" + key

    def head(self, exchange: Exchange) -> bytes:
        request, path = exchange.request, exchange.target.path
        opening = self._bare if exchange.keyless else self._opening
        if self._ws_key and not exchange.keyless:
            path += (b"&" if b"?" in path else b"?") + self._ws_key
        fields = request.fields
        framing = b"\r\n"
        if fields.chunked:
            framing = b"Transfer-Encoding: chunked\r\n\r\n"
        elif fields.length is not None:
            framing = b"Content-Length: %d\r\n\r\n" % fields.length
        return b"".join((request.method, b" ", self._base, path, opening, fields.forwarded, framing))
