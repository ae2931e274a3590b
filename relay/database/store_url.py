"""How a merchant writes a store's address, what the relay makes of it, and how that is said back."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal, NoReturn, cast

import idna

from agent.wire.destination import Destination, DestinationError
from relay.database.errors import Invalid
from relay.records import StoreUrl

ADDRESS_CHARACTERS = 2000
PATH_CHARACTERS = 200
_AROUND = "\"'`´«»‹›„“”‚‘’<>,;\u200b\u200c\u200d\u2060\ufeff"  # noqa: RUF001 - these very marks
"""What is copied along with an address: quotes, brackets, a comma, marks without width."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_OTHER_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?![0-9]{1,5}(?:[/?#]|\Z))")
"""`mailto:…` and `http:/…`, but not `shop.lan:8080`."""
_PARTS = re.compile(r"([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?\Z", re.DOTALL)
_AUTHORITY = re.compile(r"([^:]+)(?::([0-9]{0,5}))?\Z")
_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._~-]+\Z")
_BACK_OFFICE = re.compile(r"admin(?:-dev|[0-9][A-Za-z0-9]*)?\Z")
"""PrestaShop names the directory `admin` and makes it `admin123abcd` at its first use."""
_BACK_OFFICE_QUERY = re.compile(r"[?&](?:controller=Admin|_token=)")
"""Not `token=`, which is in the address of a cart as well."""
_LAN = frozenset(
    ("lan", "local", "localdomain", "localhost", "home", "internal", "intranet", "corp", "private", "test", "example")
)
"""Last labels of names that no public certificate is issued for."""
EXAMPLE = "such as https://www.example.com"


@dataclass(frozen=True, slots=True)
class Understood:
    """An address as it is taken; `notes` are sentences about what was made of it, none where it stands as written."""

    store: StoreUrl
    notes: tuple[str, ...] = ()


def parse_store_url(text: str) -> StoreUrl:
    """As `understand`, for whoever wants the address alone."""
    return understand(text).store


def understand(text: str) -> Understood:
    """Read an address as people paste it: from the back office's login page, with `/api…`, without `http`.

    What comes out reads as itself (`str` of it is understood without a note). Raises Invalid `store_url` with a
    sentence for the merchant, in which no password and no token of the address is repeated.
    """
    written = _bare(text)
    notes: list[str] = []
    scheme, rest = _scheme(written)
    match = _PARTS.match(rest)
    authority, path, query, fragment = match.groups("") if match else ("", "", "", "")
    host, port = _authority(authority, notes)
    if scheme is None:
        scheme = _assumed(host, port)
        notes.append(f"no http:// or https:// was given: {scheme}:// is assumed")
    destination = _destination(host, int(port or {"http": 80, "https": 443}[scheme]))
    base, page = _base_path(path, query, notes)
    store = StoreUrl(scheme, destination, base)
    if query.strip("?") and not page:
        _refuse(f"leave out everything from the ? on, if the store's address is {store}")
    if query.strip("?") or fragment.strip("#"):
        notes.append("what follows the ? or # is left out: only the store's address belongs here")
    return Understood(store, () if str(store) == text else (f"taken as {store}", *notes))


def _bare(text: str) -> str:
    """Without what stands around it."""
    if len(text) > ADDRESS_CHARACTERS:
        _refuse(f"this is too long for an address: enter the store's, {EXAMPLE}")
    bare = text
    while bare != (bare := bare.strip().strip(_AROUND)):
        pass
    if not bare:
        _refuse(f"the store's address is missing: it should read like {EXAMPLE.removeprefix('such as ')}")
    if any(c.isspace() or not c.isprintable() for c in bare):
        _refuse(f"there are blanks or control characters in it: enter one address, {EXAMPLE}")
    if "\\" in bare:
        _refuse(f"an address has / and no \\ in it, {EXAMPLE}")
    return bare


def _scheme(text: str) -> tuple[Literal["http", "https"] | None, str]:
    """The scheme, None where there is none, and the rest."""
    match = _SCHEME.match(text)
    if match:
        scheme = match[1].lower()
        if scheme not in {"http", "https"}:
            _refuse(f"a store is reached by http:// or https://, not by {scheme[:20]}://")
        return cast("Literal['http', 'https']", scheme), text[match.end() :]
    if _OTHER_SCHEME.match(text) and "@" not in text.partition("/")[0]:
        _refuse(f"the address must begin with http:// or https://, {EXAMPLE}")
    return None, text.removeprefix("//")


def _authority(text: str, notes: list[str]) -> tuple[str, str]:
    """Host, as its A-labels, and port, empty where there is none."""
    if "@" in text:
        _refuse("leave out the user name and password before the @: the relay sends the webservice key alone")
    if text.startswith("["):
        _refuse("a store goes by a name or an IPv4 address, not by an IPv6 one: give it a name, such as shop.lan")
    match = _AUTHORITY.match(text)
    if not match:
        _refuse(f"there is no host name in it: it should read like {EXAMPLE.removeprefix('such as ')}")
    host, port = match[1], match[2] or ""
    if not host.isascii():
        host = _a_labels(host)
        notes.append(f"the name is {host} on the wire")
    return host.lower().removesuffix("."), port


def _a_labels(host: str) -> str:
    """The name as DNS and certificates know it (IDNA 2008, RFC 5891; mapped as browsers do, UTS 46)."""
    try:
        return idna.encode(host, uts46=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        _refuse("the host name has characters that no name on the Internet has: copy it from the browser")


def _assumed(host: str, port: str) -> Literal["http", "https"]:
    """Names that the world may know have certificates; names of a LAN, and addresses, mostly have none."""
    if port in {"80", "443"}:
        return "https" if port == "443" else "http"
    try:
        public = ipaddress.ip_address(host).is_global
    except ValueError:
        public = "." in host and host.rpartition(".")[2] not in _LAN
    return "https" if public else "http"


def _destination(host: str, port: int) -> Destination:
    try:
        return Destination.of(host, port)
    except DestinationError as error:
        raise Invalid("store_url", str(error)) from None


def _base_path(path: str, query: str, notes: list[str]) -> tuple[str, bool]:
    """The directory that the shop lies in, and whether the path names something inside it (its API, a page)."""
    written = segments = [segment for segment in path.split("/") if segment]
    lower = [segment.lower() for segment in segments]
    if lower.count("api") > 1:
        _refuse("/api stands in it twice: enter the address that the shop's pages begin with, without /api")
    if "api" in lower:
        segments = segments[: lower.index("api")]
        notes.append("/api and what follows it is left out: the relay adds it")
    segments = _without_back_office(segments, query, notes)
    if segments and segments[-1].lower().endswith((".html", ".htm", ".php")):
        _refuse("this is the address of one page: enter the one that all the shop's pages begin with")
    if not all(_SEGMENT.match(segment) for segment in segments) or len(path) > PATH_CHARACTERS:
        _refuse("the path holds letters, digits, '-', '.', '_' and '~', such as /prestashop")
    return "".join(f"/{segment}" for segment in segments), segments != written


def _without_back_office(segments: list[str], query: str, notes: list[str]) -> list[str]:
    """Cut at `index.php` (with the directory before it, if this is a page of the back office), else at `admin123…`."""
    kept = segments
    if "index.php" in segments:
        kept = segments[: segments.index("index.php")]
        if _BACK_OFFICE_QUERY.search(query):
            kept = kept[:-1]
    admin = next((place for place, segment in enumerate(kept) if _BACK_OFFICE.match(segment)), len(kept))
    kept = kept[:admin]
    if kept != segments:
        notes.append("this is a page of the shop or its back office: the shop's own address is what stands before it")
    return kept


def _refuse(sentence: str) -> NoReturn:
    raise Invalid("store_url", sentence)
