"""Updates that must not undo another's: `ETag` names a record's state, `If-Match` says which one was read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Header

from relay.api.problems import ProblemError
from relay.database.records import (
    AccountRecord,
    AgentRecord,
    AlertRecord,
    ApiTokenRecord,
    ConnectionRecord,
    TriggerRecord,
)

_BY_ITSELF = frozenset({"last_used_at", "key_checked_at", "key_works", "progress"})

Editable = AccountRecord | AgentRecord | AlertRecord | ApiTokenRecord | ConnectionRecord | TriggerRecord

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=400,
        description="The `ETag` of the state that was read: if the record has changed since, nothing is done.",
        examples=['"0123456789abcdef0123456789abcdef"'],
    ),
]


def etag(record: Editable) -> str:
    """A strong entity tag of what is stored; what changes by itself, such as tunnels, is not part of it."""
    state = json.dumps(_written(asdict(record)), sort_keys=True)
    return f'"{hashlib.sha256(state.encode()).hexdigest()[:32]}"'


def _written(value: Any) -> Any:
    """Without what nobody edits."""
    if isinstance(value, Mapping):
        return {name: _written(part) for name, part in value.items() if name not in _BY_ITSELF}
    return [_written(part) for part in value] if isinstance(value, list | tuple) else value


def matching(if_match: str | None) -> Callable[[Editable], None]:
    """Raises, when called with a record, ProblemError `edited_meanwhile` unless the caller has seen this state.

    RFC 9110 §13.1.1; without the header, or with `*`, any state will do.
    """
    tags = None if if_match is None else {tag.strip() for tag in if_match.split(",")}

    def check(record: Editable) -> None:
        if tags is not None and "*" not in tags and etag(record) not in tags:
            raise ProblemError("edited_meanwhile", "read it again, and repeat the change on what it is now")

    return check
