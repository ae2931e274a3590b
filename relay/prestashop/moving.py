"""Where a shop sends its callers: which `Location` means another name of the shop, and which store URL it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from agent.wire.destination import DestinationError, format_origin, parse_origin

SHOWN_CHARACTERS = 200
PATH_CHARACTERS = 200
_ASKED_FOR = re.compile(r"[?&]url=")
"""PrestaShop's redirect to the name that the shop has (1.6 to 9) repeats the webservice's own parameter."""
_API = re.compile(r"/api(?:/.*)?\Z")
_FOLDER = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)*\Z")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A redirect's end. `wrong_host`: the shop does not own the name it was called by, and says its own.

    `store_url` is None where the address is none that a connection could have.
    """

    shown: str
    store_url: str | None
    wrong_host: bool = False


def leads_elsewhere(location: str) -> Elsewhere:
    """What a `Location` in the answer to `GET /api` tells. Never raises: it is the store's text."""
    try:
        url = urlsplit(location)
    except ValueError:
        return Elsewhere(location[:SHOWN_CHARACTERS], None)
    wrong_host = bool(_ASKED_FOR.search(location)) and bool(url.netloc)
    path = url.path.rstrip("/")
    if wrong_host:
        folder = _API.sub("", path.removesuffix("/index.php"))
        found = _store_url(url, folder)
    else:
        found = _store_url(url, path.removesuffix("/api")) if path.endswith("/api") else None
    return Elsewhere(found or location[:SHOWN_CHARACTERS], found, wrong_host)


def _store_url(url: SplitResult, folder: str) -> str | None:
    try:
        scheme, destination = parse_origin(f"{url.scheme}://{url.netloc}")
    except DestinationError:
        return None
    if not _FOLDER.match(folder) or len(folder) > PATH_CHARACTERS or "api" in folder.split("/"):
        return None
    return format_origin(scheme, destination) + folder
