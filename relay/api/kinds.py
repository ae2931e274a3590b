"""What a row of the table of problems is, and the rows that come from the way to a store and from the store itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from relay.gateway.errors import FAILURES, Failure, Origin
from relay.prestashop.hops import TLS_CODES
from relay.prestashop.remedies import REMEDIES


@dataclass(frozen=True, slots=True)
class Kind:
    """One row: the stable code and all that follows from it. `retry_after` in seconds; with it, a retry helps."""

    code: str
    status: int
    title: str
    origin: Origin = Origin.CALLER
    retry_after: int | None = None
    retryable: bool = False

    @property
    def type(self) -> str:
        """Where the code is explained, as an absolute path (RFC 9457 §3.1.1)."""
        return f"/docs#problem-{self.code}"


def _of_store(code: str, status: int, title: str, retry_after: int | None = None) -> Kind:
    return Kind(code, status, title, Origin.STORE, retry_after, retryable=retry_after is not None)


_TOLD_BY_STORES = (
    _of_store("not_in_store", 404, "The store has nothing under this id"),
    _of_store("query_refused", 422, "The store does not know a field that was asked for"),
    _of_store("language_unknown", 422, "The store has no such language"),
    _of_store("shop_unknown", 422, "The store has no such shop"),
    _of_store("state_unknown", 422, "The store has no such order state"),
    _of_store("state_ambiguous", 422, "Several order states have this name"),
    _of_store("write_refused", 422, "The store does not take a value"),
    _of_store("permission_missing", 502, "The key may not do this in the store"),
    _of_store("resource_missing", 502, "The store's version lacks the resource"),
    _of_store("method_unknown", 502, "The store's version lacks the method"),
    _of_store("store_out_of_order", 502, "The store's list does not keep to what was asked for"),
    _of_store("store_error", 502, "The store's webservice reports an error"),
    _of_store("rate_limited", 503, "The store's host limits the number of requests", 30),
    _of_store("maintenance", 503, "The store's maintenance page answers", 300),
    _of_store("webservice_off", 502, "The store's webservice is switched off"),
    _of_store("store_proxy_failed", 502, "A proxy before the store got no answer from it", 10),
)
_ACTIONS_OWN = (
    Kind("shop_time_unknown", 422, "The shop's time zone is not known"),
    Kind("page_ceiling", 409, "The list goes on behind the ceiling of pages"),
    Kind("unsettled", 409, "An earlier request with this key may still be at work", Origin.RELAY, 10, retryable=True),
)
_OWN_REQUESTS = frozenset({"store_forbidden"})
"""Failures that a caller is to blame for and that the relay's own requests can meet with."""
_NEVER_HERE = frozenset({"agent_unknown", "agent_revoked"}) | TLS_CODES
"""What only the connection test tells: by other names here, or not met with."""


def kinds_of_actions() -> Iterator[Kind]:
    """Every row that an action can end with beside those of all requests, one per code."""
    yield from _TOLD_BY_STORES
    yield from _ACTIONS_OWN
    known = {kind.code for kind in _TOLD_BY_STORES}
    for failure in FAILURES.values():
        if failure.code in _OWN_REQUESTS or failure.origin is not Origin.CALLER:
            yield of_failure(failure)
    for code, remedy in REMEDIES.items():
        if code not in known | _NEVER_HERE | FAILURES.keys():
            yield _of_store(code, 502, _title(remedy.en))


def of_failure(failure: Failure, *, retryable: bool = True) -> Kind:
    """The row of a failure on the way to a store; a retry helps if it ever does, and is said to be safe."""
    retry_after = failure.retry_after if retryable else None
    title, status = failure.sentence.split(". ")[0], failure.status
    return Kind(failure.code, status, title, failure.origin, retry_after, retryable=retry_after is not None)


def _title(sentences: str) -> str:
    """The first sentence, without the place of particulars."""
    first = sentences.split(". ", maxsplit=1)[0]
    return first.replace(" ({detail})", "").replace("{detail}", "another address").rstrip(".")
