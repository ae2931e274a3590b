"""The grammar of HTTP/1.1 message heads (RFC 9112), strict: what is ambiguous is refused, nothing is repaired.

Parsing is pure, so equal header blocks, which every connector sends again and again, are read once and remembered.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field

from relay.request_ids import trace_of

REQUEST_LINE_BYTES = 16 * 1024
"""Longest request line; PrestaShop's own web servers take 8,190 bytes."""
HEAD_BYTES = 64 * 1024
FIELDS = 100
REMEMBERED_BYTES = 2048
"""Header blocks up to this size are remembered, so that what is remembered stays below some 10 MB."""

REMEMBERED_LINE_BYTES = 128
"""Longer lines of a store's heads are not remembered, so that no store fills the memory."""

NO_FIELD = "a header line is not `name: value` ending in CRLF (RFC 9112 §5)"

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE = rb"[^\x00-\x08\x0a-\x1f\x7f]*"
_FIELD = re.compile(rb"^((" + _TOKEN + rb"):(" + _VALUE + rb")\r\n)", re.MULTILINE)
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: (" + _VALUE + rb"))?")
_ANSWER_FIELD = re.compile(rb"(" + _TOKEN + rb")[ \t]*:(" + _VALUE + rb")")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_HOST = re.compile(rb"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_CODINGS = re.compile(rb"(?:(?!chunked\b|identity\b)" + _TOKEN + rb"[ \t]*,[ \t]*)+chunked", re.IGNORECASE)
_NOT_ALPHANUMERIC = re.compile(rb"[^a-z0-9]")

BARE_LF = re.compile(rb"(?<!\r)\n")
"""In a head that is not whole yet: a line end that no CRLF will ever make good."""

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
"""Fields that end at the next hop (RFC 9110 §7.6.1)."""
_OPTIONS = frozenset({b"close", b"keep-alive"})
"""Connection options that nominate no field that is passed on."""
_CLAIMS_OF_OTHERS = frozenset(
    {b"forwarded", b"x-real-ip", b"client-ip", b"proxy", b"http2-settings", b"proxy-authorization"}
)
_CLAIM_PREFIXES = (b"x-forwarded-", b"x-original-", b"x-rewrite-")
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"host", b"authorization", b"connection"})
_OURS_TO_SET = _FRAMING | HOP_BY_HOP
_NOT_IN_DISGUISE = _OURS_TO_SET | {b"proxy-authorization"}
_ACTS_ON_OUR_ORIGIN = frozenset(
    {
        b"set-cookie",
        b"set-cookie2",
        b"alt-svc",
        b"strict-transport-security",
        b"clear-site-data",
        b"nel",
        b"report-to",
        b"reporting-endpoints",
        b"service-worker-allowed",
    }
)


class MalformedError(Exception):
    """The message is not plainly HTTP/1.1. `status` is what a caller is told; a store's message becomes 502."""

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status


@dataclass(frozen=True, slots=True)
class RequestFields:
    """What a request's header block says, and the lines of it that go on to the store."""

    forwarded: bytes = field(repr=False)
    length: int | None
    chunked: bool
    close: bool
    keep_alive: bool
    host: bytes | None
    authorization: bytes | None = field(repr=False)
    expects: bytes | None
    upgrade: bool
    navigates: bool
    json: bool | None
    """Whether the answer is to be JSON; None where no field says it, so that the query may (PrestaShop's order)."""
    trace: str = ""
    """The id of the trace that the caller has begun, if it said so; the field itself goes on to the store."""


@dataclass(slots=True)
class RequestHead:
    method: bytes
    target: bytes = field(repr=False)
    minor: int
    fields: RequestFields

    @property
    def has_body(self) -> bool:
        return self.fields.chunked or bool(self.fields.length)

    @property
    def persistent(self) -> bool:
        """Whether the connection stays open after the answer (RFC 9112 §9.3)."""
        return not self.fields.close and (self.minor == 1 or self.fields.keep_alive)


@dataclass(slots=True)
class AnswerHead:
    """A store's answer. `length` is None where nothing says how long the body is."""

    status: int
    minor: int
    status_line: bytes
    """As a connector gets it: our version, the store's status and reason."""
    passed: bytes
    length: int | None
    chunked: bool
    close: bool

    @property
    def bodiless(self) -> bool:
        """1xx, 204 and 304 never have a body (RFC 9112 §6.3)."""
        return self.status < 200 or self.status in {204, 304}


def read_request(head: bytes) -> RequestHead:
    """Read a head, from the request line to the empty line's CRLF exclusive. Raises MalformedError."""
    match = _REQUEST_LINE.match(head)
    if not match:
        raise MalformedError("the request line is not `METHOD target HTTP/1.1`")
    method, target, minor = match.groups()
    block = head[match.end() :]
    fields = _remembered_request(block) if len(block) <= REMEMBERED_BYTES else _request_fields(block)
    if minor == b"1" and fields.host is None:
        raise MalformedError("there is no Host field (RFC 9112 §3.2)")
    if minor == b"0" and fields.chunked:
        raise MalformedError("Transfer-Encoding does not exist in HTTP/1.0 (RFC 9112 §6.1)")
    return RequestHead(method, target, 1 if minor == b"1" else 0, fields)


def read_answer(head: bytes) -> AnswerHead:
    """Read a store's head, from the status line to the empty line's CRLF exclusive. Raises MalformedError."""
    status_line, *lines = head.split(b"\r\n")
    line, status, minor = (_remembered_status if len(status_line) <= REMEMBERED_LINE_BYTES else _status)(status_line)
    if len(lines) > FIELDS + 1:
        raise MalformedError(f"more than {FIELDS} header fields", 431)
    framing = _Framing()
    passed = []
    for text in lines[:-1]:
        kept, lower, value = (_remembered_line if len(text) <= REMEMBERED_LINE_BYTES else _line)(text)
        if kept:
            passed.append(kept)
        if lower:
            framing.take(lower, value)
    framing.judge()
    if framing.chunked and not minor:
        raise MalformedError("Transfer-Encoding in an HTTP/1.0 answer")
    nominated = framing.nominated
    if nominated & _FRAMING:
        raise MalformedError("Connection names a field that must reach its end (RFC 9110 §7.6.1)")
    if not nominated <= _OPTIONS:
        passed = [kept for kept in passed if _name(kept) not in nominated]
    close = b"close" in nominated or (not minor and b"keep-alive" not in nominated)
    length = framing.length if framing.has_length else None
    return AnswerHead(status, minor, line, b"".join(passed), length, framing.chunked, close)


def _status(line: bytes) -> tuple[bytes, int, int]:
    """(the line as a connector gets it, status, minor version)."""
    match = _STATUS_LINE.fullmatch(line)
    if not match:
        raise MalformedError("the status line is not `HTTP/1.1 200 OK`")
    minor, status, reason = match.groups()
    return b"HTTP/1.1 %s %s\r\n" % (status, reason or b""), int(status), int(minor)


def _line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """(the line as it is passed on, if it is; name in lower case and value, if it has a say in the framing).

    Blanks before a colon are taken out of answers (RFC 9112 §5.1).
    """
    match = _ANSWER_FIELD.fullmatch(line)
    if not match:
        raise MalformedError(NO_FIELD)
    name, value = match.groups()
    lower = name.lower()
    framing = lower in _OURS_TO_SET
    stops = (framing and lower != b"content-length") or lower in _ACTS_ON_OUR_ORIGIN or lower.startswith(b"postern-")
    return b"" if stops else b"%s:%s\r\n" % (name, value), lower if framing else b"", value


_remembered_status = functools.lru_cache(maxsize=256)(_status)
_remembered_line = functools.lru_cache(maxsize=4096)(_line)


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].lower()


class _Framing:
    """Gathers the fields that decide where a message ends, and refuses those that disagree."""

    __slots__ = ("authorization", "chunked", "codings", "has_length", "host", "length", "nominated")

    def __init__(self) -> None:
        self.length = 0
        self.has_length = False
        self.codings: bytes | None = None
        self.chunked = False
        self.host: bytes | None = None
        self.authorization: bytes | None = None
        self.nominated: frozenset[bytes] = frozenset()

    def take(self, lower: bytes, value: bytes) -> None:
        value = value.strip(b" \t")
        if lower == b"content-length":
            if self.has_length or not _LENGTH.fullmatch(value):
                raise MalformedError("Content-Length must be one plain decimal number (RFC 9112 §6.3)")
            self.length, self.has_length = int(value), True
        elif lower == b"transfer-encoding":
            if self.codings is not None:
                raise MalformedError("more than one Transfer-Encoding field")
            self.codings = value
        elif lower == b"connection":
            self.nominated |= frozenset(option.strip(b" \t").lower() for option in value.split(b","))
        elif lower == b"host":
            if self.host is not None or not _HOST.fullmatch(value):
                raise MalformedError("Host must be there once and name one host (RFC 9112 §3.2)")
            self.host = value
        elif lower == b"authorization":
            if self.authorization is not None:
                raise MalformedError("more than one Authorization field")
            self.authorization = value

    def judge(self) -> None:
        if self.codings is not None:
            if self.codings.lower() != b"chunked":
                status = 501 if _CODINGS.fullmatch(self.codings) else 400
                raise MalformedError("the only transfer coding taken here is `chunked`", status)
            if self.has_length:
                raise MalformedError("Content-Length and Transfer-Encoding together (RFC 9112 §6.1)")
            self.chunked = True


def _request_fields(block: bytes) -> RequestFields:
    framing = _Framing()
    passed: list[tuple[bytes, bytes]] = []
    seen: dict[bytes, bytes] = {}
    for line, name, value in _split(block):
        lower = name.lower()
        if lower in _OURS_TO_SET:
            framing.take(lower, value)
        else:
            _refuse_disguise(lower)
            if not _claims(lower):
                passed.append((lower, line))
        if lower in _WATCHED:
            seen[lower] = value.strip(b" \t")
    framing.judge()
    if framing.nominated & _FRAMING or any(_claims(name) for name in framing.nominated):
        raise MalformedError("Connection names a field that must reach its end (RFC 9110 §7.6.1)")
    return RequestFields(
        forwarded=b"".join(line for name, line in passed if name not in framing.nominated),
        length=framing.length if framing.has_length else None,
        chunked=framing.chunked,
        close=b"close" in framing.nominated,
        keep_alive=b"keep-alive" in framing.nominated,
        host=framing.host,
        authorization=framing.authorization,
        expects=seen.get(b"expect"),
        upgrade=b"upgrade" in seen or b"upgrade" in framing.nominated,
        navigates=_navigates(seen),
        json=_json(seen),
        trace=trace_of(seen.get(b"traceparent")),
    )


_remembered_request = functools.lru_cache(maxsize=1024)(_request_fields)

_WATCHED = frozenset(
    {
        *(b"expect", b"upgrade", b"traceparent"),
        *(b"sec-fetch-mode", b"sec-fetch-dest", b"service-worker", b"io-format", b"output-format"),
    }
)


def _json(seen: dict[bytes, bytes]) -> bool | None:
    """`Io-Format` decides before `Output-Format`, even by a value that PrestaShop does not know."""
    wanted = seen.get(b"io-format", seen.get(b"output-format"))
    return None if wanted is None else wanted == b"JSON"


def _navigates(seen: dict[bytes, bytes]) -> bool:
    """Whether a browser would show the answer, or run it as a service worker (Fetch Metadata Request Headers)."""
    return (
        seen.get(b"sec-fetch-mode") == b"navigate"
        or seen.get(b"sec-fetch-dest") == b"serviceworker"
        or b"service-worker" in seen
    )


def _split(block: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The block's lines as (line with CRLF, name, value), or MalformedError if one is no field."""
    pairs = _FIELD.findall(block)
    if len(pairs) != block.count(b"\n"):
        raise MalformedError(NO_FIELD)
    if len(pairs) > FIELDS:
        raise MalformedError(f"more than {FIELDS} header fields", 431)
    return pairs


def _refuse_disguise(lower: bytes) -> None:
    """Names that some servers read as a framing or credential field: to CGI all but letters and digits is `_`."""
    if lower not in _NOT_IN_DISGUISE and _plain(lower) in _NOT_IN_DISGUISE:
        raise MalformedError("a field name that would be read as a framing or credential field")


def _plain(lower: bytes) -> bytes:
    return _NOT_ALPHANUMERIC.sub(b"-", lower)


def _claims(lower: bytes) -> bool:
    """Whether a field says where a request came from or went to: PrestaShop believes it, so it stops here."""
    name = _plain(lower)
    return name in _CLAIMS_OF_OTHERS or name.startswith(_CLAIM_PREFIXES)
