"""The document that describes the surface: what FastAPI cannot know of it, and the plain page made from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from relay.api.kinds import Kind
from relay.api.problems import KINDS, Problem

MEDIA_TYPE = "application/problem+json"
_REFERENCE = {"$ref": "#/components/schemas/Problem"}
_FRAMEWORKS_OWN = ("HTTPValidationError", "ValidationError")
_ETAG = {"ETag": {"description": "Names the state, for `If-Match`.", "schema": {"type": "string"}}}
_LOCATION = {"Location": {"description": "The new record.", "schema": {"type": "string"}}}
SHOWN: dict[int | str, dict[str, Any]] = {200: {"headers": _ETAG}}
"""For `responses` of what shows one record."""
CREATED: dict[int | str, dict[str, Any]] = {201: {"headers": {**_ETAG, **_LOCATION}}}
"""For `responses` of what makes one."""
_EXAMPLES = 5
"""Shown of one answer; all codes are in its description, and /docs explains each."""
_ALWAYS = ("relay_fault",)
_OF_ACCOUNTS = ("unauthenticated", "forbidden", "account_busy", "database_unavailable")
_WITH_BODY = ("malformed", "body_too_large", "not_json", "invalid")


def refusals(*codes: str) -> dict[int | str, dict[str, Any]]:
    """What an operation may answer beside its good news, by status, for a route's `responses`."""
    by_status: dict[int | str, list[Kind]] = {}
    for code in codes:
        kind = KINDS[code]
        by_status.setdefault(kind.status, []).append(kind)
    return {status: _response(kinds) for status, kinds in by_status.items()}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document: every operation with every problem it can answer."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
        servers=app.servers,
    )
    for operation in _operations(document):
        for status, response in refusals(*_common(operation)).items():
            operation["responses"].setdefault(str(status), response)
        operation["responses"] = dict(sorted(operation["responses"].items()))
    schemas = document["components"]["schemas"]
    for name in _FRAMEWORKS_OWN:
        schemas.pop(name, None)
    schemas.update(_problem_schemas())
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


def _operations(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for path in document["paths"].values():
        for operation in path.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
            yield operation


def _common(operation: dict[str, Any]) -> Iterable[str]:
    yield from _ALWAYS
    if operation.get("security"):
        yield from _OF_ACCOUNTS
    if "requestBody" in operation and operation.get("security"):
        yield from _WITH_BODY
    elif operation.get("security") and any(each["in"] != "path" for each in operation.get("parameters", ())):
        yield "invalid"


def _response(kinds: list[Kind]) -> dict[str, Any]:
    shown = kinds[:_EXAMPLES]
    return {
        "description": "; ".join(f"{kind.title} (`{kind.code}`)" for kind in kinds),
        "headers": _headers(kinds),
        "content": {
            MEDIA_TYPE: {
                "schema": _REFERENCE,
                "examples": {kind.code: {"value": _example(kind)} for kind in shown},
            }
        },
    }


def _headers(kinds: list[Kind]) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if any(kind.retry_after is not None for kind in kinds):
        headers["Retry-After"] = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
    if any(kind.status == 401 for kind in kinds):
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
    return headers


def _example(kind: Kind) -> dict[str, Any]:
    return {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": "…",
        "code": kind.code,
        "origin": kind.origin.value,
        "retryable": kind.retryable,
    }


def _problem_schemas() -> dict[str, Any]:
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    return {**schema.pop("$defs", {}), "Problem": schema}
