"""What an answer to a resource's request means where it is not what was asked for: one code, whoever made it."""

from __future__ import annotations

from relay.gateway.call import Answer
from relay.prestashop.diagnosis import Again, Trouble, challenged, from_webservice, judge
from relay.prestashop.moving import leads_elsewhere
from relay.prestashop.reading import Element, Fault, NotXmlError, around, faults, parse

ELEMENTS = 100_000
"""Of one answer: 50 products in full have some 7,500."""
RETRY_SECONDS_MOST = 3600
_TEXT_CHARACTERS = 300
_FAULTS_TOLD = 10

_CODES = {
    25: "permission_missing",
    26: "permission_missing",
    23: "method_unknown",
    101: "method_unknown",
    27: "resource_missing",
    **dict.fromkeys((28, *range(31, 40)), "query_refused"),
    **dict.fromkeys((78, 79, 80, 81), "language_unknown"),
    **dict.fromkeys((41, 84, 85, 86, 89, 90, 91, 93, 123), "write_refused"),
    **dict.fromkeys((48, 57, 58, 60, 87, 92, 131), "not_in_store"),
    999: "shop_unknown",
}
"""PrestaShop's numbers that tell of the request or of the key's permissions; the others are the diagnosis's."""
LACKING = frozenset({"permission_missing", "resource_missing"})
"""What is not to be had with this key, or in this version."""


class StoreError(Exception):
    """The store answered, and not with what was asked for.

    `status` is the store's own, `faults` are PrestaShop's own errors in their order, `retry_after` is what the store
    asked for in seconds. `code` is stable.
    """

    def __init__(
        self, code: str, detail: str, *, status: int, faults: tuple[Fault, ...] = (), retry_after: int | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
        self.status = status
        self.faults = faults
        self.retry_after = retry_after


def document_of(answer: Answer, *, chooses_shop: bool = False) -> Element:
    """The XML of a good answer. `chooses_shop`: the request named a shop by `id_shop`. Raises StoreError."""
    try:
        root = parse(around(answer.body).document, elements=ELEMENTS)
    except NotXmlError:
        raise error_of(answer, chooses_shop=chooses_shop) from None
    if answer.status not in {200, 201} or root.name != "prestashop" or root.find("errors"):
        raise error_of(answer, chooses_shop=chooses_shop)
    return root


def error_of(answer: Answer, *, chooses_shop: bool = False) -> StoreError:
    """What went wrong. By the first of PrestaShop's own errors, since the others are its consequences."""
    told = tuple(Fault(each.code, each.message[:_TEXT_CHARACTERS]) for each in faults(answer.body)[:_FAULTS_TOLD])
    code, detail = _named(answer, told, chooses_shop=chooses_shop)
    return StoreError(code, detail, status=answer.status, faults=told, retry_after=_retry_after(answer))


def _named(answer: Answer, told: tuple[Fault, ...], *, chooses_shop: bool) -> tuple[str, str]:
    first = told[0].code if told else None
    if first in _CODES:
        return _CODES[first], told[0].message
    if answer.status == 404 and not answer.body and from_webservice(answer):
        return "not_in_store", ""
    if chooses_shop and 300 <= answer.status < 400 and leads_elsewhere(answer.field("Location") or "").wrong_host:
        return "shop_unknown", ""
    if answer.status == 429 and not challenged(answer):
        return "rate_limited", f"{answer.status} {answer.reason[:80]}"
    return _diagnosed(answer)


def _diagnosed(answer: Answer) -> tuple[str, str]:
    match judge(answer):
        case Trouble() as trouble:
            return trouble.code, trouble.detail
        case Again(trouble=trouble):
            return trouble.code, trouble.detail
        case _:
            return "store_not_xml", "it is the list of resources, which was not asked for"


def _retry_after(answer: Answer) -> int | None:
    text = (answer.field("Retry-After") or "").strip()
    return min(int(text), RETRY_SECONDS_MOST) if text.isascii() and text.isdigit() and len(text) < 10 else None
