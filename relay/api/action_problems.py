"""What failed on the way to a store, or in it, as problems: the codes, PrestaShop's own errors, and what to do."""

from __future__ import annotations

import dataclasses
from typing import Any

from relay.api.kinds import of_failure
from relay.api.problems import KINDS, ProblemError
from relay.gateway.errors import GatewayError
from relay.prestashop.remedies import REMEDIES, remedy
from relay.prestashop.store_errors import StoreError

_SENTENCES = {
    "permission_missing": "the store's key may not do this: open it under Advanced Parameters → Webservice and tick it",
    "not_in_store": "the store has nothing under this id",
    "shop_unknown": "the store has no shop or group of shops with this id",
    "store_out_of_order": "the store does not filter or sort as it was asked to: its list cannot be read safely",
    "rate_limited": "the store's host refuses more requests for now",
}


def of_way(error: GatewayError) -> ProblemError:
    """A failure on the way; `outcome` says whether the store may have got the request."""
    kind = of_failure(error.failure, retryable=error.retryable)
    return ProblemError(kind, error.message, outcome=error.outcome.value)


def of_store(error: StoreError) -> ProblemError:
    """What the store answered. `store` has its status and PrestaShop's own errors, the first of which counts."""
    kind = KINDS.get(error.code) or KINDS["store_error"]
    if error.retry_after is not None:
        kind = dataclasses.replace(kind, retry_after=error.retry_after, retryable=True)
    return ProblemError(kind, _sentence(error), store=_told(error))


def _told(error: StoreError) -> dict[str, Any]:
    errors = [{"code": fault.code, "message": fault.message} for fault in error.faults]
    return {"status": error.status, "errors": errors}


def _sentence(error: StoreError) -> str:
    """What to do, and in brackets what the store said."""
    if error.code in REMEDIES:
        return remedy(error.code, error.detail).en
    sentence = _SENTENCES.get(error.code, "the store's webservice says no")
    return f"{sentence} ({error.detail})" if error.detail else sentence
