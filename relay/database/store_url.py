"""How a merchant writes a store's address, and what the relay makes of it."""

from __future__ import annotations

import re
from typing import Literal, cast

from agent.wire.destination import DestinationError, parse_origin
from relay.database.errors import Invalid
from relay.records import StoreUrl

PATH_CHARACTERS = 200
_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._~-]+\Z")
_SHAPE = re.compile(r"(https?)://([^/?#]*)([^?#]*)\Z", re.IGNORECASE)


def parse_store_url(text: str) -> StoreUrl:
    """Read `http(s)://host[:port][/path]`; a final slash and a final `/api` are dropped.

    Raises Invalid `store_url` with a sentence for the merchant.
    """
    text = text.strip()
    if not text:
        raise Invalid("store_url", "the store's address is missing: it should read like https://www.example.com")
    if "://" not in text:
        raise Invalid("store_url", f"the address must begin with http:// or https://, such as https://{text[:80]}")
    if "?" in text or "#" in text:
        raise Invalid("store_url", "leave out everything from the ? or # on: only the store's address belongs here")
    match = _SHAPE.match(text)
    if not match:
        raise Invalid("store_url", f"{text[:80]!r} should begin with http:// or https://")
    scheme, authority, path = match.groups()
    try:
        parsed, destination = parse_origin(f"{scheme.lower()}://{authority}")
    except DestinationError as error:
        raise Invalid("store_url", str(error)) from None
    return StoreUrl(cast("Literal['http', 'https']", parsed), destination, _base_path(path))


def _base_path(path: str) -> str:
    segments = path.rstrip("/").split("/")[1:]
    if segments and segments[-1] == "api":
        segments.pop()
    while segments and not segments[-1]:
        segments.pop()
    if "api" in segments:
        raise Invalid("store_url", "the address ends before /api: leave out /api and what follows it")
    if not all(_SEGMENT.match(segment) for segment in segments) or len(path) > PATH_CHARACTERS:
        raise Invalid("store_url", "the path holds letters, digits, '-', '.', '_' and '~', such as /prestashop")
    return "".join(f"/{segment}" for segment in segments)
