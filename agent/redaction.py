"""What secrets look like in a text, plain or encoded, and how they are taken out of it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from agent.wire.token import PREFIX

REMOVED = "[removed]"
SHORTEST = 4
"""A known secret shorter than that would take half of every text with it."""

_PATTERNS = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REMOVED),
    (re.compile(rf"{PREFIX}[a-z2-7]{{16,}}", re.IGNORECASE), REMOVED),
    (re.compile(r"(?<=://)[^/\s\"'@]+(?=@)"), REMOVED),
    (re.compile(r"\b((?:proxy-)?authorization|(?:set-)?cookie)(\s*[:=]\s*)[^\r\n]+", re.IGNORECASE), rf"\1\2{REMOVED}"),
    (re.compile(r"\b((?i:bearer|basic))(\s+)(?=\S*(?:\d|=|[a-z][A-Z]))[\w.~+/=-]{8,}"), rf"\1\2{REMOVED}"),
    (
        re.compile(
            r"\b(ws_key|passw(?:or)?d|secret|token|ticket|api_?key)(['\"]?\s*[=:]\s*['\"]?)[^\s&'\",;]+", re.IGNORECASE
        ),
        rf"\1\2{REMOVED}",
    ),
)


class Redaction:
    """Takes the known `secrets` out, in every form that they commonly take, and whatever looks like one."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        forms = {form for secret in secrets if len(secret) >= SHORTEST for form in _forms(secret)}
        ordered = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        if self._known:
            text = self._known.sub(REMOVED, text)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text

    def value(self, value: Any) -> Any:
        """The same for whatever JSON can hold."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each) for each in value]
        return value


def _forms(secret: bytes) -> Iterator[str]:
    yield secret.hex()
    yield secret.hex().upper()
    for offset in range(3):
        yield from _inside_base64(secret, offset)
    text = secret.decode("utf-8", "replace")
    if "\ufffd" not in text:
        yield text
        yield quote(text, safe="")
        yield quote(text)
        yield quote_plus(text)
        yield "".join(f"%{byte:02X}" for byte in secret)
        yield "".join(f"%{byte:02x}" for byte in secret)


def _inside_base64(secret: bytes, offset: int) -> Iterator[str]:
    """The characters that are the same wherever the secret stands `offset` bytes behind a multiple of three."""
    first = (offset * 8 + 5) // 6
    last = (offset + len(secret)) * 8 // 6
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(bytes(offset) + secret + bytes(2)).decode()
        if last - first >= SHORTEST:
            yield whole[first:last]
