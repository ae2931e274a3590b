"""Cursors: what a list gave out is taken back, anything else is refused."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.database import agents, audit
from relay.database.engine import Database
from relay.database.errors import Invalid
from relay.database.names import NAME_CHARACTERS
from relay.database.paging import CURSOR_CHARACTERS, LIMIT_MOST, decode, encode
from relay.database.tables import AgentRow, AuditEventRow

BY_NAME = [AgentRow.name, AgentRow.id]

names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=NAME_CHARACTERS)


@given(name=names, id_=names.filter(str.isascii))
def test_cursor_comes_back_whole(name: str, id_: str) -> None:
    """Any name that may be given fits into a cursor and is read out of it again."""
    if not name.isprintable():
        return
    cursor = encode([name, id_])
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert len(cursor) <= CURSOR_CHARACTERS
    assert decode(cursor, BY_NAME) == [name, id_]


@given(seq=st.integers(0, 2**63 - 1))
def test_numbers_come_back(seq: int) -> None:
    """A list that is sorted by number has numbers in its cursors."""
    assert decode(encode([seq]), [AuditEventRow.seq]) == [seq]


@given(text=st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: raw.hex()))
def test_nonsense_is_refused(text: str) -> None:
    """Anything else is refused by the name of the parameter, or happens to be a cursor."""
    with contextlib.suppress(Invalid):
        assert [type(value) for value in decode(text, BY_NAME)] == [str, str]


@pytest.mark.parametrize(
    "raw",
    [
        "[]",
        '["a"]',
        '["a", "b", "c"]',
        '["a", 1]',
        '["a", null]',
        '[["a"], "b"]',
        '["a\\u0000", "b"]',
        '["\\ud800", "b"]',
        '{"a": "b"}',
        "[" * 500,
    ],
)
def test_other_lists_cursors_are_refused(raw: str) -> None:
    """Neither fewer nor more values, nor of another kind, nor what PostgreSQL cannot compare."""
    cursor = base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")
    with pytest.raises(Invalid):
        decode(cursor, BY_NAME)


@pytest.mark.parametrize("values", [["1"], [True], [2**63], [-(2**63)], [1.5]])
def test_numbers_that_do_not_fit(values: list[object]) -> None:
    """A number that the column cannot hold is no cursor."""
    with pytest.raises(Invalid):
        decode(encode(values), [AuditEventRow.seq])  # type: ignore[arg-type]  # on purpose


async def test_limits(database: Database, account: str) -> None:
    """A part holds 1 to 500 rows."""
    for limit in (0, -1, LIMIT_MOST + 1):
        with pytest.raises(Invalid) as refused:
            await agents.page(database, account, limit=limit)
        assert refused.value.field == "limit"
    assert (await audit.page(database, account, limit=LIMIT_MOST)).items
