"""Bodies: cut into any pieces they give the same, and what is not whole never looks whole."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateway.body import TRAILER_BYTES, Body, Chunked, Counted, UntilClose
from relay.gateway.http1 import MalformedError

datas = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
extensions = st.sampled_from([b"", b";a", b";a=b", b';a="b c";d'])
trailers = st.sampled_from([b"", b"X-Note: one\r\n", b"Content-Length: 5\r\nHost: a\r\n"])
sizes = st.sampled_from([b"%x", b"%X", b"0%x", b"000%x"])
rests = st.sampled_from([b"", b"GET / HTTP/1.1\r\n\r\n", b"\r\n", b"0\r\n\r\n"])


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    """(the body on the wire, as it is passed on, its data)."""
    wire = passed = b""
    data = draw(datas)
    for piece in data:
        size = draw(sizes) % len(piece)
        wire += size + draw(extensions) + b"\r\n" + piece + b"\r\n"
        passed += size + b"\r\n" + piece + b"\r\n"
    last = draw(st.sampled_from([b"0", b"00", b"000000"]))
    return wire + last + draw(extensions) + b"\r\n" + draw(trailers) + b"\r\n", passed + b"0\r\n\r\n", b"".join(data)


def pieces(whole: bytes, cuts: set[int]) -> list[bytes]:
    marks = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    return [whole[a:b] for a, b in pairwise(marks)]


def fed(body: Body, parts: list[bytes]) -> tuple[bytes, bytes]:
    """(all that was passed on, all that was left over) after the pieces have been fed."""
    passed = left = b""
    for part in parts:
        if body.ended:
            left += part
            continue
        some, left = body.take(part)
        passed += some
    return passed, left


@given(body=chunked(), rest=rests, cuts=st.sets(st.integers(1, 400), max_size=12))
def test_chunks_cut_anywhere_give_the_same(body: tuple[bytes, bytes, bytes], rest: bytes, cuts: set[int]) -> None:
    """However the bytes arrive: the chunks without extensions and trailers, then what follows the body, untouched."""
    wire, passed, data = body
    whole, plain = Chunked(), Chunked(plain=True)
    assert fed(whole, pieces(wire + rest, cuts)) == (passed, rest)
    assert fed(plain, pieces(wire + rest, cuts)) == (data, rest)
    assert whole.ended
    assert plain.ended


@given(body=chunked(), data=st.data())
def test_cut_chunks_never_look_whole(body: tuple[bytes, bytes, bytes], data: st.DataObject) -> None:
    """Without its last byte or more, a body has not ended, and no last chunk has been passed on."""
    wire = body[0][: data.draw(st.integers(0, len(body[0]) - 1))]
    reader = Chunked()
    passed, rest = fed(reader, pieces(wire, data.draw(st.sets(st.integers(1, 400), max_size=5))))
    assert not reader.ended
    assert rest == b""
    assert body[1].startswith(passed)
    assert passed != body[1]


@given(body=chunked(), data=st.data())
def test_wrong_chunks_are_refused_however_they_are_cut(body: tuple[bytes, bytes, bytes], data: st.DataObject) -> None:
    """With any one byte changed, all cuts agree: the same passed on and the same end, or a refusal."""
    wire = body[0]
    at = data.draw(st.integers(0, len(wire) - 1))
    wrong = wire[:at] + data.draw(st.binary(min_size=1, max_size=1)) + wire[at + 1 :]

    def outcome(parts: list[bytes]) -> object:
        reader = Chunked()
        try:
            passed, rest = fed(reader, parts)
        except MalformedError as error:
            return error.status
        return reader.ended, passed, rest

    assert outcome([wrong]) == outcome(pieces(wrong, data.draw(st.sets(st.integers(1, 400), max_size=8))))
    assert outcome([wrong]) == outcome([wrong[n : n + 1] for n in range(len(wrong))])


@pytest.mark.parametrize(
    "size", [b"g", b"+1", b"-1", b"0x1", b" 1", b"1 ", b"\t1", b"1_0", b"1.0", b"", b";", b"f" * 16, b"1;" + b"a" * 300]
)
def test_sizes_that_are_none(size: bytes) -> None:
    """Refused at once, before the line's end has come where that can be told."""
    with pytest.raises(MalformedError):
        Chunked().take(size + b"\r\n")
    byte_by_byte = Chunked()
    with pytest.raises(MalformedError):
        fed(byte_by_byte, [bytes([byte]) for byte in size + b"\r\n"])


@pytest.mark.parametrize("split", [1, 100, 100_000])
def test_trailers_are_bounded(split: int) -> None:
    """A trailer section of more than 8 KiB is refused as too large, in one line or many, however it arrives."""
    for trailer in (b"X: " + b"a" * TRAILER_BYTES + b"\r\n", b"X: a\r\n" * (TRAILER_BYTES // 6 + 1)):
        body = Chunked()
        with pytest.raises(MalformedError) as refused:
            fed(body, pieces(b"0\r\n" + trailer, set(range(0, len(trailer), split))))
        assert refused.value.status == 431


def test_an_endless_trailer_is_refused_early() -> None:
    """A line that never ends is not held without bound."""
    body = Chunked()
    fed(body, [b"0\r\nX: ", b"a" * (TRAILER_BYTES - 3)])
    with pytest.raises(MalformedError) as refused:
        body.take(b"a")
    assert refused.value.status == 431


def test_an_endless_extension_is_refused_early() -> None:
    """What is held of an unfinished size line stays small."""
    with pytest.raises(MalformedError):
        fed(Chunked(), [b"1", b";", *[b"a"] * 400])


@given(length=st.integers(0, 100), extra=st.binary(max_size=20), cuts=st.sets(st.integers(1, 120), max_size=8))
def test_counted_bodies_end_at_their_length(length: int, extra: bytes, cuts: set[int]) -> None:
    """So many bytes, then the end; what follows is not touched."""
    body = Counted(length)
    assert fed(body, pieces(b"x" * length + extra, cuts)) == (b"x" * length, extra)
    assert body.ended
    short = Counted(length + 1)
    assert fed(short, pieces(b"x" * length, cuts)) == (b"x" * length, b"")
    assert not short.ended


def test_a_body_until_close_never_ends_by_itself() -> None:
    """Only its sender's close ends it."""
    body = UntilClose()
    assert fed(body, [b"a", b"0\r\n\r\n"]) == (b"a0\r\n\r\n", b"")
    assert not body.ended


def test_large_pieces_are_passed_on_without_a_copy() -> None:
    """A piece that lies within a body is the very object that came."""
    piece = b"x" * 65536
    assert Counted(100_000).take(piece)[0] is piece
    assert UntilClose().take(piece)[0] is piece
