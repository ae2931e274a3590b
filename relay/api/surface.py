"""The typed surface put together: routes, errors and their description, in one FastAPI application."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from relay.api import (
    accounts,
    actions,
    agents,
    alerts,
    audit,
    connection_tests,
    connections,
    documentation,
    enrolment,
    events,
    health,
    images,
    metrics,
    order_state_changes,
    problems,
    snapshots,
    status,
    tokens,
    triggers,
)
from relay.api.answers import Answer
from relay.api.named import Named
from relay.api.openapi import describe
from relay.api.parts import Parts
from relay.console import pages

__all__ = ["Parts", "Surface", "build", "described"]

_SUMMARY = "Lets hosted connectors reach PrestaShop webservices behind firewalls, through tunnels dialled from inside."
_DESCRIPTION = """\
Errors are RFC 9457 problems (`application/problem+json`) with a stable `code`, the `origin` that is to blame, and \
whether a retry helps (`retryable`). Ids of another account answer exactly as unknown ids. Times are unix seconds. \
Lists come in parts: `{"items": […], "next": cursor or null}`. Every answer carries `Postern-Request`, the name of the \
request in the relay's log.

Requests to a store go to `/to/{connection}/api/…`, which is not described here: what comes back is the store's own.
"""
_TAGS = [
    {"name": "agents", "description": "The on-premise agents, their access tokens and instances."},
    {"name": "connections", "description": "What connectors use: a store, its key, and the way to it."},
    {
        "name": "actions",
        "description": "What connectors do with a shop, typed, in this relay's own words. Lists come by id, in pages "
        "or, with `Accept: application/x-ndjson`, as a stream of one item a line. What the store says no to is a "
        "problem with `origin: store` and PrestaShop's own errors in `store`.",
    },
    {"name": "images", "description": "Pictures of products, through the relay; asked for again only by their name."},
    {
        "name": "triggers",
        "description": "What the relay watches in a shop, and tells of: as signed webhooks (Standard Webhooks) or to "
        "be pulled. In order, at least once, with ids that stay the same.",
    },
    {
        "name": "alerts",
        "description": "What needs somebody: agents that are away, stores that cannot be reached, keys that are "
        "refused, certificates and tokens that end. Told once while it lasts, and that it is over.",
    },
    {"name": "API tokens", "description": "Who may use this surface, and how far."},
    {"name": "accounts", "description": "The customers of this relay. For operators."},
    {"name": "events", "description": "What happens, as it happens."},
    {"name": "status", "description": "How things are, and who changed what."},
    {"name": "agent", "description": "What agents themselves call."},
    {"name": "health", "description": "What probes call."},
]
_ROOMS = (
    agents,
    connections,
    connection_tests,
    actions,
    order_state_changes,
    images,
    tokens,
    accounts,
    status,
    events,
    audit,
    enrolment,
    health,
    metrics,
    documentation,
    pages,
)


class Surface(FastAPI):
    """FastAPI with a document that tells of problems as well, and a name for every request."""

    def build_middleware_stack(self) -> ASGIApp:
        return Named(super().build_middleware_stack(), self.state.parts)

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = describe(self)
        return self.openapi_schema


def build(parts: Parts) -> Surface:
    """The application that serves; it starts nothing and owns nothing that would have to be closed."""
    surface = described(parts.version)
    surface.servers = [{"url": parts.public_url}]
    surface.state.parts = parts
    return surface


def described(version: str) -> Surface:
    """The application without what it needs to serve: good for its document."""
    surface = Surface(
        title="Postern relay",
        version=version,
        summary=_SUMMARY,
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        default_response_class=Answer,
        generate_unique_id_function=_operation_id,
    )
    surface.state.parts = None
    problems.install(surface)
    for room in _ROOMS:
        surface.include_router(room.router)
    surface.include_router(triggers.of_connections)
    surface.include_router(triggers.router)
    surface.include_router(snapshots.router)
    surface.include_router(alerts.router)
    return surface


def _operation_id(route: APIRoute) -> str:
    """The function's name: clients are generated from it, so it stays."""
    return route.name
