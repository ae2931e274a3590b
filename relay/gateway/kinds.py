"""What a request is for the store that answers it: which others take as long, and whether it is light."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

LIGHT_ROWS = 10
"""A list of at most so many rows is a look, not an export."""
_TEXT_BYTES = 40
"""Of what tells kinds apart; the rest of a longer text does not."""
_DISPLAY = re.compile(rb"(?:^|&)display=([^&]*)")
_LIMIT = re.compile(rb"(?:^|&)limit=([^&]*)")
_ONE_VALUE = re.compile(rb"(?:^|&)filter\[[^\]]*\]=(?!\[\]|[<>!%]|\[[^\]]*,)")
"""A filter that asks for certain values: not for what lies above, below, between or beside them."""


class Kind(NamedTuple):
    method: bytes
    resource: bytes
    shape: bytes
    """`one` (an entity, a picture, the root), or of a list its `display`; nothing of a request that changes data."""
    rows: bytes
    """The list's `limit`, as it stands there."""
    light: bool


def family_of(kind: Kind) -> tuple[bytes, ...]:
    """What it has in common with pages of other lengths of the same list."""
    return kind[:3]


def kind_of(method: bytes, path: bytes) -> Kind:
    """`path` is what the store gets, from `/api` on."""
    path, _, query = path.partition(b"?")
    _, _, rest = path.lstrip(b"/").partition(b"/")
    resource, _, id_ = rest.partition(b"/")
    resource = resource[:_TEXT_BYTES]
    if method not in {b"GET", b"HEAD"}:
        return Kind(method, resource, b"", b"", light=True)
    if id_ or not resource:
        return Kind(method, resource, b"one", b"", light=True)
    query = unquote_to_bytes(query)
    limit, display = _LIMIT.search(query), _DISPLAY.search(query)
    rows = limit[1] if limit else b""
    light = _few(rows) or bool(_ONE_VALUE.search(query))
    return Kind(method, resource, display[1][:_TEXT_BYTES] if display else b"", rows[:_TEXT_BYTES], light)


def _few(limit: bytes) -> bool:
    """Whether `n` or `offset,n` is a small n."""
    count = limit.rpartition(b",")[2]
    return count.isdigit() and len(count) < 9 and int(count) <= LIGHT_ROWS
