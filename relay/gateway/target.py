"""Which store's what: reads a request target below `/to/` and refuses what is not plainly under the store's `/api`.

PrestaShop's rewrite rule puts the path unescaped into the query, and PHP reads names loosely (`ps.method` is
`ps_method`), so what matters is looked for in the target decoded until it no longer changes.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

DECODING_ROUNDS = 8
"""A target that still changes after so many rounds of decoding is refused."""
REMEMBERED_BYTES = 1024

_SHAPE = re.compile(rb"(?:https?://[^/?#]*)?/to/(con_[a-z2-7]{16})(/[^#]*)?", re.IGNORECASE)
_UNDER_API = re.compile(rb"/+api(?:[/&][^?]*)?(?:\?.*)?", re.DOTALL)
_DOT_SEGMENT = re.compile(rb"(?:^|[/\\])\.{1,2}(?:;[^/\\]*)?(?=[/\\?&]|$)")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_OVERRIDE = re.compile(rb"ps[^a-z0-9]{0,4}method", re.IGNORECASE)
_URL_PARAMETER = re.compile(rb"[?&;]\s*url\s*(?:[=&;\[]|$)", re.IGNORECASE)
_WS_KEY = re.compile(rb"\s*ws[_. +\[]key", re.IGNORECASE)


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
    ws_key: bytes | None
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


def _judge(target: bytes) -> Target:
    match = _SHAPE.fullmatch(target)
    if not match:
        raise RefusedTargetError("the address is not /to/con_…/api/…", unknown=True)
    raw = match[2] or b""
    if not _UNDER_API.fullmatch(raw):
        raise RefusedTargetError("only addresses under the store's /api are forwarded")
    rounds = list(_decodings(raw))
    for decoded in rounds:
        _refuse_escapes(decoded.partition(b"?")[0])
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
    pieces = re.split(rb"([?&])", raw)
    kept, ws_key = [pieces[0]], None
    for separator, parameter in zip(pieces[1::2], pieces[2::2], strict=True):
        name, _, value = parameter.partition(b"=")
        if any(_WS_KEY.fullmatch(decoded) for decoded in _decodings(name)):
            ws_key = unquote_to_bytes(value)
        else:
            kept += [separator, parameter]
    return _mend_first_separator(raw, b"".join(kept)), ws_key


def _mend_first_separator(raw: bytes, kept: bytes) -> bytes:
    """Where the first parameter after `?` was the key, the next one takes its `?`."""
    path, question, _ = raw.partition(b"?")
    if not question or b"?" in kept or not kept.startswith(path + b"&"):
        return kept
    return path + b"?" + kept[len(path) + 1 :]
