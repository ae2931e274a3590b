"""Updates that must not undo another's: `ETag` names a record's state, `If-Match` says which one was read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Annotated

from fastapi import Header

from relay.api.problems import ProblemError
from relay.database.records import AccountRecord, AgentRecord, ApiTokenRecord, ConnectionRecord

Editable = AccountRecord | AgentRecord | ApiTokenRecord | ConnectionRecord

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
    state = json.dumps(asdict(record), sort_keys=True)
    return f'"{hashlib.sha256(state.encode()).hexdigest()[:32]}"'


def check(record: Editable, if_match: str | None) -> None:
    """Raises ProblemError `edited_meanwhile` unless the caller has seen this state (RFC 9110 §13.1.1)."""
    if if_match is None or if_match.strip() == "*":
        return
    if etag(record) not in [tag.strip() for tag in if_match.split(",")]:
        raise ProblemError("edited_meanwhile", "read it again, and repeat the change on what it is now")
