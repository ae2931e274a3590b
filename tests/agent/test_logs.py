"""What reaches the log."""

from __future__ import annotations

from agent.logs import REPEAT_SECONDS, TROUBLES, Sparingly, printable


def test_text_from_outside_is_cut_and_obeyed_by_no_terminal() -> None:
    """Control characters, escapes and line ends become visible; a megabyte becomes a line."""
    assert printable("con_1\x1b[2J\r\nfake: line\u202e") == "con_1\\x1b[2J\\x0d\\x0afake: line\\x202e"
    assert len(printable("x" * 10**6, 64)) == 65


def test_a_repeated_trouble_is_told_once_a_minute_in_bounded_memory() -> None:
    """Another trouble is told at once; a thousand of them are not all remembered."""
    now = 0.0
    worth_telling = Sparingly(lambda: now)
    assert [worth_telling("a"), worth_telling("a"), worth_telling("b")] == [True, False, True]
    now = REPEAT_SECONDS
    assert worth_telling("a")
    for i in range(1000):
        worth_telling(i)
    assert len(worth_telling._told) == TROUBLES
