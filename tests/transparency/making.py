"""Requests and answers made by hypothesis: everything that is plain HTTP/1.1 and goes to a store, however odd."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from hypothesis import strategies as st

from tests.transparency.asking import NOTHING, Body, Call, pieces
from tests.transparency.decided import ACTS_ON_THE_ORIGIN, CLAIM_PREFIXES, CLAIMS, HOP_BY_HOP
from tests.transparency.playing import Do, Pause, Script, Step

DECODINGS = 8  # after which the relay calls a target encoded too many times over

METHODS = [
    b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"FOO", b"get", b"M-SEARCH", b"!#$%&'*+.^_`|~09",
]  # fmt: skip
WRITES = {b"POST", b"PUT", b"PATCH"}

# names that the relay acts on, or writes itself
SPECIAL = HOP_BY_HOP | CLAIMS | ACTS_ON_THE_ORIGIN | {
    b"host", b"authorization", b"proxy-authorization", b"content-length", b"transfer-encoding", b"expect",
    b"sec-fetch-mode", b"sec-fetch-dest", b"service-worker",
}  # fmt: skip
SPECIAL_PREFIXES = (*CLAIM_PREFIXES, b"postern-")

_TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KNOWN_NAMES = [
    b"Output-Format", b"io-format", b"LOCAL-CONTENT-SHA1", b"Accept-Encoding", b"cookie", b"User-Agent", b"X-a_B",
    b"content-TYPE", b"Accept", b"If-None-Match", b"Range", b"Via", b"Date", b"PSWS-Version", b"WWW-Authenticate",
    b"Content-Security-Policy", b"X-Content-Type-Options", b"Location", b"Content-Encoding", b"Vary",
]  # fmt: skip

values = st.binary(max_size=40).map(lambda data: bytes(byte for byte in data if byte in b"\t" or 0x20 <= byte != 0x7F))
_odd_values = st.sampled_from([b"", b" ", b" \t x \t ", b' a, b,,c;q="\\""', b" \xe9\xff\xa0\x85", b" " + b"v" * 3000])
_names = st.text(_TOKEN, min_size=1, max_size=12).map(str.encode) | st.sampled_from(_KNOWN_NAMES)


def _plain(name: bytes) -> bool:
    lower = re.sub(rb"[^a-z0-9]", b"-", name.lower())
    return lower not in SPECIAL and not lower.startswith(SPECIAL_PREFIXES)


_lines = st.builds(lambda name, value: name + b":" + value, _names.filter(_plain), values | _odd_values)
headers = st.lists(_lines, max_size=12) | st.lists(_lines, min_size=1, max_size=3).map(lambda lines: lines * 4)

_odd_segments = [
    "orders", "41", "%2F", "%2f", "%34%31", "%5B1%7c3%5d", "%C3%A9", "%e9", "%", "%zz", "%2", "%2541", "+", "..%20",
    "a%00",
]  # fmt: skip
_odd_parameters = [
    "filter[id]=[1|3]", "filter%5Bid%5D=%5b1%7C3%5D", "filter[name]=%[mug]%25", "display=[id,name]", "limit=0,2",
    "price%5Bmy%5D%5Buse_tax%5D=1", "a=1", "a=2", "A=1", "a", "a=", "=", "=b", "a=b=c", "a=%[b]%", "x=%00%0a",
    "q=?/../", "v=" + "%C3%A9" * 300, "ps_method=PATCH", "url=orders", "ws=1", "wskey=2", "xws_key=3",
]  # fmt: skip
_segment = st.text("abz09-._~!$'()*,:@+[]{}|<>^`\"=;", max_size=6) | st.sampled_from(_odd_segments)
_parameter = st.text("abz09-._~!$'()*,:@+[]{}|<>^`\"=;/?\\", max_size=8) | st.sampled_from(_odd_parameters)
_path = st.lists(_segment, max_size=5).map(lambda all_: "".join("/" + one for one in all_))
_query = st.lists(_parameter, max_size=5).map("&".join)
targets = st.builds(
    lambda slashes, path, beside, query: (
        slashes + "api" + path + "".join("&" + one for one in beside) + query
    ).encode(),
    st.sampled_from(["/", "/", "//", "///"]),
    _path,
    st.lists(_parameter.filter(lambda text: not set(text) & set("/?\\#")), max_size=2),
    st.just("") | _query.map("?".__add__),
)


def is_refused(target: bytes) -> bool:
    """Whether design section 3 has such a target refused: not plainly under /api, or a dot segment in the path."""
    path = target.partition(b"?")[0]
    if not re.fullmatch(rb"/+api(?:[/&].*)?", path):
        return True
    for _ in range(DECODINGS):
        segments = re.split(rb"[/\\]", path)
        if any(re.split(rb"[;?&]", segment)[0] in {b".", b".."} for segment in segments):
            return True
        if re.search(rb"[\x00-\x1f\x7f\\]", path):
            return True
        path = unquote_to_bytes(path)
    return False


cuts = st.lists(st.integers(1, 300), max_size=4)

_pieces = st.lists(
    st.binary(min_size=1, max_size=50) | st.sampled_from([b"\r\n", b"0\r\n\r\n", b"\x00" * 4097]), max_size=6
)
_extensions = st.sampled_from([b"", b"", b";a", b";a=b", b';a="b;c"', b" ;x"[1:]])
_trailers = st.sampled_from([b"", b"", b"X-Checked: 1\r\n", b"Authorization: Basic Zm9v\r\nHost: evil\r\n"])


def _chunk(data: bytes, spell: str, extension: bytes) -> bytes:
    return format(len(data), spell).encode() + extension + b"\r\n" + data + b"\r\n"


_chunks = st.builds(_chunk, _pieces.map(b"".join).filter(bool), st.sampled_from(["x", "X", "05x", "015X"]), _extensions)
chunked = st.builds(
    lambda chunks, last, trailers: b"".join(chunks) + last + b"\r\n" + trailers + b"\r\n",
    st.lists(_chunks, max_size=5),
    st.sampled_from([b"0", b"0", b"000", b"0;last"]),
    _trailers,
)
_chunked_bodies = st.builds(
    Body, st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked "]), chunked
)
_counted_bodies = st.builds(
    lambda data, line: Body(line % len(data), data),
    _pieces.map(b"".join).filter(bool),
    st.sampled_from([b"Content-Length: %d", b"content-length:%d", b"CONTENT-LENGTH: \t%d  "]),
)


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Any request, framed as clients do: a write says its length even of nothing, and only a write."""
    method = draw(st.sampled_from(METHODS))
    empty = Body.counted(b"") if method in WRITES else NOTHING
    body = draw(st.just(empty) | _counted_bodies | _chunked_bodies)
    return Call(draw(targets), method, draw(headers), body, cuts=draw(cuts))


_reasons = st.sampled_from([b"OK", b"", b"Not  really \t so", b"\xc9t\xe9", b"1.1 200 OK", b"a:b"]) | values
_statuses = st.sampled_from([200, 201, 204, 302, 304, 400, 401, 404, 405, 500, 503]) | st.integers(200, 599)
_interim = st.builds(
    lambda status, lines: b"".join(line + b"\r\n" for line in [b"HTTP/1.1 %d Hint" % status, *lines]) + b"\r\n",
    st.sampled_from([100, 102, 103, 199]),
    st.lists(_lines, max_size=2),
)
_pauses = st.sampled_from([(), (), (Pause(0.002),)])


@st.composite
def answers(draw: st.DrawFn, *, to_head: bool, closes: bool = True) -> Script:
    """Any answer with any framing, sent in any pieces; without `closes` it leaves the connection open."""
    status, fields = draw(_statuses), list(draw(headers))
    framing, body, last = _answer_framing(draw, bodiless=to_head or status in {204, 304}, closes=closes)
    fields.insert(draw(st.integers(0, len(fields))), framing)
    lines = [b"HTTP/1.1 %d %s" % (status, draw(_reasons)), *filter(None, fields)]
    interim = b"".join(draw(st.lists(_interim, max_size=3)))
    data = interim + b"\r\n".join(lines) + b"\r\n\r\n" + body
    steps: list[Step] = [Do.READ]
    for piece in pieces(data, draw(cuts)):
        steps += [*draw(_pauses), piece]
    return [*steps, *last]


def _answer_framing(draw: st.DrawFn, *, bodiless: bool, closes: bool) -> tuple[bytes, bytes, list[Step]]:
    """(header line, body on the wire, steps that follow)."""
    if bodiless:
        return (
            draw(st.sampled_from([b"", b"Content-Length: 0", b"Content-Length: 1234", b"Transfer-Encoding: chunked"])),
            b"",
            [],
        )
    kind = draw(st.sampled_from(["counted", "chunked", "until close"][: None if closes else 2]))
    if kind == "chunked":
        return draw(st.sampled_from([b"Transfer-Encoding: chunked", b"TRANSFER-ENCODING:Chunked"])), draw(chunked), []
    data = b"".join(draw(_pieces))
    if kind == "counted":
        return b"%s: %d" % (draw(st.sampled_from([b"Content-Length", b"content-length"])), len(data)), data, []
    return draw(st.sampled_from([b"", b"Connection: close"])), data, [Do.CLOSE]
