"""What a road through the relay changes, each with its reason: the one table. Everything else must be the same.

A change is made to what a direct road showed; the outcome must be, to the byte, what the road through the relay shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.transparency.wire import Framing, Message, chunks, split

HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"}
CLAIMS = {b"forwarded", b"x-real-ip", b"client-ip", b"proxy", b"http2-settings"}
CLAIM_PREFIXES = (b"x-forwarded-", b"x-original-", b"x-rewrite-")
ACTS_ON_THE_ORIGIN = {
    b"set-cookie", b"set-cookie2", b"alt-svc", b"strict-transport-security", b"clear-site-data", b"nel",
    b"report-to", b"reporting-endpoints", b"service-worker-allowed",
}  # fmt: skip
GUARD = (b"Content-Security-Policy: sandbox", b"X-Content-Type-Options: nosniff")

Change = Callable[[Message], Message]


@dataclass(frozen=True, slots=True)
class Decision:
    """`change` makes of a direct road's message what the relay makes of it, because of `reason`."""

    what: str
    reason: str
    change: Change


def _own_version(message: Message) -> Message:
    if message.line.startswith(b"HTTP/"):
        found = re.fullmatch(rb"HTTP/1\.[01] (\d{3}) ?(.*)", message.line, re.DOTALL)
        assert found, message.line
        return replace(message, line=b"HTTP/1.1 %s %s" % found.groups())
    return replace(message, line=re.sub(rb"HTTP/1\.[01]$", b"HTTP/1.1", message.line))


def _own_hop(message: Message) -> Message:
    named = {name.strip().lower() for value in message.values(b"connection") for name in value.split(b",")}
    return _without(message, lambda name: name in HOP_BY_HOP | named)


def _plain_chunks(message: Message) -> Message:
    if message.framing is not Framing.CHUNKED or not message.whole:
        return message
    kept = b"".join(b"%s\r\n%s\r\n" % chunk for chunk in chunks(message.framed))
    return replace(message, framed=kept + b"0\r\n\r\n")


def _claims_of_others(message: Message) -> Message:
    def stops(name: bytes) -> bool:
        plain = re.sub(rb"[^a-z0-9]", b"-", name)  # as CGI reads names
        return plain in CLAIMS | {b"proxy-authorization"} or plain.startswith(CLAIM_PREFIXES)

    return _without(message, stops)


def _host_and_key_first(message: Message) -> Message:
    own = [(b"Host", b"host"), (b"Authorization", b"authorization")]
    first = tuple(b"%s: %s" % (name, value) for name, key in own for value in message.values(key))
    rest = _without(message, lambda name: name in {key for _, key in own})
    return replace(rest, fields=first + rest.fields)


def _request_framing_last(message: Message) -> Message:
    rest = _without(message, lambda name: name in {b"content-length", b"transfer-encoding"})
    counted = tuple(b"Content-Length: %d" % int(length) for length in message.values(b"content-length"))
    return replace(rest, fields=rest.fields + counted + _codings(message))


def _blanks_before_colons(message: Message) -> Message:
    return replace(message, fields=tuple(re.sub(rb"^([^:]*?)[ \t]+:", rb"\1:", line) for line in message.fields))


def _harmless(message: Message) -> Message:
    return _without(message, lambda name: name in ACTS_ON_THE_ORIGIN or name.startswith(b"postern-"))


def _guarded(message: Message) -> Message:
    return replace(message, fields=GUARD + message.fields)


def _interim_harmless(message: Message) -> Message:
    passed = (_harmless(_own_hop(_blanks_before_colons(_own_version(one)))) for one in message.interim)
    return replace(message, interim=tuple(passed))


def _answer_framing_last(message: Message) -> Message:
    rest = _without(message, lambda name: name == b"transfer-encoding")
    return replace(rest, fields=rest.fields + _codings(message))


REQUEST = (
    Decision("version", "each hop speaks its own HTTP version (RFC 9110 §2.5)", _own_version),
    Decision("connection", "Connection, what it names, and the other hop-by-hop fields (RFC 9110 §7.6.1)", _own_hop),
    Decision("claims", "PrestaShop believes where a request says it is from (design section 3)", _claims_of_others),
    Decision("host and key", "the store's own name and key, in front (design section 3)", _host_and_key_first),
    Decision("chunks", "chunk extensions and trailers end at the relay (README)", _plain_chunks),
    Decision("framing field", "of each hop, in its plain spelling, as the last line; fields of different names have no "
             "order (RFC 9110 §5.3)", _request_framing_last),
)  # fmt: skip

ANSWER = (
    Decision("version", "each hop speaks its own HTTP version (RFC 9110 §2.5)", _own_version),
    Decision("blanks", "blanks before a colon must be taken out of answers (RFC 9112 §5.1)", _blanks_before_colons),
    Decision("connection", "Connection, what it names, and the other hop-by-hop fields (RFC 9110 §7.6.1)", _own_hop),
    Decision("origin", "what would act on the relay's own origin, or forge its verdict (design section 5)", _harmless),
    Decision("interim", "the same of interim answers", _interim_harmless),
    Decision("guard", "a tenant's store must never run script beside the console (design section 5)", _guarded),
    Decision("chunks", "chunk extensions and trailers end at the relay (README)", _plain_chunks),
    Decision("framing field", "Transfer-Encoding is of each hop, written anew as the last line (RFC 9112 §6.1)",
             _answer_framing_last),
)  # fmt: skip


def _to_http_1_0(message: Message) -> Message:
    """What HTTP/1.0 does not know: chunks become a body until close, interim answers end here."""
    plain = _without(replace(message, interim=()), lambda name: name == b"transfer-encoding")
    if message.framing is not Framing.CHUNKED:
        return plain
    return replace(plain, framing=Framing.UNTIL_CLOSE, framed=message.body)


def key_taken_out(key: bytes, instead: bytes) -> Decision:
    """For an answer that repeats the store's key in its header."""

    def change(message: Message) -> Message:
        return replace(message, fields=tuple(line.replace(key, instead) for line in message.fields))

    return Decision("key", "no answer ever carries the store's key (design section 3)", change)


ANSWER_TO_HTTP_1_0 = (
    Decision("for HTTP/1.0", "neither chunks nor interim answers (RFC 9112 §6.1, RFC 9110 §15.2)", _to_http_1_0),
)


def _broken_off(message: Message) -> Message:
    return replace(message, framed=b"", whole=False)


ANSWERED_EARLY = (
    Decision("end", "a final answer that ends before the request's body ends the exchange: the rest of the body goes "
             "nowhere, and both connections close (RFC 9112 §9.6)", _broken_off),
)  # fmt: skip


def decided(message: Message, decisions: tuple[Decision, ...]) -> Message:
    """What the relay makes of a message."""
    for decision in decisions:
        message = decision.change(message)
    return message


def _codings(message: Message) -> tuple[bytes, ...]:
    return (b"Transfer-Encoding: chunked",) * len(message.values(b"transfer-encoding"))


def _without(message: Message, leaves: Callable[[bytes], bool]) -> Message:
    return replace(message, fields=tuple(line for line in message.fields if not leaves(split(line)[0])))
