"""What a look at a store tells: whether it is there, whether its webservice answers, whether it takes the key. Pure.

`HEAD /api` is answered by PrestaShop alone in a way that nothing else imitates; see `relay.prestashop.diagnosis`.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.gateway.call import Answer, OutOfTimeError
from relay.gateway.errors import GatewayError
from relay.prestashop.diagnosis import REALM, Accepted, Again, Step, Trouble, from_webservice, judge
from relay.prestashop.hops import trouble_of

_UNREACHABLE = frozenset({"store_dns", "store_refused", "store_unreachable", "store_timeout", "store_forbidden"})
_NOT_ANSWERING = frozenset({"store_tls", "store_closed_early", "store_bad_answer"})
_ABOUT_KEY = frozenset({Step.KEY, Step.PERMISSIONS})


@dataclass(frozen=True, slots=True)
class Finding:
    """None: it tells nothing of that."""

    reachable: bool | None = None
    answering: bool | None = None
    key: bool | None = None
    code: str | None = None
    """What is wrong, as a connection test calls it."""

    @property
    def silent(self) -> bool:
        """Whether it tells nothing of the store: the way there failed before it."""
        return self.reachable is None


def read_bare(answer: Answer, *, known: bool) -> Finding:
    """An answer to `HEAD /api` with an empty key. `known`: it was asked where a connection says that a shop is."""
    if from_webservice(answer) or REALM in (answer.field("WWW-Authenticate") or ""):
        if answer.status == 503:
            return Finding(reachable=True, answering=False, code="webservice_off")
        if answer.status < 500:
            return Finding(reachable=True, answering=True)
        return Finding(reachable=True, answering=False, code="store_error")
    return Finding(reachable=True, answering=False, code=_trouble(answer).code) if known else Finding(reachable=True)


def read_keyed(answer: Answer) -> Finding:
    """An answer to `HEAD /api` or `GET /api` with the connection's key; of a HEAD that is not 200 only a GET can tell
    more than that the store answers.
    """
    if answer.status == 200 and from_webservice(answer):
        return Finding(reachable=True, answering=True, key=True)
    found = judge(answer)
    if isinstance(found, Accepted):
        return Finding(reachable=True, answering=True, key=True)
    trouble = found.trouble if isinstance(found, Again) else found
    if trouble.step in _ABOUT_KEY:
        return Finding(reachable=True, answering=True, key=False, code=trouble.code)
    return Finding(reachable=True, answering=False, code=trouble.code)


def read_failure(error: GatewayError, *, known: bool) -> Finding:
    """Why there was no answer. What failed on the way to the store says nothing of it."""
    if isinstance(error, OutOfTimeError) and not error.sent:
        return Finding()
    code = trouble_of(error, Step.HTTP).code
    if error.failure.code in _UNREACHABLE:
        return Finding(reachable=False, answering=False, code=code)
    if error.failure.code in _NOT_ANSWERING:
        return Finding(reachable=True, answering=False, code=code) if known else Finding(reachable=True)
    return Finding()


def _trouble(answer: Answer) -> Trouble:
    found = judge(answer)
    if isinstance(found, Again):
        return found.trouble
    return found if isinstance(found, Trouble) else Trouble(Step.WEBSERVICE, "store_error")
