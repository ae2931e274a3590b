"""`/metrics`: the node's figures for Prometheus, behind a token, or on a listener of its own for who can reach that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import Header, Response

from agent.wire.pages import Page, Render
from relay.api import health
from relay.api.authentication import Asking, StatusCaller, account_router
from relay.api.openapi import MEDIA_TYPE
from relay.api.parts import Parts, Serving
from relay.api.problems import ProblemError, members_of
from relay.database import accounts
from relay.database.figures import figures
from relay.gateway.gateway import Gateway
from relay.gateway.holding import Holding
from relay.health.conditions import AgentState
from relay.metrics.loop_lag import LoopLag
from relay.metrics.node import Node, NodeCollector

router = account_router("/metrics", "health")

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One sample a line.",
        "content": {"text/plain": {}, "application/openmetrics-text": {}},
    }
}


@router.head("", include_in_schema=False)
@router.get("", summary="Show this node's metrics", response_class=Response, responses=_ANSWERS)
async def get_metrics(parts: Serving, asking: StatusCaller, accept: Annotated[str, Header()] = "") -> Response:
    """In OpenMetrics for who accepts it, else in Prometheus' text format.

    They are of all accounts together, so they take an operator's token, or one of the account `default`.
    """
    await _admit(parts, asking)
    page = await parts.metrics.page(accept)
    return Response(page.body, page.status, media_type=page.content_type)


def measure(
    parts: Parts,
    *,
    gateway: Gateway,
    holding: Holding,
    lag: LoopLag,
    http_connections: Callable[[], int] = int,
    certificate_ends: Callable[[], float | None] = lambda: None,
    lines_dropped: Callable[[], int] = int,
) -> None:
    """Have everything that keeps figures tell them to who scrapes."""
    directory = parts.directory
    node = Node(
        version=parts.version,
        gateway=gateway,
        holding=holding,
        registry=parts.registry,
        admission=parts.admission,
        surface=parts.surface,
        enrolments=parts.enrolled,
        silence=lambda: directory.silence,
        database_up=lambda: directory.healthy,
        http_connections=http_connections,
        certificate_ends=certificate_ends,
        lines_dropped=lines_dropped,
        degraded=lambda: len(parts.watching.in_state(AgentState.DEGRADED)),
        stores=parts.stores.counted,
        events=parts.feed.counts,
        lag=lag,
    )

    async def look_up() -> None:
        node.figures = None
        node.figures = await figures(parts.database)

    parts.metrics.tell(NodeCollector(node), look_up)


def pages(parts: Parts) -> Mapping[str, Render]:
    """The pages of a listener that needs no token."""

    async def alive(_accept: str) -> Page:
        return _page(200, (await health.get_livez()).model_dump())

    async def ready(_accept: str) -> Page:
        try:
            return _page(200, (await health.get_readyz(parts)).model_dump())
        except ProblemError as problem:
            return _page(problem.kind.status, members_of(problem), MEDIA_TYPE)

    return {"/metrics": parts.metrics.page, "/livez": alive, "/readyz": ready}


async def _admit(parts: Parts, asking: Asking) -> None:
    """Raises ProblemError, DatabaseUnavailable."""
    account = asking.caller.account
    if asking.operates or account in parts.metrics.readers:
        return
    if account != (await accounts.find(parts.database, accounts.DEFAULT)).id:
        detail = "these figures are of all accounts: they take an operator's token, or one of the account `default`"
        raise ProblemError("forbidden", detail)
    parts.metrics.readers.add(account)


def _page(status: int, content: Mapping[str, Any], content_type: str = "application/json") -> Page:
    return Page(status, content_type, json.dumps(content).encode())
