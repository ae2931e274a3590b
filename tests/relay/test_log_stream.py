"""Lines on their way to whoever takes the log: whole, in order, and never waited for."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from relay import log_stream
from relay.log_stream import LogStream

LINE = "x" * 99 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """(what is read from, what is written to); the reader may have gone."""
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        try:
            os.close(end)
        except OSError:
            continue


def taken(descriptor: int) -> bytes:
    """What lies in the pipe."""
    os.set_blocking(descriptor, False)
    found = b""
    try:
        while part := os.read(descriptor, 1 << 20):
            found += part
    except BlockingIOError:
        pass
    return found


async def test_lines_come_soon_whole_and_in_order(pipe: tuple[int, int]) -> None:
    """Within a moment, without anybody asking."""
    stream = LogStream(pipe[1])
    lines = [f"line {number}\n" for number in range(500)]
    for line in lines:
        stream.put(line)
    found = b""
    async with asyncio.timeout(5):
        while found.count(b"\n") < 500:
            await asyncio.sleep(0.01)
            found += taken(pipe[0])
    assert found.decode() == "".join(lines)
    assert stream.dropped == 0


async def test_a_reader_who_is_behind_gets_all_of_it_later(pipe: tuple[int, int]) -> None:
    """More than a pipe holds waits here; what is written at once ends with a line, so others' lines fit between."""
    stream = LogStream(pipe[1])
    for _ in range(5000):
        stream.put(LINE)
    began = time.monotonic()
    stream._flush()
    assert time.monotonic() - began < 1
    found = first = taken(pipe[0])
    assert 0 < len(first) < 100 * 5000
    assert first.endswith(b"\n")
    async with asyncio.timeout(10):
        while len(found) < 100 * 5000:
            await asyncio.sleep(0.01)
            found += taken(pipe[0])
    assert found == LINE.encode() * 5000
    assert stream.dropped == 0


async def test_what_nobody_takes_is_bounded_and_counted(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit lines are dropped, and the loop goes on; when the reader is back, new lines come again."""
    monkeypatch.setattr(log_stream, "HELD_BYTES", 200_000)
    stream = LogStream(pipe[1])
    for _ in range(20):
        for _ in range(500):
            stream.put(LINE)
        stream._flush()
    assert stream.dropped >= 7000
    assert stream._held <= 200_000 + 100
    kept = 10_000 - stream.dropped
    found = b""
    async with asyncio.timeout(10):
        while found.count(b"\n") < kept:
            await asyncio.sleep(0.01)
            found += taken(pipe[0])
    assert found == LINE.encode() * kept
    stream.put("again\n")
    stream.close()
    assert taken(pipe[0]) == b"again\n"


async def test_a_reader_who_has_gone_costs_nothing(pipe: tuple[int, int]) -> None:
    """The lines count as dropped; nothing is raised, and nothing piles up."""
    os.close(pipe[0])
    stream = LogStream(pipe[1])
    for _ in range(10):
        stream.put(LINE)
    stream._flush()
    assert (stream.dropped, stream._held) == (10, 0)
    stream.close()


async def test_parting_does_not_wait_for_ever(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end what is left is written if somebody takes it within a moment."""
    monkeypatch.setattr(log_stream, "PARTING_SECONDS", 0.2)
    stream = LogStream(pipe[1])
    for _ in range(5000):
        stream.put(LINE)
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < 5
