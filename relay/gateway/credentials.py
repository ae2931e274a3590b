"""Who is calling, and what a caller may do: access keys of one connection, API tokens of an account."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
from urllib.parse import unquote_to_bytes

from relay.gateway.errors import GatewayError
from relay.gateway.exchange import Exchange
from relay.records import Caller, Connection, Scope

REMEMBERED_BYTES = 512
"""Longer credentials, which no client of ours sends, are not remembered: nobody unknown shall fill the memory."""


def presented(exchange: Exchange) -> tuple[str, str]:
    """The caller's credential as digests: (of an access key, of an API token), one of them empty."""
    authorization, ws_key = exchange.request.fields.authorization or b"", exchange.target.ws_key or b""
    small = len(authorization) + len(ws_key) <= REMEMBERED_BYTES
    return (_remembered_digests if small else _digests)(authorization, ws_key)


def judge_key(connection: Connection | None, digest: str) -> Connection:
    """The connection, if the digest is of one of its access keys. An unknown one answers exactly as a wrong key."""
    if connection is not None and digest:
        for _, stored in connection.access_keys:
            if hmac.compare_digest(digest, stored):
                return connection
    raise GatewayError("unauthenticated")


def judge_token(exchange: Exchange, connection: Connection | None, caller: Caller | None) -> Connection:
    """What an API token may do here. Another account's connection answers exactly as an unknown one."""
    if caller is None:
        raise GatewayError("unauthenticated")
    if connection is None or (caller.account != connection.account and caller.scope is not Scope.OPERATE):
        raise GatewayError("not_found")
    reads = exchange.request.method in {b"GET", b"HEAD"} and exchange.target.only_reads
    if not caller.scope.allows(Scope.READ if reads else Scope.FORWARD):
        raise GatewayError("forbidden", "reading needs the scope `read`, everything else `forward`")
    return connection


def _digests(authorization: bytes, ws_key: bytes) -> tuple[str, str]:
    """As with PrestaShop, Basic wins over `ws_key` where both are there, and the key is Basic's user.

    Pure, and remembered: a connector sends the same credential with every request.
    """
    scheme, _, rest = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return "", _digest(rest.strip(b" "))
    if scheme.lower() == b"basic":
        return _digest(_basic_user(rest.strip(b" "))), ""
    return _digest(unquote_to_bytes(ws_key)), ""


_remembered_digests = functools.lru_cache(maxsize=1024)(_digests)


def _digest(credential: bytes) -> str:
    return hashlib.sha256(credential).hexdigest() if credential else ""


def _basic_user(encoded: bytes) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[0]
    except (binascii.Error, ValueError):
        return b""
