"""What requests are called, and whose trace they are part of."""

from __future__ import annotations

import re

import pytest

from agent.wire.originator import Originator
from relay import request_ids

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_ids_are_random_and_bound_for_a_while() -> None:
    """Two are not alike, and say nothing of how many there were; outside of a request there is none."""
    first, second = request_ids.new(), request_ids.new()
    assert first != second
    assert abs(first - second) > 1
    assert re.fullmatch(r"req_[0-9a-f]{16}", request_ids.text(1))
    assert (request_ids.bound(), request_ids.bound_number()) == ("", 0)
    with request_ids.naming(first):
        assert (request_ids.bound(), request_ids.bound_number()) == (request_ids.text(first), first)
    assert request_ids.bound() == ""


@pytest.mark.parametrize(
    ("field", "trace"),
    [
        (b"00-" + TRACE.encode() + b"-00f067aa0ba902b7-01", TRACE),
        (b"42-" + TRACE.encode() + b"-00f067aa0ba902b7-01-more", TRACE),
        (b"ff-" + TRACE.encode() + b"-00f067aa0ba902b7-01", ""),
        (b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01", ""),
        (b"00-" + TRACE.encode() + b"-" + b"0" * 16 + b"-01", ""),
        (b"00-" + TRACE.upper().encode() + b"-00f067aa0ba902b7-01", ""),
        (b'00-"},{"secret":"-00f067aa0ba902b7-01', ""),
        (b"", ""),
        (None, ""),
    ],
)
def test_a_trace_is_honoured_if_it_is_one(field: bytes | None, trace: str) -> None:
    """By the grammar of W3C Trace Context, of later versions too; anything else is no trace."""
    assert request_ids.trace_of(field) == trace


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("con_a req_b", ("con_a", "req_b")),
        ("con_a", ("con_a", "")),
        ("con_a req_b of a later version", ("con_a", "req_b")),
        ("", ("", "")),
        (" ", ("", "")),
    ],
)
def test_an_originator_says_at_least_the_connection(text: str, read: tuple[str, str]) -> None:
    """What another version leaves out, or adds, is no trouble."""
    assert Originator.parse(text) == read


def test_an_originator_is_read_as_it_was_written() -> None:
    """With a request and without."""
    for each in (Originator("con_a", "req_b"), Originator("con_a")):
        assert Originator.parse(str(each)) == each
