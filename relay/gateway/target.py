"""Which store's what: reads a request target below `/to/` and refuses what is not plainly under the store's `/api`.

PrestaShop's rewrite rule puts the path unescaped into the query, and PHP reads names loosely (`ps.method` is
`ps_method`), so what matters is looked for in the target decoded until it no longer changes.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_to_bytes

DECODING_ROUNDS = 8
"""A target that still changes after so many rounds of decoding is refused."""
REMEMBERED_BYTES = 1024

_SHAPE = re.compile(rb"(?:https?://[^/?#]*)?/to/(con_[a-z2-7]{16})(/[^#]*)?", re.IGNORECASE)
_UNDER_API = re.compile(rb"/+api(?:[/&][^?]*)?(?:\?.*)?", re.DOTALL)
_DOT_SEGMENT = re.compile(rb"(?:^|[/\\])\.{1,2}(?:;[^/\\]*)?(?=[/\\?&]|$)")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_OVERRIDE = re.compile(rb"ps[^a-z0-9]{0,4}method", re.IGNORECASE)
_URL_PARAMETER = re.compile(rb"[?&;][\s+]*url[\s+]*(?:[=&;\[\x00]|$)", re.IGNORECASE)
_WS_KEY = re.compile(rb"[\s+]*ws[_. +\[]key(?:[\[\x00].*)?", re.IGNORECASE | re.DOTALL)
_WS_KEY_IN_PATH = re.compile(rb"&[\s+]*ws[_. +\[]key", re.IGNORECASE)
"""PHP skips blanks before a name, reads `.`, blank and a lone `[` as `_`, and ends it at a NUL."""


class RefusedTargetError(Exception):
    """The target may not go to a store; `detail` says why. `unknown`: it names no connection at all."""

    def __init__(self, detail: str, *, unknown: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.unknown = unknown


@dataclass(frozen=True, slots=True)
class Target:
    """A judged target. `path` is what the store gets below its base path: raw bytes, less any `ws_key`."""

    connection: str
    path: bytes
    ws_key: bytes | None = field(repr=False)
    """The value of the last `ws_key`, encoded as it came: it may be put into an answer's Location as it is."""
    overrides_method: bool
    """Holds some spelling of `ps_method`: PrestaShop lets it override the verb, even on GET."""
    names_url: bool
    """Holds a parameter `url`, which PrestaShop's rewrite rule reserves for the path."""

    @property
    def only_reads(self) -> bool:
        """Whether a GET of it only reads."""
        return not (self.overrides_method or self.names_url)


def judge(target: bytes) -> Target:
    """Read `/to/con_…/api/…`. Raises RefusedTargetError."""
    return _remembered(target) if len(target) <= REMEMBERED_BYTES else _judge(target)


def asks_for_json(target: bytes) -> bool:
    """Whether the query asks for JSON: PrestaShop looks at `output_format` first, then at `io_format`."""
    parameters = dict(parse_qsl(target.decode("latin-1").partition("?")[2], keep_blank_values=True))
    return parameters.get("output_format", parameters.get("io_format")) == "JSON"


def _judge(target: bytes) -> Target:
    match = _SHAPE.fullmatch(target)
    if not match:
        raise RefusedTargetError("the address is not /to/con_…/api/…", unknown=True)
    raw = match[2] or b""
    if not _UNDER_API.fullmatch(raw):
        raise RefusedTargetError("only addresses under the store's /api are forwarded")
    for decoded in _decodings(raw.partition(b"?")[0]):
        _refuse_escapes(decoded)
    rounds = _decodings(raw)
    path, ws_key = _take_ws_key(raw)
    return Target(
        connection=match[1].decode("ascii"),
        path=path,
        ws_key=ws_key,
        overrides_method=any(_OVERRIDE.search(decoded) for decoded in rounds),
        names_url=any(_URL_PARAMETER.search(decoded) for decoded in rounds),
    )


_remembered = functools.lru_cache(maxsize=4096)(_judge)


def _decodings(raw: bytes) -> list[bytes]:
    """The text and what it decodes to, round by round."""
    rounds = [raw]
    while len(rounds) <= DECODING_ROUNDS:
        decoded = unquote_to_bytes(rounds[-1])
        if decoded == rounds[-1]:
            return rounds
        rounds.append(decoded)
    raise RefusedTargetError("the address is encoded too many times over")


def _refuse_escapes(path: bytes) -> None:
    if _DOT_SEGMENT.search(path):
        raise RefusedTargetError("the path has `.` or `..` as a segment")
    if b"\\" in path or _CONTROL.search(path):
        raise RefusedTargetError("the path has a backslash or a control character")


def _take_ws_key(raw: bytes) -> tuple[bytes, bytes | None]:
    """The target without any parameter that PHP would read as `ws_key`, and the last one's value."""
    if b"k" not in raw and b"K" not in raw and b"%" not in raw:
        return raw, None
    path, question, query = raw.partition(b"?")
    first, *others = path.split(b"&")
    in_path, path_key = _without_ws_key(others)
    in_query, query_key = _without_ws_key(query.split(b"&"))
    kept = b"&".join([first, *in_path])
    if any(_WS_KEY_IN_PATH.search(decoded) for decoded in _decodings(kept)):
        raise RefusedTargetError("the path holds `ws_key` in encoded form")
    if in_query:
        kept += question + b"&".join(in_query)
    return kept, path_key if query_key is None else query_key


def _without_ws_key(parameters: list[bytes]) -> tuple[list[bytes], bytes | None]:
    kept, ws_key = [], None
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if any(_WS_KEY.fullmatch(decoded) for decoded in _decodings(name)):
            ws_key = value
        else:
            kept.append(parameter)
    return kept, ws_key
